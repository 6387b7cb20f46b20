"""Image operations on clips, equal to Pillow's (which timm's RandAugment calls) but on all frames of a clip.

mmcv.image has namesakes; they take BGR, round where Pillow cuts off, and are slower at what needs a histogram.
Every operation takes and gives frames (T, H, W, 3) uint8 RGB and leaves its input alone.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

_values = np.arange(256)


def _lookup(frames: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Maps each value through a table (256,)."""
    flat = np.ascontiguousarray(frames).reshape(len(frames), -1)
    return cv2.LUT(flat, np.asarray(table, dtype=np.uint8)).reshape(frames.shape)


def _per_channel(frames: np.ndarray, table_of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Maps each channel of each frame through a table that its histogram (256,) gives."""
    out = np.empty_like(frames)
    for frame, target in zip(frames, out, strict=True):
        for c in range(3):
            channel = np.ascontiguousarray(frame[..., c])
            histogram = np.bincount(channel.reshape(-1), minlength=256)
            target[..., c] = cv2.LUT(channel, table_of(histogram).astype(np.uint8))
    return out


def _grey(frames: np.ndarray) -> np.ndarray:
    """Luma (T, H, W)."""
    return np.stack([cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames])


def _blend(base: np.ndarray | int, value: np.ndarray, factor: float) -> np.ndarray:
    """From ``base`` (factor 0) over ``value`` (1) and beyond, cut off to whole numbers."""
    start = np.asarray(base, dtype=np.float32)
    # In single precision as Pillow: the cut would show a last bit that differs.
    step = np.asarray(value, dtype=np.float32) - start
    return np.clip(start + np.float32(factor) * step, 0, 255).astype(np.uint8)


def auto_contrast(frames: np.ndarray) -> np.ndarray:
    """Stretches each channel of each frame to the whole range."""

    def table(histogram: np.ndarray) -> np.ndarray:
        used = np.flatnonzero(histogram)
        low, high = int(used[0]), int(used[-1])
        if high <= low:
            return _values
        scale = 255.0 / (high - low)
        return np.clip(_values * scale - low * scale, 0, 255)

    return _per_channel(frames, table)


def equalize(frames: np.ndarray) -> np.ndarray:
    """Makes the histogram of each channel of each frame even."""

    def table(histogram: np.ndarray) -> np.ndarray:
        used = histogram[histogram > 0]
        step = int(used.sum() - used[-1]) // 255
        if len(used) <= 1 or not step:
            return _values
        before = np.cumsum(histogram) - histogram
        return np.minimum((before + step // 2) // step, 255)

    return _per_channel(frames, table)


def invert(frames: np.ndarray) -> np.ndarray:
    """255 minus each value."""
    return 255 - frames


def solarize(frames: np.ndarray, threshold: int) -> np.ndarray:
    """Inverts the values from the threshold up."""
    return _lookup(frames, np.where(_values >= threshold, 255 - _values, _values))


def solarize_add(frames: np.ndarray, add: int, threshold: int = 128) -> np.ndarray:
    """Adds to the values below the threshold."""
    return _lookup(frames, np.where(_values >= threshold, _values, np.minimum(_values + add, 255)))


def posterize(frames: np.ndarray, bits: int) -> np.ndarray:
    """Keeps the highest bits of each value."""
    return frames if bits >= 8 else _lookup(frames, _values & ~(2 ** (8 - bits) - 1))


def brightness(frames: np.ndarray, factor: float) -> np.ndarray:
    """Blends with black: 0 is black, 1 the clip itself."""
    return _lookup(frames, _blend(0, _values, factor))


def contrast(frames: np.ndarray, factor: float) -> np.ndarray:
    """Blends each frame with its mean grey: 0 is grey, 1 the clip itself."""
    means = (_grey(frames).mean(axis=(1, 2)) + 0.5).astype(int)
    return np.stack(
        [_lookup(frame, _blend(int(mean), _values, factor)) for frame, mean in zip(frames, means, strict=True)]
    )


def color(frames: np.ndarray, factor: float) -> np.ndarray:
    """Blends with the grey clip: 0 is grey, 1 the clip itself."""
    return _blend(_grey(frames)[..., None], frames, factor)


def sharpness(frames: np.ndarray, factor: float) -> np.ndarray:
    """Blends with the smoothed clip: 0 is smooth, 1 the clip itself. The outermost pixels stay."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=np.float32) / 13
    smooth = frames.copy()
    for frame, target in zip(frames, smooth, strict=True):
        target[1:-1, 1:-1] = cv2.filter2D(np.ascontiguousarray(frame), -1, kernel)[1:-1, 1:-1]
    return _blend(smooth, frames, factor)


def affine(frames: np.ndarray, matrix: np.ndarray, *, fill: tuple[int, int, int], interpolation: int) -> np.ndarray:
    """Takes each pixel of the result from where the matrix (2, 3) sends its centre; outside is filled.

    Args:
        frames: Frames (T, H, W, 3).
        matrix: From (x, y, 1) in the result to (x, y) in the frame, pixel centres lying at halves as in Pillow.
        fill: RGB.
        interpolation: One of OpenCV's.
    """
    centred = np.array(matrix, dtype=np.float64)
    centred[:, 2] += centred[:, :2] @ (0.5, 0.5) - 0.5
    height, width = frames.shape[1:3]
    out = np.empty(frames.shape, frames.dtype)
    for frame, target in zip(frames, out, strict=True):
        target[:] = cv2.warpAffine(
            np.ascontiguousarray(frame),
            centred,
            (width, height),
            flags=interpolation | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=fill,
        )
    return out


def rotation_matrix(degrees: float, height: int, width: int) -> np.ndarray:
    """Matrix for :func:`affine` that turns counter-clockwise about the middle."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([width / 2, height / 2])
    return np.column_stack([turn, middle - turn @ middle])
