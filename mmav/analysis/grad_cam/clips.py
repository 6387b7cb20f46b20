"""A clip as a model got it: the inputs, the times of the frames, and where these lie in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmav.datasets.transforms import (
    CenterCrop,
    LoadClip,
    RandomFlip,
    RandomResizedCrop,
    Resize,
    SpatialCrops,
    Spectrogram,
)
from mmav.datasets.transforms.spectrogram import find_spectrogram
from mmav.evaluation.localization import Event, box_cover, interval_cover
from mmav.inference import AVInferencer

Region = tuple[float, float, float, float]


class SeenClip(NamedTuple):
    """A clip and what a model got of it.

    Attributes:
        path: The file.
        item: ``inputs``, ``masks`` and ``data_samples``, as the pipeline packs them.
        start: Start of the window in seconds of the file.
        end: Its end.
        frames: Frames (V, T, H, W, 3) uint8 before packing; None without video.
        frame_times: Their times (V, T) in seconds of the file.
        region: Left, top, right, bottom of these frames in [0, 1] of the whole frame; None if the pipeline crops or
            mirrors at random.
        sound: The audio front end, which knows what the axes of the spectrogram mean; None without audio.
    """

    path: str
    item: dict[str, Any]
    start: float
    end: float
    frames: np.ndarray | None
    frame_times: np.ndarray | None
    region: Region | None
    sound: Spectrogram | None

    def covers(self, event: Event) -> dict[str, np.ndarray]:
        """The share of each pixel and spectrogram column that belongs to the event of the clip, in its first view.

        Returns:
            ``video`` (T, H, W), ``audio`` (1, T), in [0, 1]; without modalities that are absent or of unknown place.
        """
        found = {}
        if self.frames is not None and self.frame_times is not None and self.region is not None:
            boxes = event.boxes_in(self.frame_times[0], self.region)
            found['video'] = box_cover(boxes, self.frames.shape[2:4])
        if self.sound is not None:
            onset, offset = (
                (seconds - self.start - self.sound.first) / self.sound.step for seconds in (event.onset, event.offset)
            )
            found['audio'] = interval_cover(onset, offset, self.item['inputs']['audio'].shape[-1])[None]
        return found


def look(inferencer: AVInferencer, source: Any, *, start: float | None = None, end: float | None = None) -> SeenClip:
    """Reads a clip as :meth:`mmav.apis.AVInferencer.read` does, and keeps what packing drops.

    Raises:
        MediaError: It cannot be read, or has nothing that the model needs.
    """
    steps: Sequence[Callable[[dict], Any]] = inferencer.pipeline.transforms
    spy = _Spy(steps)
    pipeline, inferencer.pipeline = inferencer.pipeline, spy
    try:
        item = inferencer.read(source, start=start, end=end)
    finally:
        inferencer.pipeline = pipeline
    seen, masks = spy.seen, item['masks']
    has = {name: bool(masks.get(name, False)) for name in ('video', 'audio')}
    return SeenClip(
        path=str(seen['path']),
        item=item,
        start=seen['start'],
        end=seen['end'],
        frames=np.stack(seen['video']) if has['video'] else None,
        frame_times=seen['frame_times'] if has['video'] else None,
        region=crop_region(steps, spy.loaded) if has['video'] else None,
        sound=find_spectrogram(steps) if has['audio'] else None,
    )


class _Spy:
    """Runs the steps of a pipeline; keeps the input of the last one."""

    def __init__(self, steps: Sequence[Callable[[dict], Any]]) -> None:
        self.steps = steps
        self.seen: Mapping[str, Any] = {}
        self.loaded = (0, 0)  # height and width of the frames as they were read

    def __call__(self, results: dict) -> Any:
        for step in self.steps:
            if 'path' in results:  # not packed yet
                self.seen = dict(results)
            results = step(results)
            if isinstance(step, LoadClip) and 'video' in results:
                self.loaded = results['video'][0].shape[1:3]
        return results


def crop_region(steps: Sequence[Any], size: tuple[int, int]) -> Region | None:
    """The part of the whole frame that is left after the steps of a pipeline, in the first of several views.

    Args:
        steps: Its steps; those that crop or scale evenly count.
        size: Height and width of the frames that LoadClip returns.

    Returns:
        Left, top, right, bottom in [0, 1]; None if a step crops or mirrors at random.

    >>> [round(edge, 3) for edge in crop_region([CenterCrop(64)], (72, 144))]
    [0.278, 0.056, 0.722, 0.944]
    """
    if any(isinstance(step, (RandomResizedCrop, RandomFlip)) for step in steps):
        return None
    height, width = size
    # the steps transform an image of coordinates, whose pixels say where they come from
    places = np.stack(
        np.broadcast_arrays((np.arange(width) + 0.5) / width, (np.arange(height)[:, None] + 0.5) / height, 0.0),
        axis=-1,
    )
    results = dict(video=[np.ascontiguousarray(places[None])])
    for step in steps:
        if isinstance(step, (Resize, CenterCrop, SpatialCrops)):
            results = step.transform(results)
    left, right = _ends(results['video'][0][0, 0, :, 0])
    top, bottom = _ends(results['video'][0][0, :, 0, 1])
    return left, top, right, bottom


def _ends(centres: np.ndarray) -> tuple[float, float]:
    """Where the first of some evenly spaced pixels begins and the last one ends, in [0, 1]."""
    # scaling up repeats the border, so the outermost pixels have wrong coordinates
    cut = 2 if len(centres) > 6 else 0
    inner = centres[cut : len(centres) - cut]
    step = (inner[-1] - inner[0]) / max(len(inner) - 1, 1)
    return max(float(inner[0] - (cut + 0.5) * step), 0.0), min(float(inner[-1] + (cut + 0.5) * step), 1.0)
