"""A sampler that can begin its next round in the middle, without reading what comes before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import Dataset, Sampler

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
