"""MMEngine's dataset wrappers, changed so that they work with our augmentation."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from mmengine.dataset import ClassBalancedDataset as MMEngineClassBalancedDataset
from mmengine.dataset import RepeatDataset as MMEngineRepeatDataset

from mmav.datasets.av_dataset import Draw
from mmav.registry import DATASETS


@DATASETS.register_module()
class RepeatDataset(MMEngineRepeatDataset):
    """MMEngine's wrapper of this name, which repeats a dataset several times per epoch.

    Augmentation depends on (seed, epoch, clip): with MMEngine's wrapper a clip would look the same each time within an
    epoch. Here every repetition is augmented differently.

    Args:
        dataset: A dataset, or its config.
        times: Repetitions per epoch.
    """

    def __getitem__(self, idx: int) -> Any:
        repeat, index = divmod(int(idx), len(self.dataset))
        return self.dataset[Draw.of(index, getattr(idx, 'epoch', None), repeat=repeat)]


@DATASETS.register_module()
class ClassBalancedDataset(MMEngineClassBalancedDataset):
    """MMEngine's wrapper of this name, which repeats clips of rare classes, each time with another augmentation.

    Args:
        dataset: A dataset, or its config.
        oversample_thr: Classes with a smaller share of the clips than this are repeated.
    """

    def __getitem__(self, idx: int) -> Any:
        index = self.repeat_indices[int(idx)]
        repeat = int(idx) - bisect_left(self.repeat_indices, index)  # repeats stand together, in the order of clips
        return self.dataset[Draw.of(index, getattr(idx, 'epoch', None), repeat=repeat)]
