"""Mirroring."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmav.datasets.transforms.frame_ops import sheet
from mmav.registry import TRANSFORMS


def mirror(frames: np.ndarray) -> np.ndarray:
    """Mirrors frames (T, H, W, 3) left to right.

    A new array rather than a view with a negative stride, which every later step would have to copy at ten times the
    cost.
    """
    return cv2.flip(sheet(frames), 1).reshape(frames.shape)


@TRANSFORMS.register_module()
class RandomFlip(BaseTransform):
    """Mirrors all frames of a view left to right, each view with its own draw.

    Args:
        p: Probability.

    Raises:
        ValueError: ``p`` is not a probability.
    """

    touches = ('video',)

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f'p must lie in [0, 1], got {p}')
        self.p = p

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Mirrors the views that are drawn."""
        if 'video' in results:
            rng = results['rng']
            results['video'] = [mirror(view) if rng.random() < self.p else view for view in results['video']]
        return results
