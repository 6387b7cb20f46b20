"""Averages the weights of several epochs while training runs, without keeping their checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torch import Tensor

from mmav.engine.averaging import AVERAGED, MeanOfWeights
from mmav.engine.batch_norm import layers_with_statistics, recompute_statistics
from mmav.engine.distributed.fsdp import is_spread
from mmav.engine.hooks.seed import methods_within
from mmav.engine.small_checkpoints import base_names
from mmav.errors import ConfigError
from mmav.registry import HOOKS

# in checkpoints: what has been added up so far
KEY = 'averaging'


@HOOKS.register_module()
class CheckpointAveragingHook(Hook):
    """Averages the weights that a model has at the end of several epochs, then writes and validates the average.

    The "weight averaging" of AST and CAV-MAE (YuanGongND/ast, src/run.py, ``--wa_start``, ``--wa_end``), and with a
    constant learning rate stochastic weight averaging (Izmailov et al. 2018). When training ends, the mean is in the
    work dir as ``averaged_epoch_BEGIN-END.pth``, and its metrics on the validation list are in the log. It is the mean
    that ``mmav average-checkpoints`` takes of files, which need not be kept: the main process adds the weights up in
    its memory, 8 bytes each, and checkpoints hold the sums from ``begin`` on, so a resumed run gives the same average
    bit for bit.

    Args:
        begin: First epoch whose weights count, from 1; with ``by_epoch=False`` an iteration.
        end: Last one; None for the last of training.
        interval: Every so many, from ``begin`` on.
        by_epoch: Whether epochs are counted, not iterations.
        update_bn: Whether running statistics of BatchNorm are computed anew for the average, in one pass over the
            training data.

    Raises:
        ConfigError: Numbers are out of order; when training begins, if less than two states would be averaged, there
            is no BatchNorm to update, the hook is given twice, or the weights are averaged by an EMAHook as well or
            sharded.
    """

    def __init__(
        self,
        begin: int = 1,
        end: int | None = None,
        interval: int = 1,
        *,
        by_epoch: bool = True,
        update_bn: bool = False,
    ) -> None:
        whole = all(type(value) is int for value in (begin, interval, begin if end is None else end))
        if not whole or begin < 1 or interval < 1 or (end is not None and end <= begin):
            raise ConfigError(
                f'CheckpointAveragingHook: begin={begin!r}, end={end!r}, interval={interval!r}: begin and interval '
                'must be whole numbers, 1 or more, and end after begin'
            )
        self.begin, self.end, self.interval = begin, end, interval
        self.by_epoch, self.update_bn = by_epoch, update_bn
        self.mean = MeanOfWeights()
        self._taken: list[int] = []
        self._writing = False

    @property
    def _unit(self) -> str:
        return 'epoch' if self.by_epoch else 'iteration'

    def before_train(self, runner: Runner) -> None:
        """Refuses what cannot be averaged."""
        loop: Any = runner.train_loop
        last = loop.max_epochs if self.by_epoch else loop.max_iters
        end, who = self.end or last, type(self).__name__
        if self.by_epoch and getattr(loop, 'by_iterations', False):
            raise ConfigError(f'{who} counts epochs, but training counts iterations: give it by_epoch=False')
        if end > last:
            raise ConfigError(f'{who}.end={end} comes after the last {self._unit} of training, {last}')
        if self.begin + self.interval > end:
            raise ConfigError(
                f'{who}: from {self._unit} {self.begin} to {end} with interval={self.interval} there are no two states '
                'to average: begin earlier'
            )
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise ConfigError(f'EMAHook averages the weights already: leave it or {who} out')
        if sum(isinstance(hook, CheckpointAveragingHook) for hook in runner.hooks) > 1:
            raise ConfigError(
                f'{who} is given twice, and checkpoints hold one sum: keep one, and average other epochs with `mmav '
                'average-checkpoints`'
            )
        if is_spread(runner.model):
            raise ConfigError(f'{who} does not work with fsdp: average the files with `mmav average-checkpoints`')
        statistics = layers_with_statistics(_plain(runner))
        if self.update_bn and not statistics:
            raise ConfigError(f'{who}.update_bn=True has no effect: the model has no BatchNorm that trains')
        if statistics and not self.update_bn:
            runner.logger.warning(
                f'{who} averages the running statistics of {len(statistics)} BatchNorms like weights, which are not '
                'those of the averaged weights: update_bn=True computes them anew'
            )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Adds the weights, if iterations are counted."""
        if not self.by_epoch:
            self._take(runner, runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Adds the weights, if epochs are counted; before a checkpoint is written."""
        if self.by_epoch:
            self._take(runner, runner.epoch + 1)

    def _take(self, runner: Runner, now: int) -> None:
        inside = now >= self.begin and (self.end is None or now <= self.end)
        if not inside or (now - self.begin) % self.interval:
            return
        self._taken.append(now)
        if is_main_process():
            self.mean.add(_plain(runner).state_dict())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Stores the sums; in the checkpoint of the average, what it averages."""
        if self._writing:
            checkpoint['meta'][AVERAGED] = [{self._unit: number} for number in self._taken]
            checkpoint['meta'].update(epoch=runner.epoch, iter=runner.iter)
        elif self._taken and is_main_process():
            small = any(getattr(hook, 'trained_only', False) for hook in runner.hooks)
            # what has been frozen so far is equal in all states
            left_out = base_names(_plain(runner)) if small else {}
            checkpoint[KEY] = dict(taken=list(self._taken), unit=self._unit, mean=self.mean.state_dict(left_out))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Continues with the sums of a checkpoint that is resumed."""
        saved = checkpoint.pop(KEY, None) or dict(taken=[], unit=self._unit)
        if not getattr(runner, '_resuming', runner._resume):
            return
        done = checkpoint['meta']['epoch' if self.by_epoch else 'iter']
        wanted = [*range(self.begin, min(self.end or done, done) + 1, self.interval)]
        if saved['unit'] != self._unit or wanted != saved['taken']:
            has = f'{saved["unit"]}s {", ".join(map(str, saved["taken"]))}' if saved['taken'] else 'nothing'
            raise ConfigError(
                f'CheckpointAveragingHook(begin={self.begin}, end={self.end}, interval={self.interval}) needs the sum '
                f'of {self._unit}s {", ".join(map(str, wanted))}, but the checkpoint has that of {has}: resume with '
                f'the settings of its run, or set begin={done + 1} or later'
            )
        self._taken = list(saved['taken'])
        if self._taken and is_main_process():
            self.mean.load_state_dict(saved['mean'], checkpoint['state_dict'])

    def after_train(self, runner: Runner) -> None:
        """Writes and validates the average."""
        if len(self._taken) < 2:
            runner.logger.warning(f'No average is written: training ended after {len(self._taken)} states to average')
            return
        name = f'averaged_{self._unit}_{self._taken[0]}-{self._taken[-1]}.pth'
        with self._average(runner):
            self._writing = True
            try:
                runner.save_checkpoint(runner.work_dir, name, save_optimizer=False, save_param_scheduler=False)
            finally:
                self._writing = False
            what = f'{self._unit}s {self._taken[0]} to {self._taken[-1]} ({len(self._taken)} states)'
            runner.logger.info(f'The average of the weights of {what} is in {name}')
            if runner.val_loop is not None and hasattr(runner.val_loop, 'measured'):
                metrics = runner.val_loop.measured()
                figures = {key: value for key, value in metrics.items() if isinstance(value, (int, float))}
                told = ', '.join(f'{key} {round(value, 4)}' for key, value in figures.items())
                runner.logger.info(f'Averaged weights, validated: {told}')
                runner.visualizer.add_scalars(
                    {f'{AVERAGED}/{key}': value for key, value in figures.items()}, step=runner.epoch
                )

    @contextmanager
    def _average(self, runner: Runner) -> Iterator[None]:
        """The model with the averaged weights; with its own again afterwards."""
        model = _plain(runner)
        own = {name: value.clone() for name, value in model.state_dict().items()}
        mean = self.mean.mean() if is_main_process() else {}
        try:
            _put(model.state_dict(), mean)
            if self.update_bn:
                # as in any other run that gets here, resumed or not
                for set_epoch in methods_within(runner.train_dataloader.dataset, 'set_epoch'):
                    set_epoch(runner.epoch)
                if hasattr(runner.train_dataloader.sampler, 'set_epoch'):
                    runner.train_dataloader.sampler.set_epoch(runner.epoch)
                number = recompute_statistics(model, runner.train_dataloader, seed=runner.seed)
                runner.logger.info(f'The statistics of BatchNorm are computed anew on {number} batches')
            yield
        finally:
            with torch.no_grad():
                for name, value in model.state_dict().items():
                    value.copy_(own[name])


def _plain(runner: Any) -> Any:
    return getattr(runner, 'plain_model', runner.model)


def _put(state: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Copies the main process's values into the tensors of a state, in all processes."""
    with torch.no_grad():
        for name, target in state.items():
            if name in values:
                target.copy_(values[name])
            broadcast(target)
