"""MMEngine's loops: training goes on in the middle of an epoch, validation and testing run in inference mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from mmengine.runner import EpochBasedTrainLoop, Runner, TestLoop, ValLoop
from torch import nn
from torch.utils.data import DataLoader

from mmav.datasets.resumable_sampler import ResumableSampler
from mmav.engine.fsdp import is_spread
from mmav.registry import LOOPS


@LOOPS.register_module()
class AVTrainLoop(EpochBasedTrainLoop):
    """Trains by epochs; a run that was stopped in mid-epoch goes on with the batch after the last one.

    What was read is not read again: the sampler leaves it out. As augmentation is drawn from (seed, epoch, index) and
    all else from (seed, iteration, rank), a run that was stopped equals one that was not.

    Args:
        runner: The runner.
        dataloader: A dataloader, or its config.
        max_epochs: Epochs in all.
        val_begin: First epoch after which is validated.
        val_interval: Epochs from one validation to the next.
        dynamic_intervals: Pairs of first epoch and interval, which replace the interval.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader[Any] | dict[str, Any],
        max_epochs: int,
        *,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        if isinstance(dataloader, Mapping) and dataloader.get('sampler'):
            sampler = dataloader['sampler']
            if isinstance(sampler, Mapping):
                dataloader = {**dataloader, 'sampler': dict(type='ResumableSampler', sampler=dict(sampler))}
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals)
        self._done = 0

    def run(self) -> nn.Module:
        """Trains all epochs."""
        cycle = getattr(self.runner.optim_wrapper, '_accumulative_counts', 1)
        if len(self.dataloader) % cycle:
            self.runner.logger.warning(
                f'An epoch has {len(self.dataloader)} iterations, no multiple of accumulative_counts={cycle}: a run '
                "that is resumed at an epoch's end loses the gradients of the cycle that was begun there"
            )
        return super().run()

    @property
    def clips_per_batch(self) -> int:
        """Clips of one iteration in all processes."""
        return (self.dataloader.batch_size or 1) * self.runner.world_size

    def go_on_after(self, batches: int) -> None:
        """Leaves the first batches of the next epoch out, as they are done."""
        self._done = min(batches, len(self.dataloader))

    def run_epoch(self) -> None:
        """Trains an epoch, or what is left of it."""
        done, self._done = self._done, 0
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        sampler = self.dataloader.sampler
        if done and isinstance(sampler, ResumableSampler):
            sampler.skip = done * (self.dataloader.batch_size or 1)
            batches = enumerate(self.dataloader, start=done)
        else:
            # A sampler of one's own making, or batches made elsewhere: read and passed over.
            batches = enumerate(self.dataloader)
        for idx, data_batch in batches:
            if idx >= done:
                self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class AVValLoop(ValLoop):
    """Validates with the model in inference mode, see :func:`evaluating`; its arguments are those of MMEngine's."""

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Validates a batch."""
        with evaluating(self.runner.model):
            super().run_iter(idx, data_batch)


@LOOPS.register_module()
class AVTestLoop(TestLoop):
    """Tests with the model in inference mode, see :func:`evaluating`; its arguments are those of MMEngine's."""

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Tests a batch."""
        with evaluating(self.runner.model):
            super().run_iter(idx, data_batch)


def evaluating(model: nn.Module) -> AbstractContextManager[Any]:
    """The mode in which a model computes what needs no gradients.

    It is torch's inference mode, of which two things follow. A module that keeps a tensor from one call to the next
    has to make it under ``torch.inference_mode(False)``, as training cannot use one of inference mode. A metric that
    changes a prediction in place after its batch has to clone it first.

    A model that is spread over processes keeps the tensors into which it gathers parameters: for that one it is
    ``torch.no_grad``, so that training can use them after validation.
    """
    return torch.no_grad() if is_spread(model) else torch.inference_mode()
