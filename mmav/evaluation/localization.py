"""How well a Grad-CAM map localises an event: its share of mass on the event, and the event's share of the input."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmav.errors import ManifestError

CORNERS = ('x0', 'y0', 'x1', 'y1')


class Event(NamedTuple):
    """Location and time of a clip's event.

    Attributes:
        seconds: Times of the boxes (n,).
        boxes: Left, top, right, bottom (n, 4) in [0, 1] of the whole frame.
        onset: Start of the sound event in seconds.
        offset: End of the sound event in seconds.
    """

    seconds: np.ndarray
    boxes: np.ndarray
    onset: float
    offset: float

    def boxes_at(self, seconds: np.ndarray) -> np.ndarray:
        """The boxes (T, 4) of the frames nearest to the times (T,)."""
        return self.boxes[np.abs(self.seconds[None] - np.asarray(seconds)[:, None]).argmin(axis=1)]

    def boxes_in(self, seconds: np.ndarray, region: Sequence[float]) -> np.ndarray:
        """:meth:`boxes_at` in [0, 1] of a region of the frame, given as left, top, right, bottom of the whole frame."""
        left, top, right, bottom = region
        scale = np.array([right - left, bottom - top] * 2)
        return (self.boxes_at(seconds) - np.array([left, top] * 2)) / scale


class Shares(NamedTuple):
    """The share of a map's mass on the event, NaN if the map is zero, and the event's share of the input."""

    mass: float
    room: float


def read_events(data_root: str | Path) -> dict[str, Event]:
    """Reads AVSynth's event lists, ``boxes.csv`` and ``events.csv``.

    Returns:
        Path of a clip, relative to the folder -> its event.

    Raises:
        ManifestError: A file is missing or has other columns.
    """
    boxes: dict[str, list[list[float]]] = {}
    for row in _rows(Path(data_root) / 'boxes.csv', ('path', 'seconds', *CORNERS)):
        boxes.setdefault(row['path'], []).append([float(row[key]) for key in ('seconds', *CORNERS)])
    events = {}
    for row in _rows(Path(data_root) / 'events.csv', ('path', 'onset', 'offset')):
        table = np.array(boxes.get(row['path'], []), dtype=float).reshape(-1, 5)
        if len(table):
            events[row['path']] = Event(table[:, 0], table[:, 1:], float(row['onset']), float(row['offset']))
    return events


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    if not path.is_file():
        raise ManifestError(f"no '{path}': only AVSynth says where its events are (tools/data/avsynth)")
    with path.open(newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ManifestError(f"'{path}' has no column {missing[0]!r}")
        return list(reader)


def box_cover(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The share of each pixel covered by the box of its frame.

    Args:
        boxes: (T, 4): left, top, right, bottom in [0, 1] of the frame; clipped to it.
        size: Height and width of the frame.

    Returns:
        (T, H, W) in [0, 1].
    """
    height, width = size
    x0, y0, x1, y1 = np.asarray(boxes, dtype=float).T
    return (
        interval_cover(y0 * height, y1 * height, height)[:, :, None]
        * interval_cover(x0 * width, x1 * width, width)[:, None]
    )


def interval_cover(start: np.ndarray | float, end: np.ndarray | float, length: int) -> np.ndarray:
    """The share of each of ``length`` unit cells covered by start to end (...,): (..., length) in [0, 1]."""
    cells = np.arange(length)
    inside = np.minimum(np.asarray(end)[..., None], cells + 1) - np.maximum(np.asarray(start)[..., None], cells)
    return np.clip(inside, 0, 1)


def shares(values: np.ndarray, cover: np.ndarray) -> Shares:
    """The share of a map's mass on the event, and the share that a uniform map would have.

    Args:
        values: The map, non-negative.
        cover: The share of each cell that belongs to the event; broadcastable to the map.
    """
    cover = np.broadcast_to(cover, values.shape)
    total = float(values.sum(dtype=float))
    return Shares(float((values * cover).sum(dtype=float)) / total if total > 0 else float('nan'), float(cover.mean()))


def summarise(found: Sequence[Shares], *, draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Means over clips.

    Clips with a zero map are counted, but excluded from the means.

    Returns:
        ``clips``, ``without_map``, ``mass``, ``room``, ``ratio`` (mean mass over mean room) and ``interval``, the
        95 % confidence interval of the ratio (bootstrap over clips). The last four are None if all maps are zero.
    """
    table = np.array([pair for pair in found if np.isfinite(pair.mass)], dtype=float).reshape(-1, 2)
    counts: dict[str, Any] = dict(clips=len(found), without_map=len(found) - len(table))
    if not len(table):
        return dict(**counts, mass=None, room=None, ratio=None, interval=None)
    mass, room = table.mean(axis=0)
    chosen = np.random.default_rng(seed).integers(len(table), size=(draws, len(table)))
    drawn = table[chosen].mean(axis=1)
    interval = np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.975))
    return dict(**counts, mass=mass, room=room, ratio=mass / room, interval=[float(value) for value in interval])
