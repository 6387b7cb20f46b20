"""Random erasing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmav.registry import TRANSFORMS

# Each stands for an equally likely part of the normal distribution.
LEVELS = 2**16


def normal_levels(mean: float, std: float) -> np.ndarray:
    """Pixel values (LEVELS,) uint8, ascending, that are normally distributed when drawn evenly and cut to 0 to 255.

    Drawing normal numbers themselves takes four times as long.
    """
    from scipy import special  # imported here: it takes half a second, and only this transform needs it

    quantiles = special.ndtri((np.arange(LEVELS) + 0.5) / LEVELS)
    return np.clip(quantiles * std + mean, 0, 255).astype(np.uint8)


@TRANSFORMS.register_module()
class RandomErasing(BaseTransform):
    """Fills a random rectangle with noise, the same rectangle in all frames of a view.

    The noise is normal with ``mean`` and ``std``: standard normal after normalisation, as in the MViTv2 recipe
    (Zhong et al. 2017; timm's mode 'pixel').

    Args:
        p: Probability for each view.
        area: Minimum and maximum share of the frame's area.
        min_aspect: Minimum ratio of height to width; the maximum is its inverse.
        mean: Mean of the noise in pixel values.
        std: Standard deviation of the noise in pixel values.

    Raises:
        ValueError: An argument is invalid.
    """

    touches = ('video',)

    def __init__(
        self,
        p: float = 0.25,
        area: tuple[float, float] = (0.02, 1 / 3),
        *,
        min_aspect: float = 0.3,
        mean: float = 0.45 * 255,
        std: float = 0.225 * 255,
    ) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f'p must lie in [0, 1], got {p}')
        if not 0 < area[0] <= area[1] <= 1 or not 0 < min_aspect <= 1:
            raise ValueError(f'area and min_aspect must lie in (0, 1], got {tuple(area)} and {min_aspect}')
        self.p = p
        self.area = area
        self.min_aspect = min_aspect
        self.levels = normal_levels(mean, std)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Erases in the views that are drawn."""
        if 'video' in results:
            rng = results['rng']
            results['video'] = [self._erase(view, rng) if rng.random() < self.p else view for view in results['video']]
        return results

    def _erase(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = frames.shape[1:3]
        log_aspect = math.log(self.min_aspect)
        for _ in range(10):
            area = rng.uniform(*self.area) * height * width
            aspect = math.exp(rng.uniform(log_aspect, -log_aspect))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < h < height and 0 < w < width:
                top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
                noise = rng.integers(LEVELS, size=(len(frames), h, w, 3), dtype=np.uint16)
                frames = frames.copy()
                frames[:, top : top + h, left : left + w] = self.levels[noise]
                break
        return frames
