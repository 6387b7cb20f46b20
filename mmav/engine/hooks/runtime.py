"""Hooks that MMEngine lacks: random state that a resumed run repeats, a count of unreadable clips, unhurried logs."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.hooks import RuntimeInfoHook as MMEngineRuntimeInfoHook
from mmengine.runner import Runner

from mmav.engine.hooks.deferred import LateValues, is_time
from mmav.registry import HOOKS


def datasets_within(dataset: Any) -> Iterator[Any]:
    """A dataset and all that it wraps: ``dataset.dataset`` of one that repeats, ``dataset.datasets`` of joined ones."""
    if dataset is None:
        return
    yield dataset
    for inner in (getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())):
        yield from datasets_within(inner)


def _each(dataset: Any, name: str) -> list[Callable[..., Any]]:
    """The methods of a name of a dataset and of those that it wraps."""
    return [getattr(part, name) for part in datasets_within(dataset) if hasattr(part, name)]


@HOOKS.register_module()
class SeedHook(Hook):
    """Makes the randomness of training a function of (seed, epoch or iteration, rank): a resumed run repeats it.

    MMEngine saves no random state: with dropout a resumed run differs from one that was never stopped. Here the dataset
    learns the epoch, and Python's, numpy's and torch's generators are seeded anew before every iteration. Once an epoch
    would not do: persistent workers draw from torch's generator when they start, which an uninterrupted run does
    once and a resumed run does again.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Tells the dataset the epoch; augmentation is a function of (seed, epoch, index)."""
        for set_epoch in _each(runner.train_dataloader.dataset, 'set_epoch'):
            set_epoch(runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seeds the generators."""
        words = np.random.SeedSequence((runner.seed, runner.iter, get_rank())).generate_state(3)
        python_seed, numpy_seed, torch_seed = (int(word) for word in words)
        random.seed(python_seed)
        np.random.seed(numpy_seed)  # noqa: NPY002 - other libraries draw from it
        torch.manual_seed(torch_seed)


@HOOKS.register_module()
class BrokenClipHook(Hook):
    """Logs how many clips of the training set could not be read so far, and how many are damaged.

    Needs ``dataset.broken_count()``, ``dataset.damaged_count()``.
    """

    priority = 'LOW'

    def after_train_epoch(self, runner: Runner) -> None:
        """Logs the counts, if there are any. Each rank counts what it has read itself; rank 0 speaks."""
        dataset = runner.train_dataloader.dataset
        for counter, fate in (
            ('broken_count', 'could not be read and were replaced by others'),
            ('damaged_count', 'are damaged; what can be decoded of them is used'),
        ):
            number = sum(count() for count in _each(dataset, counter))
            if number:
                runner.logger.warning(f'{number} of {len(dataset)} training clips {fate}')


@HOOKS.register_module()
class RuntimeInfoHook(MMEngineRuntimeInfoHook):
    """MMEngine's hook of this name, which brings losses into the log, but without waiting for the GPU each time.

    On a GPU losses and the norm of the gradients are read after iterations that are logged, at the end of an epoch and
    before a checkpoint is written, those of all iterations since the last time at once. The log is the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._late = LateValues()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Takes the values of an iteration."""
        values = {name: torch.as_tensor(value) for name, value in (outputs or {}).items()}
        take_grad_norm = getattr(runner.optim_wrapper, 'take_grad_norm', None)
        if take_grad_norm is not None:
            values.update(take_grad_norm())
        self._late.add(None, values)
        if is_time(runner, batch_idx, values):
            self.read_late(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Reads what was not yet."""
        self.read_late(runner)

    def read_late(self, runner: Runner) -> None:
        """Puts what was collected where the log is made."""
        for _, numbers in self._late.take():
            for name, number in numbers.items():
                if name == 'grad_norm' and not math.isfinite(number):
                    continue  # of a step that was left out
                runner.message_hub.update_scalar(f'train/{name}', number)
