"""Image operations on clips, equal to Pillow's (which timm's RandAugment calls) but on all frames of a clip.

mmcv.image has functions of the same names; they take BGR, round where Pillow truncates, and are slower where a
histogram is needed. Every operation takes and returns frames (T, H, W, 3) uint8 RGB and does not change its input.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

_values = np.arange(256)
# Pillow truncates, OpenCV rounds: subtracting almost a half turns rounding into truncation. The difference to a half
# exceeds the error of single precision, so that whole numbers are kept.
CUT_OFF = -0.5 + 2**-12


def sheet(frames: np.ndarray) -> np.ndarray:
    """The frames (T, H, W, 3) below each other as one image (T * H, W, 3), so that OpenCV is called once a clip."""
    return np.ascontiguousarray(frames).reshape(-1, *frames.shape[2:])


def _lookup(frames: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Maps each value through a table (256,)."""
    return cv2.LUT(sheet(frames), np.asarray(table, dtype=np.uint8)).reshape(frames.shape)


def _lookup_each(frames: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Maps each channel of each frame through a table of its own, of (T, 3, 256)."""
    out = np.empty(frames.shape, frames.dtype)
    for frame, table, target in zip(np.ascontiguousarray(frames), tables.swapaxes(1, 2), out, strict=True):
        cv2.LUT(frame, np.ascontiguousarray(table)[None], dst=target)
    return out


def _histograms(frames: np.ndarray) -> np.ndarray:
    """How often each value is in each channel of each frame, (T, 3, 256)."""
    counts = [
        cv2.calcHist([frame], [c], None, [256], [0, 256]) for frame in np.ascontiguousarray(frames) for c in range(3)
    ]
    return np.stack(counts).astype(np.int64).reshape(-1, 3, 256)


def _grey(frames: np.ndarray) -> np.ndarray:
    """Luma (T * H, W)."""
    return cv2.cvtColor(sheet(frames), cv2.COLOR_RGB2GRAY)


def _towards(grey: np.ndarray | int, factor: float) -> np.ndarray:
    """Table (256,) that blends each value with a grey level: 0 is grey, 1 the value itself; truncates like Pillow."""
    # In single precision like Pillow: truncation would expose a difference in the last bit.
    start, step = np.float32(grey), _values.astype(np.float32) - np.float32(grey)
    return np.clip(start + np.float32(factor) * step, 0, 255).astype(np.uint8)


def _blend(base: np.ndarray, frames: np.ndarray, factor: float) -> np.ndarray:
    """Blends from the base (T * H, W, 3) (factor 0) to the frames (1) and beyond, truncated to whole numbers.

    Pillow's last bit may differ where the result is within 2**-12 of the next whole number.
    """
    return cv2.addWeighted(sheet(frames), factor, base, 1 - factor, CUT_OFF).reshape(frames.shape)


def auto_contrast(frames: np.ndarray) -> np.ndarray:
    """Stretches each channel of each frame to the whole range."""
    used = _histograms(frames) > 0
    low, high = used.argmax(axis=-1), 255 - used[..., ::-1].argmax(axis=-1)
    scale = np.where(high > low, 255.0 / np.maximum(high - low, 1), 1.0)[..., None]
    low = np.where(high > low, low, 0)[..., None]
    return _lookup_each(frames, np.clip(_values * scale - low * scale, 0, 255).astype(np.uint8))


def equalize(frames: np.ndarray) -> np.ndarray:
    """Makes the histogram of each channel of each frame even."""
    counts = _histograms(frames)
    highest = 255 - (counts > 0)[..., ::-1].argmax(axis=-1)[..., None]
    step = (counts.sum(axis=-1, keepdims=True) - np.take_along_axis(counts, highest, axis=-1)) // 255
    before = counts.cumsum(axis=-1) - counts
    even = np.minimum((before + step // 2) // np.maximum(step, 1), 255)
    return _lookup_each(frames, np.where(step > 0, even, _values).astype(np.uint8))


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
    return _lookup(frames, _towards(0, factor))


def contrast(frames: np.ndarray, factor: float) -> np.ndarray:
    """Blends each frame with its mean grey: 0 is grey, 1 the clip itself."""
    out = np.empty(frames.shape, frames.dtype)
    greys = _grey(frames).reshape(frames.shape[:3])
    for frame, grey, target in zip(np.ascontiguousarray(frames), greys, out, strict=True):
        mean = int(cv2.sumElems(grey)[0] / grey.size + 0.5)
        cv2.LUT(frame, _towards(mean, factor), dst=target)
    return out


def color(frames: np.ndarray, factor: float) -> np.ndarray:
    """Blends with the grey clip: 0 is grey, 1 the clip itself."""
    return _blend(cv2.cvtColor(_grey(frames), cv2.COLOR_GRAY2RGB), frames, factor)


def sharpness(frames: np.ndarray, factor: float) -> np.ndarray:
    """Blends with the smoothed clip: 0 is smooth, 1 the clip itself. The outermost pixels stay."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=np.float32) / 13
    smooth = cv2.filter2D(sheet(frames), -1, kernel)
    # What the frame above or below got into are the outermost rows.
    each = smooth.reshape(frames.shape)
    each[:, [0, -1]], each[:, :, [0, -1]] = frames[:, [0, -1]], frames[:, :, [0, -1]]
    return _blend(smooth, frames, factor)


def affine(frames: np.ndarray, matrix: np.ndarray, *, fill: tuple[int, int, int], interpolation: int) -> np.ndarray:
    """Takes each pixel of the result from where the matrix (2, 3) maps its centre; fills what lies outside.

    Args:
        frames: Frames (T, H, W, 3).
        matrix: From (x, y, 1) in the result to (x, y) in the frame, pixel centres lying at halves as in Pillow.
        fill: RGB.
        interpolation: One of OpenCV's.
    """
    centred = np.array(matrix, dtype=np.float64)
    centred[:, 2] += centred[:, :2] @ (0.5, 0.5) - 0.5
    frames = np.ascontiguousarray(frames)
    height, width = frames.shape[1:3]
    # Shears and shifts move whole rows or columns, which is five times faster than mapping each pixel.
    if interpolation in TAPS and (centred[1] == (0, 1, 0)).all() and centred[0, 0] == 1:
        return _shift_rows(frames, centred[0, 1] * np.arange(height) + centred[0, 2], fill, TAPS[interpolation])
    if interpolation in TAPS and (centred[0] == (1, 0, 0)).all() and centred[1, 1] == 1:
        starts = centred[1, 0] * np.arange(width) + centred[1, 2]
        return _transposed(_shift_rows(_transposed(frames), starts, fill, TAPS[interpolation]))
    out = np.empty(frames.shape, frames.dtype)
    for frame, target in zip(frames, out, strict=True):
        cv2.warpAffine(
            frame,
            centred,
            (width, height),
            dst=target,
            flags=interpolation | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=fill,
        )
    return out


def _linear_taps(x: float) -> tuple[float, ...]:
    return 0.0, 1.0 - x, x, 0.0


def _cubic_taps(x: float) -> tuple[float, ...]:
    # OpenCV's cubic has a = -0.75; Pillow's, -0.5, is a little softer.
    near = [1.25 * d**3 - 2.25 * d**2 + 1 for d in (x, 1 - x)]
    far = [-0.75 * d**3 + 3.75 * d**2 - 6 * d + 3 for d in (1 + x, 2 - x)]
    return far[0], near[0], near[1], far[1]


# Weights of the pixels at -1, 0, 1 and 2 for the value at x in [0, 1).
TAPS = {cv2.INTER_LINEAR: _linear_taps, cv2.INTER_CUBIC: _cubic_taps}


def _shift_rows(
    frames: np.ndarray, starts: np.ndarray, fill: tuple[int, int, int], taps: Callable[[float], tuple[float, ...]]
) -> np.ndarray:
    """Rows (H,) of all frames (T, H, W, 3), each beginning at ``starts`` (H,) of the old one; outside is filled."""
    count, height, width, _ = frames.shape
    whole = np.floor(starts).astype(int)
    pad = int(np.abs(whole).max()) + 3
    padded = np.empty((count, height, width + 2 * pad, 3), frames.dtype)
    for frame, target in zip(frames, padded, strict=True):
        cv2.copyMakeBorder(frame, 0, 0, pad, pad, cv2.BORDER_CONSTANT, dst=target, value=fill)
    out = np.empty(frames.shape, frames.dtype)
    for y, (start, part) in enumerate(zip(pad + whole, starts - whole, strict=True)):
        kernel = np.array([taps(part)], dtype=np.float32)
        # Row y of all frames is an image (T, W + 3); OpenCV centres four taps on the third.
        out[:, y] = cv2.filter2D(padded[:, y, start - 1 : start + width + 2], -1, kernel)[:, 2:-1]
    return out


def _transposed(frames: np.ndarray) -> np.ndarray:
    """Frames (T, W, H, 3)."""
    out = np.empty(frames.swapaxes(1, 2).shape, frames.dtype)
    for frame, target in zip(frames, out, strict=True):
        cv2.transpose(frame, dst=target)
    return out


def rotation_matrix(degrees: float, height: int, width: int) -> np.ndarray:
    """Matrix for :func:`affine` that turns counter-clockwise about the middle."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([width / 2, height / 2])
    return np.column_stack([turn, middle - turn @ middle])
