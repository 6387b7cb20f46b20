"""Frames and spectrograms with a model's maps over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes

from mmav.analysis.grad_cam.clips import Region
from mmav.datasets.transforms import Spectrogram

COLOURS = colormaps['jet']
STRENGTH = 0.55
KILOHERTZ = (0.1, 0.5, 1, 2, 4, 8, 16)
_WAVE_COLUMNS = 1000


def overlay_heatmap(frames: np.ndarray, cam: np.ndarray, *, strength: float = STRENGTH) -> np.ndarray:
    """Blends maps over frames: blue where the map is 0, red where it is 1, as in the paper's Figures 1 and 5.

    Args:
        frames: (T, H, W, 3) uint8 RGB; they are not changed.
        cam: (T, H, W) in [0, 1].
        strength: Share of the colour in [0, 1]; the rest is the frame.

    Returns:
        (T, H, W, 3) uint8.

    Raises:
        ValueError: The two do not fit together.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or cam.shape != frames.shape[:3]:
        raise ValueError(
            f'frames {frames.shape} of {frames.dtype} and a map {cam.shape}: give (T, H, W, 3) uint8 and (T, H, W)'
        )
    # a table of 256 colours, as all of T * H * W values through a colormap would take float64 RGBA
    table = (COLOURS(np.arange(256))[:, :3] * 255).astype(np.float32)
    colours = table[(np.nan_to_num(cam).clip(0, 1) * 255).round().astype(np.uint8)]
    return (frames * (1 - strength) + colours * strength).round().astype(np.uint8)


class CamRow(NamedTuple):
    """The inputs and maps of one model for a clip.

    Attributes:
        label: Text above its rows: its name and prediction.
        right: Whether the prediction is correct; None if that is unknown.
        frames: Frames (T, H, W, 3) uint8 of the input; None without video.
        cam: Their map (T, H, W).
        times: Seconds of the frames (T,).
        spectrogram: (F, T) of the input, not normalised; None without audio.
        sound_cam: Its map (F, T).
        axes: The audio front end, which knows what the axes of the spectrogram mean.
        start: Seconds of the file where the spectrogram begins.
    """

    label: str
    right: bool | None = None
    frames: np.ndarray | None = None
    cam: np.ndarray | None = None
    times: np.ndarray | None = None
    spectrogram: np.ndarray | None = None
    sound_cam: np.ndarray | None = None
    axes: Spectrogram | None = None
    start: float = 0.0


def pick_frames(count: int, num_frames: int = 9) -> np.ndarray:
    """Indices of ``num_frames`` evenly spread frames of ``count``; all of them if there are no more.

    >>> pick_frames(16, 9), pick_frames(3, 9)
    (array([ 0,  2,  4,  6,  8,  9, 11, 13, 15]), array([0, 1, 2]))
    """
    return np.linspace(0, count - 1, min(num_frames, count)).round().astype(int)


def side_by_side(frames: np.ndarray) -> np.ndarray:
    """Frames (N, H, W, 3) in one row (H, N * W, 3)."""
    return np.concatenate(list(frames), axis=1)


