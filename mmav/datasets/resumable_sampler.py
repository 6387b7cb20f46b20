"""Training samplers: epochs that can start in the middle without reading what comes before, and endless ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dataset import InfiniteSampler as MMEngineInfiniteSampler
from torch.utils.data import Dataset, Sampler

from mmav.datasets.av_dataset import Draw
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
        for place, index in enumerate(self._infinite_indices()):
            if place % self.world_size == self.rank:
                yield Draw.of(index, place // self.size)


def is_endless(sampler: Any) -> bool:
    """Whether a sampler, or the one inside it, never comes to an end."""
    return isinstance(getattr(sampler, 'inner', sampler), MMEngineInfiniteSampler)
