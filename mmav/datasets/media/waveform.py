"""From decoded audio frames to the mono waveform of an exact span."""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np

# A lost AAC frame is 21 ms long, rounding of time stamps in AVI and WebM stays below 1 ms.
GAP = 0.01


def place_frames(
    frames: Sequence[tuple[float, av.AudioFrame]], start: float, end: float, sample_rate: int
) -> np.ndarray | None:
    """Resamples frames and puts each where its time stamp says.

    Frames that follow each other are resampled as one; a gap between time stamps (lost packets, edits) stays a gap.

    Args:
        frames: Pairs of the time of the frame's first sample in seconds and the frame, in order of time.
        start: Start of the span in seconds.
        end: End of the span in seconds.
        sample_rate: Samples per second of the result.

    Returns:
        Samples (S,) float32, S = round((end - start) * sample_rate), zeros where no frame is; None where no frame
        reaches into the span.
    """
    wave = np.zeros(round((end - start) * sample_rate), dtype=np.float32)
    found = False
    for time, run in _runs(frames):
        samples = _resample(run, sample_rate)
        offset = round((time - start) * sample_rate)
        first, last = max(offset, 0), min(offset + len(samples), len(wave))
        if first < last:
            wave[first:last] = samples[first - offset : last - offset]
            found = True
    return wave if found else None


def _runs(frames: Sequence[tuple[float, av.AudioFrame]]) -> list[tuple[float, list[av.AudioFrame]]]:
    """Groups frames without a gap, of one format, under the time of their first sample."""
    runs: list[tuple[float, list[av.AudioFrame]]] = []
    expected, form = -np.inf, None
    for time, frame in frames:
        frame_form = (frame.sample_rate, frame.layout.name, frame.format.name)
        if form != frame_form or abs(time - expected) > GAP:
            runs.append((time, []))
            expected, form = time, frame_form
        runs[-1][1].append(frame)
        # Counted from the run's start, so that rounded time stamps do not add up.
        expected += frame.samples / frame.sample_rate
    return runs


def _resample(frames: Sequence[av.AudioFrame], sample_rate: int) -> np.ndarray:
    """Resamples one run of frames and mixes it to one channel.

    One or two channels are averaged; of more, FFmpeg's matrix weighs each by its place.
    """
    first = frames[0]
    channels = len(first.layout.channels)
    if channels == 1 and first.sample_rate == sample_rate and first.format.name in ('flt', 'fltp'):
        return np.concatenate([frame.to_ndarray()[0] for frame in frames])
    # One long frame in place of the codec's many short ones: a call for each would take longer than the resampling.
    raw = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    form, layout = first.format.name, first.layout.name
    if channels == 2:
        # Mixed before, not after: the same sum of half the samples, and FFmpeg takes five times as long for two.
        left, right = raw if first.format.is_planar else raw.reshape(-1, 2).T
        form, layout, raw = 'fltp', 'mono', (as_float(left) + as_float(right))[None] * np.float32(0.5)
    whole = av.AudioFrame.from_ndarray(raw, format=form, layout=layout)
    whole.sample_rate = first.sample_rate
    # With 16-bit samples FFmpeg scales the mixing matrix so that nothing can clip; with floats it does not.
    resampler = av.AudioResampler(
        format='fltp' if channels <= 2 else 's16p', layout=None if channels <= 2 else 'mono', rate=sample_rate
    )
    pieces = [piece.to_ndarray() for frame in (whole, None) for piece in resampler.resample(frame)]
    return as_float(np.concatenate(pieces, axis=1)[0])


def as_float(samples: np.ndarray) -> np.ndarray:
    """Samples of any of FFmpeg's types as float32, whole numbers as parts of one.

    >>> as_float(np.array([-32768, 16384], dtype=np.int16))
    array([-1. ,  0.5], dtype=float32)
    """
    if samples.dtype.kind == 'f':
        return samples.astype(np.float32, copy=False)
    span = np.iinfo(samples.dtype)
    # Unsigned samples swing around the middle of their range.
    middle = (int(span.max) + int(span.min) + 1) / 2
    return ((samples - middle) / ((int(span.max) - int(span.min) + 1) / 2)).astype(np.float32)
