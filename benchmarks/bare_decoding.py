"""The limit of a data path: plain PyAV code that decodes the same frames and samples, and does nothing else."""

from __future__ import annotations

from typing import Any

import av
import numpy as np

from mmav.datasets.media.opening import open_container


def bare_decode(
    path: str,
    times: np.ndarray | None,
    span: tuple[float, float] | None,
    *,
    short_side: int | None = None,
    sample_rate: int = 16000,
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Decodes frames and sound as anyone would write it, in one thread.

    Opens the file, seeks to the keyframe before the first wanted frame, decodes on to the last one and turns the wanted
    frames, each once, into RGB; then seeks to the start of the span, decodes its sound and resamples it to one channel.
    It trusts the file: no damaged packets, no edit lists, no tracks that start late.

    Args:
        path: The file.
        times: Seconds of the wanted frames in any order, of which the nearest are taken; None for no picture.
        span: Start and end in seconds of the wanted sound; None for no sound.
        short_side: Short side of the frames in pixels; None keeps their size.
        sample_rate: Samples per second of the sound.

    Returns:
        A frame (H, W, 3) uint8 RGB for each time, and the samples (S,) float32.

    Raises:
        MediaError: The file cannot be opened.
        av.FFmpegError: The file cannot be read.
        IndexError: It has no such track.
        ValueError: Nothing is there at the wanted times.
    """
    with open_container(path) as container:
        frames = [] if times is None else _frames(container, np.asarray(times).reshape(-1), short_side)
        wave = None if span is None else _sound(container, *span, sample_rate)
    return frames, wave


def _frames(container: Any, times: np.ndarray, short_side: int | None) -> list[np.ndarray]:
    stream = container.streams.video[0]
    stream.thread_type = 'NONE'
    origin = float((stream.start_time or 0) * stream.time_base)
    order = np.argsort(times)
    wanted = times[order] + origin
    container.seek(max(0, int(wanted[0] / stream.time_base)), stream=stream)
    chosen: list[Any] = []
    before = None
    for frame in container.decode(stream):
        while len(chosen) < len(wanted) and wanted[len(chosen)] <= frame.time:
            time = wanted[len(chosen)]
            chosen.append(before if before is not None and time - before.time <= frame.time - time else frame)
        if len(chosen) == len(wanted):
            break
        before = frame
    chosen += [before] * (len(wanted) - len(chosen))
    if chosen[0] is None:
        raise ValueError('no frame was decoded')
    scale = 1.0 if short_side is None else short_side / min(chosen[0].height, chosen[0].width)
    size = dict(height=round(chosen[0].height * scale), width=round(chosen[0].width * scale))
    arrays = {frame.pts: frame for frame in chosen}
    arrays = {pts: frame.to_ndarray(format='rgb24', threads=1, **size) for pts, frame in arrays.items()}
    return [arrays[chosen[place].pts] for place in np.argsort(order)]


def _sound(container: Any, start: float, end: float, sample_rate: int) -> np.ndarray:
    stream = container.streams.audio[0]
    resampler = av.AudioResampler(format='flt', layout='mono', rate=sample_rate)
    container.seek(max(0, int(start / stream.time_base)), stream=stream)
    first: float | None = None
    pieces: list[np.ndarray] = []
    for frame in container.decode(stream):
        if frame.time >= end:
            break
        first = frame.time if first is None else first
        pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    if first is None:
        raise ValueError('no sound was decoded')
    skip = max(0, round((start - first) * sample_rate))
    return np.concatenate(pieces)[skip : skip + round((end - start) * sample_rate)]
