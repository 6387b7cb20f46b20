"""Crops and resizes frames; all frames of a view are treated alike."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmav.registry import TRANSFORMS


def size_pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width from one number or two.

    Raises:
        ValueError: It is neither, or not above 0.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f'size must be a number of pixels or (height, width), got {size!r}')
    return int(pair[0]), int(pair[1])


def resize_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales frames (T, H, W, 3) to (T, *size, 3) bilinearly."""
    if frames.shape[1:3] == size:
        return frames
    out = np.empty((len(frames), *size, frames.shape[3]), frames.dtype)
    for source, target in zip(frames, out, strict=True):
        cv2.resize(source, (size[1], size[0]), dst=target, interpolation=cv2.INTER_LINEAR)
    return out


@TRANSFORMS.register_module()
class Resize(BaseTransform):
    """Scales the frames.

    Args:
        size: Pixels of the short side (the other side follows), or (height, width).

    Raises:
        ValueError: The size makes no sense.
    """

    deterministic = True
    touches = ('video',)

    def __init__(self, size: int | tuple[int, int]) -> None:
        size_pair(size)
        self.size = size

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Scales every view."""
        if 'video' in results:
            results['video'] = [resize_frames(view, self._target(*view.shape[1:3])) for view in results['video']]
        return results

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if not isinstance(self.size, int):
            return size_pair(self.size)
        scale = self.size / min(height, width)
        return round(height * scale), round(width * scale)


@TRANSFORMS.register_module()
class CenterCrop(BaseTransform):
    """Crops the centre; scales up frames that are too small first.

    Args:
        size: Pixels of both sides, or (height, width).

    Raises:
        ValueError: The size makes no sense.
    """

    deterministic = True
    touches = ('video',)

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = size_pair(size)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crops every view."""
        if 'video' in results:
            results['video'] = [self._crop(view) for view in results['video']]
        return results

    def _crop(self, frames: np.ndarray) -> np.ndarray:
        height, width = self.size
        have = frames.shape[1:3]
        if have[0] < height or have[1] < width:
            scale = max(height / have[0], width / have[1])
            frames = resize_frames(frames, (math.ceil(have[0] * scale - 1e-6), math.ceil(have[1] * scale - 1e-6)))
        top, left = round((frames.shape[1] - height) / 2), round((frames.shape[2] - width) / 2)
        return frames[:, top : top + height, left : left + width]


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Crops a random part of the frames and scales it, drawn once per view (Inception crop, drawn like torchvision).

    Args:
        size: Pixels of both sides, or (height, width), of the result.
        scale: Minimum and maximum share of the area.
        ratio: Minimum and maximum ratio of width to height.

    Raises:
        ValueError: A size or range is invalid.
    """

    touches = ('video',)

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        for name, pair in dict(scale=scale, ratio=ratio).items():
            if not 0 < pair[0] <= pair[1]:
                raise ValueError(f'{name} must be two numbers above 0, the smaller first; got {tuple(pair)}')
        self.size = size_pair(size)
        self.scale = scale
        self.ratio = ratio

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crops and scales every view."""
        if 'video' in results:
            views = []
            for view in results['video']:
                top, left, height, width = self.draw(view.shape[1], view.shape[2], results['rng'])
                views.append(resize_frames(view[:, top : top + height, left : left + width], self.size))
            results['video'] = views
        return results

    def draw(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Top, left, height and width of a crop of frames of the given size."""
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        # Nothing fits: the centre, as large as the ratios allow.
        w, h = width, height
        if width / height < self.ratio[0]:
            h = round(width / self.ratio[0])
        elif width / height > self.ratio[1]:
            w = round(height * self.ratio[1])
        return (height - h) // 2, (width - w) // 2, h, w
