"""One seed, ``randomness.seed``, for all random numbers of training, so that a resumed run repeats them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmav.registry import HOOKS


def datasets_within(dataset: Any) -> Iterator[Any]:
    """A dataset and all that it wraps: ``dataset.dataset`` if it repeats one, ``dataset.datasets`` if it joins some."""
    if dataset is None:
        return
    yield dataset
    for inner in (getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())):
        yield from datasets_within(inner)


def methods_within(dataset: Any, name: str) -> list[Callable[..., Any]]:
    """The methods of this name of a dataset and of those it wraps."""
    return [getattr(part, name) for part in datasets_within(dataset) if hasattr(part, name)]


def seed_datasets(loader: Any, seed: int) -> None:
    """Seeds the datasets of a data loader that have no seed of their own."""
    for follow_seed in methods_within(loader.dataset, 'follow_seed'):
        follow_seed(seed)


def reseed(loader: Any, before: int, seed: int) -> None:
    """Replaces the run's former seed in the sampler of a data loader, when a run is resumed."""
    sampler = getattr(loader.sampler, 'inner', loader.sampler)
    if getattr(sampler, 'seed', None) == before:
        sampler.seed = seed


@HOOKS.register_module()
class SeedHook(Hook):
    """Makes the randomness of training a function of (seed, epoch or iteration, rank): a resumed run repeats it.

    MMEngine saves no random state: with dropout, a resumed run differs from an uninterrupted one. This hook sets the
    dataset's epoch and seeds the generators of Python, numpy and torch before every iteration. Seeding once per epoch
    is not enough: persistent workers draw from torch's generator when they start, once in an uninterrupted run and
    again in a resumed one.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Sets the epoch of the dataset; augmentation is a function of (seed, epoch, index)."""
        for set_epoch in methods_within(runner.train_dataloader.dataset, 'set_epoch'):
            set_epoch(runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seeds the generators."""
        words = np.random.SeedSequence((runner.seed, runner.iter, get_rank())).generate_state(3)
        python_seed, numpy_seed, torch_seed = (int(word) for word in words)
        random.seed(python_seed)
        np.random.seed(numpy_seed)  # noqa: NPY002 - other libraries draw from it
        torch.manual_seed(torch_seed)
