"""MMEngine's wrappers of data sets, where they would do something else than they say."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from mmengine.dataset import ClassBalancedDataset as MMEngineClassBalancedDataset
from mmengine.dataset import RepeatDataset as MMEngineRepeatDataset

from mmav.datasets.av_dataset import Draw
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


@DATASETS.register_module()
class ClassBalancedDataset(MMEngineClassBalancedDataset):
    """MMEngine's wrapper of this name, which repeats clips of rare classes; each time they are augmented anew.

    Args:
        dataset: A data set, or its config.
        oversample_thr: Classes of a smaller share of the clips than this are repeated.
    """

    def __getitem__(self, idx: int) -> Any:
        index = self.repeat_indices[int(idx)]
        repeat = int(idx) - bisect_left(self.repeat_indices, index)  # repeats stand together, in the order of clips
        return self.dataset[Draw.of(index, getattr(idx, 'epoch', None), repeat=repeat)]
