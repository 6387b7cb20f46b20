"""Training samplers: epochs that can start in the middle without reading what comes before, and endless ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import torch
from mmengine.dataset import InfiniteSampler as MMEngineInfiniteSampler
from torch.utils.data import Dataset, Sampler

from mmav.datasets.av_dataset import Draw
from mmav.datasets.epoch_samplers import blocks
from mmav.datasets.shared_array import compact
from mmav.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler[int]):
    """Wraps another sampler and can skip the first indices of its next epoch.

    Args:
        dataset: The dataset to sample from.
        sampler: Config of the other sampler.
        seed: Its seed.

    Attributes:
        skip: Number of indices of this process to skip in the next epoch; reset to 0 once it has started.
    """

    def __init__(self, dataset: Dataset[Any], sampler: dict[str, Any], seed: int | None = None) -> None:
        self.inner = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=dataset, seed=seed))
        self.skip = 0

    @property
    def endless(self) -> bool:
        """Whether the other sampler is endless."""
        return is_endless(self.inner)

    def __iter__(self) -> Iterator[int]:
        """The indices of an epoch."""
        skip, self.skip = self.skip, 0
        if _starts_anywhere(type(self.inner)):
            return self.inner.iter_from(skip)
        return islice(iter(self.inner), skip, None)

    def __len__(self) -> int:
        """Length of a whole epoch."""
        return len(self.inner)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the other sampler."""
        if hasattr(self.inner, 'set_epoch'):
            self.inner.set_epoch(epoch)


@DATA_SAMPLERS.register_module()
class InfiniteSampler(MMEngineInfiniteSampler):
    """MMEngine's sampler of this name: pass after pass over the data without end, in the same order.

    Its indices know their pass, see :class:`mmav.datasets.av_dataset.Draw`. With MMEngine's indices, which do not,
    every pass would be augmented like the first.
    """

    def __iter__(self) -> Iterator[int]:
        """The indices of this process, from the first pass on."""
        return self.iter_from(0)

    def iter_from(self, place: int) -> Iterator[int]:
        """The indices of this process, from one place on."""
        generator = torch.Generator()
        generator.manual_seed(self.seed)
        first = self.rank + place * self.world_size
        for number in count():
            # each pass goes on with the generator of the one before
            order = compact(torch.randperm(self.size, generator=generator).numpy()) if self.shuffle else None
            end = (number + 1) * self.size
            for places in blocks(first, end, self.world_size):
                within = places % self.size
                for index in (within if order is None else order[within]).tolist():
                    yield Draw.of(index, number)
            first += -(-max(0, end - first) // self.world_size) * self.world_size


def _starts_anywhere(kind: type) -> bool:
    """Whether a sampler can start at any place: unless a subclass has changed its order, but not how it starts."""
    owners = [next((base for base in kind.__mro__ if name in vars(base)), None) for name in ('iter_from', '__iter__')]
    return owners[0] is not None and kind.__mro__.index(owners[0]) <= kind.__mro__.index(owners[1] or object)


def is_endless(sampler: Any) -> bool:
    """Whether a sampler, or the one inside it, never comes to an end."""
    return isinstance(getattr(sampler, 'inner', sampler), MMEngineInfiniteSampler)
