"""MMEngine's loops, with training that resumes at the next batch and evaluation in inference mode."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, TestLoop, ValLoop
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch import nn
from torch.utils.data import DataLoader

from mmav.datasets.resumable_sampler import ResumableSampler, is_endless
from mmav.engine.distributed.fsdp import is_spread
from mmav.engine.hand_over import ahead_of
from mmav.engine.hooks.seed import datasets_within
from mmav.engine.optim.schedule_check import all_schedulers
from mmav.errors import ConfigError
from mmav.registry import LOOPS

Batches = DataLoader[Any] | dict[str, Any]


class _Resumable(BaseLoop):
    """Tracks the position in a pass over the data, so that training can resume in the middle of it.

    Finished batches are not read again: the sampler skips them. Augmentation depends on (seed, epoch, index) and
    everything else on (seed, iteration, rank), so a resumed run equals an uninterrupted one.
    """

    dataloader: DataLoader[Any]
    # whether hooks see all of training as one epoch
    by_iterations = False
    # whether batches are copied to a GPU one step ahead
    hand_over = True
    _todo_after = 0
    _batches = 0

    @property
    def clips_per_batch(self) -> int:
        """Clips of one iteration in all processes."""
        return (self.dataloader.batch_size or 1) * self.runner.world_size

    @property
    def position(self) -> dict[str, Any]:
        """What a checkpoint in the middle of a pass stores for :meth:`go_on_after`."""
        order = dict(order=self.order) if self.order else {}
        return dict(batches_done=self._batches, clips_per_batch=self.clips_per_batch, **order)

    @property
    def order(self) -> dict[str, Any] | None:
        """What the order of clips depends on besides seed and epoch, where that is more than their number."""
        sampler = getattr(self.dataloader.sampler, 'inner', self.dataloader.sampler)
        return getattr(sampler, 'depends_on', None)

    def go_on_after(self, batches: int) -> None:
        """Skips the first batches of the next pass, which are finished."""
        self._todo_after = min(batches, len(self.dataloader))

    def _rest_of_round(self) -> Iterator[tuple[int, Any]]:
        """The remaining batches of a pass, with their indices."""
        done, self._todo_after = self._todo_after, 0
        sampler: Any = self.dataloader.sampler
        skips = isinstance(sampler, ResumableSampler)
        if done and skips:
            sampler.skip = done * (self.dataloader.batch_size or 1)
        # with a custom sampler or batch sampler all batches are read, and finished ones are dropped
        batches: Any = iter(self.dataloader) if skips else islice(self.dataloader, done, None)
        if self.hand_over:
            batches = ahead_of(self.runner.model, batches)
        for idx, data_batch in enumerate(batches, start=done):
            self._batches = idx + 1
            yield idx, data_batch
        self._batches = 0


@LOOPS.register_module()
class AVTrainLoop(_Resumable, EpochBasedTrainLoop):
    """Trains by epochs; a run that was stopped in mid-epoch resumes with the next batch.

    Args:
        runner: The runner.
        dataloader: A dataloader, or its config.
        max_epochs: Total number of epochs.
        val_begin: First epoch followed by a validation.
        val_interval: Epochs from one validation to the next.
        dynamic_intervals: Pairs of first epoch and interval, which replace the interval.
        hand_over: Whether batches are copied to a GPU one step ahead, see :mod:`mmav.engine.hand_over`; on a CPU it
            changes nothing.

    Raises:
        ConfigError: The sampler is endless.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Batches,
        max_epochs: int,
        *,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: Sequence[tuple[int, int]] | None = None,
        hand_over: bool = True,
    ) -> None:
        self.hand_over = _switch(hand_over)
        super().__init__(runner, _resumable(dataloader), max_epochs, val_begin, val_interval, dynamic_intervals)
        refuse_endless(self.dataloader, 'train_dataloader')
        runner.log_processor.by_epoch = True

    def run_epoch(self) -> None:
        """Trains an epoch, or the rest of one."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for idx, data_batch in self._rest_of_round():
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class AVIterTrainLoop(_Resumable, IterBasedTrainLoop):
    """Trains by iterations, pass after pass over the data; a run that was stopped resumes with the next batch.

    MMEngine's ``IterBasedTrainLoop`` reads all earlier batches again on resume, and augments each pass like the first.
    As with that loop, hooks see all of training as one epoch. The sampler may be finite or endless.

    Args:
        runner: The runner.
        dataloader: A dataloader, or its config.
        max_iters: Total number of iterations.
        val_begin: First iteration followed by a validation.
        val_interval: Iterations from one validation to the next; the last iteration is always followed by one.
        dynamic_intervals: Pairs of first iteration and interval, which replace the interval.
        hand_over: As in :class:`AVTrainLoop`.

    Raises:
        ConfigError: A scheduler or hook counts epochs, or ``max_iters`` is not a positive integer.
    """

    by_iterations = True

    def __init__(
        self,
        runner: Runner,
        dataloader: Batches,
        max_iters: int,
        *,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        hand_over: bool = True,
    ) -> None:
        self.hand_over = _switch(hand_over)
        if int(max_iters) != max_iters or max_iters < 1:
            raise ConfigError(f'train_cfg.max_iters={max_iters} must be a whole number of iterations, 1 or more')
        # not IterBasedTrainLoop's constructor, which starts reading
        BaseLoop.__init__(self, runner, _resumable(dataloader))
        self._max_iters, self._max_epochs = int(max_iters), 1
        self._iter = self._epoch = self._round = 0
        self.val_begin, self.val_interval = val_begin, val_interval
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(val_interval, dynamic_intervals)
        self.stop_training = False
        self._endless = is_endless(self.dataloader.sampler)
        whole = self.dataloader.dataset
        if self._endless and len(list(datasets_within(whole))) > 1 and not hasattr(whole, 'clips_within'):
            raise ConfigError(
                f'train_dataloader.sampler: an endless sampler does not tell a {type(whole).__name__} the pass, '
                "so every pass would be augmented like the first; use type='DefaultSampler'"
            )
        runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)
        runner.log_processor.by_epoch = False

    @property
    def position(self) -> dict[str, Any]:
        """The position in the pass, and the number of the pass."""
        return dict(super().position, rounds=self._round)

    @property
    def validates_next(self) -> bool:
        """Whether the current iteration is followed by a validation."""
        done = self._iter + 1
        interval = self.dynamic_intervals[bisect.bisect(self.dynamic_milestones, done + 1) - 1]
        due = done % interval == 0 or done == self._max_iters
        return self.runner.val_loop is not None and done >= self.val_begin and due

    def go_on_after(self, batches: int, *, rounds: int = 0) -> None:
        """Skips whole passes and the first batches of the next one, which are finished."""
        if not self._endless:
            more, batches = divmod(batches, len(self.dataloader))
            rounds += more
        self._round, self._todo_after = rounds, batches

    def run(self) -> nn.Module:
        """Trains all iterations."""
        self._refuse_counting_epochs()
        for hook in self.runner.hooks:
            if isinstance(hook, LoggerHook):
                # otherwise every validation would be logged under the same epoch
                hook.log_metric_by_epoch = False
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        while self._iter < self._max_iters and not self.stop_training:
            self._run_round()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _run_round(self) -> None:
        for part in (self.dataloader.sampler, *datasets_within(self.dataloader.dataset)):
            if hasattr(part, 'set_epoch'):
                part.set_epoch(self._round)
        begun = False
        for _, data_batch in self._rest_of_round():
            begun = True
            validates = self.validates_next
            self.runner.model.train()
            self.run_iter(data_batch)
            if validates:
                self.runner.val_loop.run()
            if self._iter >= self._max_iters or self.stop_training:
                return
        if not begun:
            raise ConfigError('train_dataloader gives no batch: the dataset has fewer clips than a batch')
        self._round += 1

    def _refuse_counting_epochs(self) -> None:
        """Refuses schedulers and hooks that act at the end of an epoch and would do nothing until training ends."""
        for k, scheduler in enumerate(all_schedulers(self.runner.param_schedulers)):
            if scheduler.by_epoch:
                raise ConfigError(
                    f'param_scheduler.{k} ({type(scheduler).__name__}) steps once an epoch, but training counts '
                    'iterations and it would never step: give it by_epoch=False, begin and end in iterations, or '
                    'convert_to_iter_based=True'
                )
        for hook in self.runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.by_epoch:
                raise ConfigError(
                    'default_hooks.checkpoint saves once an epoch, but training counts iterations and it would save '
                    'nothing before the end: give it by_epoch=False and an interval in iterations'
                )


def refuse_endless(dataloader: DataLoader[Any], name: str) -> None:
    """Refuses an endless sampler where a pass has to end.

    Args:
        dataloader: The dataloader.
        name: Its name in the config.

    Raises:
        ConfigError: Its sampler is endless.
    """
    if is_endless(dataloader.sampler):
        raise ConfigError(
            f"{name}.sampler never comes to an end: take type='DefaultSampler'"
            + (', or train by iterations: train_cfg=dict(by_epoch=False, max_iters=...)' if 'train' in name else '')
        )


def _switch(hand_over: Any) -> bool:
    if not isinstance(hand_over, bool):  # a word such as 'no' would turn it on
        raise ConfigError(f'train_cfg.hand_over={hand_over!r}: give True or False')
    return hand_over


def _resumable(dataloader: Batches) -> Batches:
    """The config of a data loader with a sampler that can start in the middle of a pass."""
    sampler = dataloader.get('sampler') if isinstance(dataloader, Mapping) else None
    if isinstance(dataloader, Mapping) and isinstance(sampler, Mapping):
        return {**dataloader, 'sampler': dict(type='ResumableSampler', sampler=dict(sampler))}
    return dataloader


def evaluating(model: nn.Module) -> AbstractContextManager[Any]:
    """The context in which a model is evaluated: ``torch.inference_mode``.

    A module that caches a tensor between calls must create it under ``torch.inference_mode(False)``, as training cannot
    use inference tensors. A metric that changes a prediction in place after its batch must clone it first.

    A sharded model keeps the buffers into which it gathers parameters: its context is ``torch.no_grad``, so that
    training can use them after validation.
    """
    return torch.no_grad() if is_spread(model) else torch.inference_mode()


class _InInference(BaseLoop):
    """Runs each batch in inference mode, see :func:`evaluating`, in the precision chosen by the runner."""

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Evaluates a batch."""
        with evaluating(self.runner.model), self._autocast():
            super().run_iter(idx, data_batch)

    def measured(self) -> dict[str, float]:
        """The metrics of the model as it is; no hook takes part, so no best checkpoint is chosen by them."""
        model: Any = self.runner.model
        evaluator: Any = self.evaluator
        model.eval()
        with evaluating(model), self._autocast():
            for data_batch in self.dataloader:
                evaluator.process(data_samples=model.val_step(data_batch), data_batch=data_batch)
        metrics: dict[str, float] = evaluator.evaluate(len(self.dataloader.dataset))
        return metrics

    def _autocast(self) -> AbstractContextManager[Any]:
        numbers = getattr(self.runner, 'evaluation_numbers', None)  # MMEngine's own runner has none
        if numbers is None or numbers.amp is None:
            return nullcontext()
        self.fp16 = True  # otherwise MMEngine turns autocast off again; the dtype comes from the context around it
        autocast: AbstractContextManager[Any] = numbers.autocast(get_device())
        return autocast


@LOOPS.register_module()
class AVValLoop(_InInference, ValLoop):
    """Validates with the model in inference mode; its arguments are those of MMEngine's ``ValLoop``."""


@LOOPS.register_module()
class AVTestLoop(_InInference, TestLoop):
    """Tests with the model in inference mode; its arguments are those of MMEngine's ``TestLoop``."""
