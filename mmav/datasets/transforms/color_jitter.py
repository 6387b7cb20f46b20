"""Random brightness, contrast, saturation and hue."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmav.datasets.transforms import frame_ops as ops
from mmav.registry import TRANSFORMS


def shift_hue(frames: np.ndarray, shift: float) -> np.ndarray:
    """Turns the hue of frames (T, H, W, 3) RGB uint8 by a part of the colour circle."""
    # With the _FULL codes the circle is 256 steps, so that uint8 wraps around as hue does.
    hsv = cv2.cvtColor(ops.sheet(frames), cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(shift * 256) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).reshape(frames.shape)


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Changes the colours of a view, the same for all its frames, in random order (drawn like torchvision).

    Args:
        brightness: The factor is uniform in [max(0, 1 - brightness), 1 + brightness].
        contrast: Likewise.
        saturation: Likewise.
        hue: The shift is uniform in [-hue, hue] of the colour circle, at most 0.5.

    Raises:
        ValueError: A strength is negative, or ``hue`` is above 0.5.
    """

    touches = ('video',)

    def __init__(
        self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, *, hue: float = 0.0
    ) -> None:
        if min(brightness, contrast, saturation, hue) < 0 or hue > 0.5:
            raise ValueError(
                'strengths must not be negative and hue at most 0.5, got '
                f'brightness={brightness}, contrast={contrast}, saturation={saturation}, hue={hue}'
            )
        self.strengths = ((ops.brightness, brightness), (ops.contrast, contrast), (ops.color, saturation))
        self.hue = hue

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Changes every view of ``video``."""
        if 'video' in results:
            results['video'] = [self._jitter(view, results['rng']) for view in results['video']]
        return results

    def _jitter(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for k in rng.permutation(4):
            if k == 3:
                if self.hue:
                    frames = shift_hue(frames, rng.uniform(-self.hue, self.hue))
                continue
            operation, strength = self.strengths[k]
            if strength:
                frames = operation(frames, rng.uniform(max(0.0, 1 - strength), 1 + strength))
        return frames
