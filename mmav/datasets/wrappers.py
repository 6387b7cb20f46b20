"""MMEngine's wrappers of data sets, where they would do something else than they say."""

from __future__ import annotations

from typing import Any

from mmengine.dataset import RepeatDataset as MMEngineRepeatDataset

from mmav.datasets.resumable_sampler import Draw
from mmav.registry import DATASETS


@DATASETS.register_module()
class RepeatDataset(MMEngineRepeatDataset):
    """MMEngine's wrapper of this name, which goes through a data set several times an epoch.

    Augmentation is drawn from (seed, epoch, clip): with MMEngine's, a clip would look the same each time that it comes
    in an epoch. Here it is drawn anew.

    Args:
        dataset: A data set, or its config.
        times: How often an epoch goes through it.
    """

    def __getitem__(self, idx: int) -> Any:
        repeat, index = divmod(int(idx), len(self.dataset))
        return self.dataset[Draw.of(index, getattr(idx, 'epoch', None), repeat=repeat)]