def draw_spectrogram(
    axes: Axes,
    values: np.ndarray,
    cam: np.ndarray | None,
    *,
    axes_of: Spectrogram | None,
    start: float = 0.0,
    small: bool = False,
) -> Any:
    """Draws a spectrogram in seconds and kHz: grey with its map over it, or in colour without a map.

    A waveform is drawn as a line, its map behind it.

    Args:
        axes: Where to draw.
        values: The spectrogram (F, T); exact zeros are padding. Or the waveform (T,).
        cam: Its map (F, T), or (T,), in [0, 1]; None for no map.
        axes_of: Its front end; without one, or where that does not know the frequencies of its bins, the axes count.
        start: Seconds of the file where the window begins.
        small: Whether the unit of frequency stands once, at the axis, instead of at each tick.

    Returns:
        The image, for a colour bar.
    """
    columns = values.shape[-1]
    first, last = (0.0, float(columns))
    if axes_of is not None:
        first = start + axes_of.first
        last = first + columns * axes_of.step
    axes.set_xlabel('column' if axes_of is None else 'seconds', fontsize=8)
    axes.tick_params(labelsize=7, length=2, pad=2)
    if values.ndim == 1:
        return _draw_waveform(axes, values, cam, first=first, last=last)
    bins = values.shape[0]
    extent = (first, last, 0, bins)
    shown = np.ma.masked_equal(values, 0)
    low, high = np.percentile(shown.compressed(), (0.5, 99.8)) if shown.count() else (0.0, 1.0)
    place: dict[str, Any] = dict(origin='lower', aspect='auto', extent=extent)
    image = axes.imshow(shown, 'magma' if cam is None else 'gray', vmin=low, vmax=high, **place)
    axes.set_facecolor('#7fb8b0')
    if cam is not None:
        image = axes.imshow(cam, COLOURS, vmin=0, vmax=1, alpha=STRENGTH, interpolation='bilinear', **place)
    places = [] if axes_of is None else [(axes_of.bin_of(khz * 1000), khz) for khz in KILOHERTZ]
    known = [(place, khz) for place, khz in places if place is not None and 0 <= place <= bins + 0.5]
    if known:
        unit = '' if small else ' kHz'
        axes.set_yticks([min(place, bins) for place, _ in known], [f'{khz:g}{unit}' for _, khz in known])
    else:
        axes.set_yticks([bins * k // 4 for k in range(5)])
    name = 'bins' if axes_of is None else axes_of.bin_name
    axes.set_ylabel('kHz' if small and known else f'{bins} {name}', fontsize=8)
    return image


def _draw_waveform(axes: Axes, values: np.ndarray, cam: np.ndarray | None, *, first: float, last: float) -> Any:
    loudest = float(np.abs(values).max()) or 1.0
    shown = np.zeros((1, len(values))) if cam is None else cam[None]
    place: dict[str, Any] = dict(origin='lower', aspect='auto', extent=(first, last, -loudest, loudest))
    image = axes.imshow(shown, COLOURS, vmin=0, vmax=1, alpha=0.0 if cam is None else STRENGTH, **place)
    # what many samples share a column of the picture becomes its lowest and highest value
    chunks = [chunk for chunk in np.array_split(values, min(len(values), _WAVE_COLUMNS)) if len(chunk)]
    times = first + (np.arange(len(chunks)) + 0.5) * (last - first) / len(chunks)
    line: dict[str, Any] = dict(color='#333333', linewidth=0.4, alpha=1.0 if cam is None else 0.6)
    axes.fill_between(times, [chunk.min() for chunk in chunks], [chunk.max() for chunk in chunks], **line)
    axes.set_xlim(first, last)
    axes.set_ylabel('waveform', fontsize=8)
    return image


def cam_painter(
    cam: np.ndarray, times: np.ndarray, region: Region | None = None, *, strength: float = STRENGTH
) -> Callable[[np.ndarray, float], np.ndarray]:
    """Returns a function that draws a map over all frames of a clip.

    For :func:`~mmav.visualization.annotated_video.write_annotated_video`. Between the frames of the model's input the
    map is interpolated in time. It is drawn at its place in the whole frame; outside the model's crop frames are
    darkened and have no colour.

    Args:
        cam: (T, H, W) in [0, 1].
        times: Seconds of the T frames, ascending.
        region: Left, top, right, bottom of the model's crop in [0, 1] of the whole frame; None for all of it.
        strength: As in :func:`overlay_heatmap`.

    Returns:
        A function of a frame (H', W', 3) uint8 and its time in seconds that returns the frame drawn over.
    """
    left, top, right, bottom = region or (0.0, 0.0, 1.0, 1.0)

    def paint(frame: np.ndarray, seconds: float) -> np.ndarray:
        height, width = frame.shape[:2]
        x0, x1 = round(left * width), max(round(right * width), round(left * width) + 1)
        y0, y1 = round(top * height), max(round(bottom * height), round(top * height) + 1)
        place = float(np.interp(seconds, times, np.arange(len(times))))
        before = min(int(place), len(cam) - 1)
        after = min(before + 1, len(cam) - 1)
        now = cam[before] + (cam[after] - cam[before]) * (place - before)
        large = cv2.resize(now.astype(np.float32), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        painted = frame // 2
        painted[y0:y1, x0:x1] = overlay_heatmap(frame[None, y0:y1, x0:x1], large[None], strength=strength)[0]
        return painted

    return paint
