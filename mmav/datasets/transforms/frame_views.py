"""Test-time views of frames: crops along the longer side, and mirror images.

Each step puts several views in the place of each one, next to each other. Behind ``LoadClip(num_windows=W,
num_views=T)`` the order of views is therefore: window, time, crop, mirrored or not, the last of these changing fastest.
Audio has a view per window, and each goes with the views of frames of that window
(:func:`mmav.models.views.count_views`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmav.datasets.transforms.flip import mirror
from mmav.datasets.transforms.resize import resize_frames, size_pair
from mmav.registry import TRANSFORMS


def _multiply(results: dict[str, Any], views_of: Callable[[np.ndarray], list[np.ndarray]], number: int) -> None:
    """Puts ``number`` views in the place of each view of ``video``, and the times of its frames beside them."""
    if 'video' in results:
        results['video'] = [new for view in results['video'] for new in views_of(view)]
        if 'frame_times' in results:
            results['frame_times'] = np.repeat(results['frame_times'], number, axis=0)


@TRANSFORMS.register_module()
class SpatialCrops(BaseTransform):
    """Crops the frames of each view at several places along their longer side, in place of a centre crop.

    The frames are scaled until the crop just fits, for a square crop the short side to its size, so three crops usually
    show the whole frame: left, centre and right of a wide one, top, centre and bottom of a tall one. A single crop is
    in the centre; of several the first and the last touch the edges and the others lie evenly between them.

    As facebookresearch/SlowFast (``uniform_crop`` of slowfast/datasets/transform.py, with ``TEST_CROP_SIZE`` as scale)
    and mmaction2's ``ThreeCrop`` behind ``Resize``, up to rounding: the centre is torchvision's ``center_crop``.

    Args:
        size: Pixels of both sides, or (height, width).
        num: How many crops.

    Raises:
        ValueError: The size makes no sense, or ``num`` is below 1.

    >>> wide = dict(video=[np.arange(6, dtype=np.uint8).repeat(6).reshape(1, 2, 6, 3)])
    >>> [view.shape for view in SpatialCrops(2).transform(wide)['video']]
    [(1, 2, 2, 3), (1, 2, 2, 3), (1, 2, 2, 3)]
    """

    deterministic = True
    touches = ('video',)

    def __init__(self, size: int | tuple[int, int], num: int = 3) -> None:
        if num < 1:
            raise ValueError(f'num must be at least 1, got {num}')
        self.size = size_pair(size)
        self.num = num

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replaces each view of ``video`` by its crops, and repeats its ``frame_times``."""
        _multiply(results, self._crops, self.num)
        return results

    def _crops(self, frames: np.ndarray) -> list[np.ndarray]:
        height, width = self.size
        have = frames.shape[1:3]
        scale = max(height / have[0], width / have[1])
        frames = resize_frames(frames, (max(height, round(have[0] * scale)), max(width, round(have[1] * scale))))
        tall, wide = frames.shape[1] - height, frames.shape[2] - width
        shares = [k / (self.num - 1) for k in range(self.num)] if self.num > 1 else [0.5]
        places = [(round(tall * share), round(wide * share)) for share in shares]
        return [frames[:, top : top + height, left : left + width] for top, left in places]


@TRANSFORMS.register_module()
class FlipViews(BaseTransform):
    """Adds to each view of the frames its mirror image, left to right, next to it."""

    deterministic = True
    touches = ('video',)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Doubles the views of ``video`` and their ``frame_times``."""
        _multiply(results, lambda view: [view, mirror(view)], 2)
        return results
