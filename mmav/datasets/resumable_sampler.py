"""Samplers of training: rounds that can begin in the middle, without reading what comes before, and endless ones."""

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
    """Another sampler, of whose next round the first indices can be left out.

    Args:
        dataset: What is sampled from.
        sampler: Config of the other sampler.
        seed: Its seed.

    Attributes:
        skip: Indices of this process to leave out of the next round; 0 again when it has begun.
    """

    def __init__(self, dataset: Dataset[Any], sampler: dict[str, Any], seed: int | None = None) -> None:
        self.inner = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=dataset, seed=seed))
        self.skip = 0

    @property
    def endless(self) -> bool:
        """Whether the other sampler never comes to the end of a round."""
        return is_endless(self.inner)

    def __iter__(self) -> Iterator[int]:
        """The indices of a round."""
        skip, self.skip = self.skip, 0
        return islice(iter(self.inner), skip, None)

    def __len__(self) -> int:
        """Length of a whole round."""
        return len(self.inner)

    def set_epoch(self, epoch: int) -> None:
        """Tells the other sampler the epoch."""
        if hasattr(self.inner, 'set_epoch'):
            self.inner.set_epoch(epoch)


@DATA_SAMPLERS.register_module()
class InfiniteSampler(MMEngineInfiniteSampler):
    """MMEngine's sampler of this name: round after round without an end, in the same order.

    Its indices know their round, see :class:`mmav.datasets.av_dataset.Draw`; those of MMEngine's do not, and every
    round would be augmented as the first one was.
    """

    def __iter__(self) -> Iterator[int]:
        """The indices of this process, from the first round on."""
        for place, index in enumerate(self._infinite_indices()):
            if place % self.world_size == self.rank:
                yield Draw.of(index, place // self.size)


def is_endless(sampler: Any) -> bool:
    """Whether a sampler, or the one inside it, never comes to an end."""
    return isinstance(getattr(sampler, 'inner', sampler), MMEngineInfiniteSampler)
