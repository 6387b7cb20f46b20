"""RandAugment of the MViTv2 recipe, equal to timm's ``rand-m7-n4-mstd0.5-inc1``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmav.datasets.transforms import frame_ops as ops
from mmav.registry import TRANSFORMS

# The largest magnitude.
MAX_LEVEL = 10.0

LevelToArg = Callable[[float, np.random.Generator], float]


def _signed(value: float, rng: np.random.Generator) -> float:
    return -value if rng.random() > 0.5 else value


def _part(level: float, whole: float) -> float:
    return level / MAX_LEVEL * whole


def _away_from_one(level: float, rng: np.random.Generator) -> float:
    return max(0.1, 1.0 + _signed(_part(level, 0.9), rng))


# How each operation maps a magnitude to its parameter. If there are two, the first is for ``increasing=False``.
LEVEL_TO_ARG: dict[str, tuple[LevelToArg, LevelToArg]] = {
    'Rotate': (lambda level, rng: _signed(_part(level, 30.0), rng),) * 2,
    'ShearX': (lambda level, rng: _signed(_part(level, 0.3), rng),) * 2,
    'ShearY': (lambda level, rng: _signed(_part(level, 0.3), rng),) * 2,
    'TranslateX': (lambda level, rng: _signed(_part(level, 0.45), rng),) * 2,
    'TranslateY': (lambda level, rng: _signed(_part(level, 0.45), rng),) * 2,
    'SolarizeAdd': (lambda level, rng: min(128, int(_part(level, 110))),) * 2,
    'Posterize': (lambda level, rng: int(_part(level, 4)), lambda level, rng: 4 - int(_part(level, 4))),
    'Solarize': (
        lambda level, rng: min(256, int(_part(level, 256))),
        lambda level, rng: 256 - min(256, int(_part(level, 256))),
    ),
    'Color': (lambda level, rng: _part(level, 1.8) + 0.1, _away_from_one),
    'Contrast': (lambda level, rng: _part(level, 1.8) + 0.1, _away_from_one),
    'Brightness': (lambda level, rng: _part(level, 1.8) + 0.1, _away_from_one),
    'Sharpness': (lambda level, rng: _part(level, 1.8) + 0.1, _away_from_one),
}
WITHOUT_ARG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'AutoContrast': ops.auto_contrast,
    'Equalize': ops.equalize,
    'Invert': ops.invert,
}
COLOUR: dict[str, Callable[[np.ndarray, Any], np.ndarray]] = {
    'Posterize': ops.posterize,
    'Solarize': ops.solarize,
    'SolarizeAdd': ops.solarize_add,
    'Color': ops.color,
    'Contrast': ops.contrast,
    'Brightness': ops.brightness,
    'Sharpness': ops.sharpness,
}
GEOMETRY: dict[str, Callable[[float, int, int], Any]] = {
    'Rotate': ops.rotation_matrix,
    'ShearX': lambda factor, height, width: [[1, factor, 0], [0, 1, 0]],
    'ShearY': lambda factor, height, width: [[1, 0, 0], [factor, 1, 0]],
    'TranslateX': lambda share, height, width: [[1, 0, share * width], [0, 1, 0]],
    'TranslateY': lambda share, height, width: [[1, 0, 0], [0, 1, share * height]],
}
OPERATIONS = (*WITHOUT_ARG, *COLOUR, *GEOMETRY)


@TRANSFORMS.register_module()
class RandAugment(BaseTransform):
    """Applies random operations, drawn with replacement once per view, to all of its frames alike.

    Each operation is applied with probability ``p`` and a magnitude drawn from a normal distribution around
    ``magnitude``, cut to [0, 10]. (Cubuk et al. 2019, in the form of timm's ``rand_augment_transform``, which the
    MViTv2 recipe uses.)

    Args:
        magnitude: Mean strength, 0 to 10.
        num_ops: Operations per view.
        mstd: Standard deviation of the strength.
        increasing: Whether every operation gets stronger with its magnitude; if False, some get weaker, as first
            published.
        p: Probability of each operation.
        fill: RGB of the areas exposed by rotations, shears and shifts.

    Raises:
        ValueError: An argument is invalid.
    """

    touches = ('video',)

    def __init__(
        self,
        magnitude: float = 7,
        num_ops: int = 4,
        *,
        mstd: float = 0.5,
        increasing: bool = True,
        p: float = 0.5,
        fill: tuple[int, int, int] = (128, 128, 128),
    ) -> None:
        if not 0 <= magnitude <= MAX_LEVEL:
            raise ValueError(f'magnitude must lie in [0, {MAX_LEVEL:g}], got {magnitude}')
        if num_ops < 0 or mstd < 0 or not 0 <= p <= 1:
            raise ValueError(f'num_ops and mstd must not be negative and p a probability: {num_ops}, {mstd}, {p}')
        self.magnitude = magnitude
        self.num_ops = num_ops
        self.mstd = mstd
        self.increasing = increasing
        self.p = p
        self.fill = fill

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Augments every view of ``video``."""
        if 'video' in results:
            results['video'] = [self._augment(view, results['rng']) for view in results['video']]
        return results

    def _augment(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for k in rng.integers(len(OPERATIONS), size=self.num_ops):
            if rng.random() <= self.p:
                level = min(max(rng.normal(self.magnitude, self.mstd), 0.0), MAX_LEVEL)
                frames = self._apply(OPERATIONS[k], frames, level, rng)
        return frames

    def _apply(self, name: str, frames: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
        if name in WITHOUT_ARG:
            return WITHOUT_ARG[name](frames)
        arg = LEVEL_TO_ARG[name][self.increasing](level, rng)
        if name in COLOUR:
            return COLOUR[name](frames, arg)
        matrix = np.array(GEOMETRY[name](arg, *frames.shape[1:3]), dtype=np.float64)
        interpolation = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
        return ops.affine(frames, matrix, fill=self.fill, interpolation=interpolation)
