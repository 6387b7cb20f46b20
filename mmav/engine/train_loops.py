"""MMEngine's loops of training, by epochs and by iterations: a run that was stopped goes on with the next batch."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch import nn
from torch.utils.data import DataLoader

from mmav.datasets.resumable_sampler import ResumableSampler, is_endless
from mmav.engine.hooks.runtime import datasets_within
from mmav.errors import ConfigError
from mmav.registry import LOOPS

Batches = DataLoader[Any] | dict[str, Any]


class _Resumable(BaseLoop):
    """What both loops know of their place in a round over the data.

    What was read is not read again: the sampler leaves it out. As augmentation is drawn from (seed, epoch, index) and
    all else from (seed, iteration, rank), a run that was stopped equals one that was not.
    """

    dataloader: DataLoader[Any]
    # Whether all of training is one epoch to the hooks.
    by_iterations = False
    _todo_after = 0
    _batches = 0

    @property
    def clips_per_batch(self) -> int:
        """Clips of one iteration in all processes."""
        return (self.dataloader.batch_size or 1) * self.runner.world_size

    @property
    def position(self) -> dict[str, int]:
        """What a checkpoint in the middle of a round has to hold for :meth:`go_on_after`."""
        return dict(batches_done=self._batches, clips_per_batch=self.clips_per_batch)

    def go_on_after(self, batches: int) -> None:
        """Leaves the first batches of the next round out, as they are done."""
        self._todo_after = min(batches, len(self.dataloader))

    def _rest_of_round(self) -> Iterator[tuple[int, Any]]:
        """The batches of a round that are to be done, with their numbers."""
        done, self._todo_after = self._todo_after, 0
        sampler: Any = self.dataloader.sampler
        skips = isinstance(sampler, ResumableSampler)
        if done and skips:
            sampler.skip = done * (self.dataloader.batch_size or 1)
        # Of a sampler of one's own making, or of batches made elsewhere, all are read and the first passed over.
        for idx, data_batch in enumerate(self.dataloader, start=done if skips else 0):
            if idx >= done:
                self._batches = idx + 1
                yield idx, data_batch
        self._batches = 0


@LOOPS.register_module()
class AVTrainLoop(_Resumable, EpochBasedTrainLoop):
    """Trains by epochs; a run that was stopped in mid-epoch goes on with the batch after the last one.

    Args:
        runner: The runner.
        dataloader: A dataloader, or its config.
        max_epochs: Epochs in all.
        val_begin: First epoch after which is validated.
        val_interval: Epochs from one validation to the next.
        dynamic_intervals: Pairs of first epoch and interval, which replace the interval.

    Raises:
        ConfigError: The sampler never comes to the end of an epoch.
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
    ) -> None:
        super().__init__(runner, _resumable(dataloader), max_epochs, val_begin, val_interval, dynamic_intervals)
        refuse_endless(self.dataloader, 'train_dataloader')
        runner.log_processor.by_epoch = True

    def run(self) -> nn.Module:
        """Trains all epochs."""
        cycle = getattr(self.runner.optim_wrapper, '_accumulative_counts', 1)
        if len(self.dataloader) % cycle:
            self.runner.logger.warning(
                f'An epoch has {len(self.dataloader)} iterations, no multiple of accumulative_counts={cycle}: a run '
                "that is resumed at an epoch's end loses the gradients of the cycle that was begun there"
            )
        return super().run()

    def run_epoch(self) -> None:
        """Trains an epoch, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for idx, data_batch in self._rest_of_round():
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class AVIterTrainLoop(_Resumable, IterBasedTrainLoop):
    """Trains by iterations, round after round over the data; a run that was stopped goes on with the next batch.

    MMEngine's loop of this kind reads all earlier batches again on resume, and augments each round as the first one.
    Its hooks see the whole training as one epoch, here as there. The sampler may end with a round or be endless.

    Args:
        runner: The runner.
        dataloader: A dataloader, or its config.
        max_iters: Iterations in all.
        val_begin: First iteration after which is validated.
        val_interval: Iterations from one validation to the next; the last one is followed by one, too.
        dynamic_intervals: Pairs of first iteration and interval, which replace the interval.

    Raises:
        ConfigError: Something else counts epochs, of which there are none, or ``max_iters`` is no number of iterations.
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
    ) -> None:
        if int(max_iters) != max_iters or max_iters < 1:
            raise ConfigError(f'train_cfg.max_iters={max_iters} must be a whole number of iterations, 1 or more')
        # MMEngine's own constructor begins to read.
        BaseLoop.__init__(self, runner, _resumable(dataloader))
        self._max_iters, self._max_epochs = int(max_iters), 1
        self._iter = self._epoch = self._round = 0
        self.val_begin, self.val_interval = val_begin, val_interval
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(val_interval, dynamic_intervals)
        self.stop_training = False
        self._endless = is_endless(self.dataloader.sampler)
        inner = list(datasets_within(self.dataloader.dataset))
        if self._endless and len(inner) > 1:
            raise ConfigError(
                f'train_dataloader.sampler: an endless sampler cannot tell a {type(inner[0]).__name__} of its rounds, '
                "so that each would be augmented as the first one; take type='DefaultSampler'"
            )
        runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)
        runner.log_processor.by_epoch = False

    @property
    def position(self) -> dict[str, int]:
        """The place in the round, and which round it is."""
        return dict(super().position, rounds=self._round)

    @property
    def validates_next(self) -> bool:
        """Whether the iteration that is under way is followed by a validation."""
        done = self._iter + 1
        interval = self.dynamic_intervals[bisect.bisect(self.dynamic_milestones, done + 1) - 1]
        due = done % interval == 0 or done == self._max_iters
        return self.runner.val_loop is not None and done >= self.val_begin and due

    def go_on_after(self, batches: int, *, rounds: int = 0) -> None:
        """Leaves the rounds and the first batches of the next one out, as they are done."""
        if not self._endless:
            more, batches = divmod(batches, len(self.dataloader))
            rounds += more
        self._round, self._todo_after = rounds, batches

    def run(self) -> nn.Module:
        """Trains all iterations."""
        self._refuse_counting_epochs()
        for hook in self.runner.hooks:
            if isinstance(hook, LoggerHook):
                # Else each validation would be logged as that of the one epoch.
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
            raise ConfigError('train_dataloader gives no batch: the data set has fewer clips than a batch')
        self._round += 1

    def _refuse_counting_epochs(self) -> None:
        """Refuses what waits for the end of an epoch, and would do nothing till the end of training."""
        schedulers = self.runner.param_schedulers
        parts = [*(schedulers.values() if isinstance(schedulers, dict) else [schedulers or []])]
        for k, scheduler in enumerate(scheduler for part in parts for scheduler in part):
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
    """Refuses a sampler that never ends where an end is waited for.

    Args:
        dataloader: Whose sampler.
        name: What the config calls it.

    Raises:
        ConfigError: It is endless.
    """
    if is_endless(dataloader.sampler):
        raise ConfigError(
            f"{name}.sampler never comes to an end: take type='DefaultSampler'"
            + (', or train by iterations: train_cfg=dict(by_epoch=False, max_iters=...)' if 'train' in name else '')
        )


def _resumable(dataloader: Batches) -> Batches:
    """The config of a dataloader whose sampler can begin a round in the middle."""
    sampler = dataloader.get('sampler') if isinstance(dataloader, Mapping) else None
    if isinstance(dataloader, Mapping) and isinstance(sampler, Mapping):
        return {**dataloader, 'sampler': dict(type='ResumableSampler', sampler=dict(sampler))}
    return dataloader
