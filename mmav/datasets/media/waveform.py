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
    # With 16-bit samples FFmpeg scales the mixing matrix so that nothing can clip; with floats it does not.
    resampler = av.AudioResampler(
        format='fltp' if channels <= 2 else 's16p', layout='mono' if channels > 2 else None, rate=sample_rate
    )
    # One long frame in place of the codec's many short ones: a call for each would take longer than the resampling.
    whole = av.AudioFrame.from_ndarray(
        np.concatenate([frame.to_ndarray() for frame in frames], axis=1), format=first.format.name, layout=first.layout
    )
    whole.sample_rate = first.sample_rate
    pieces = [piece.to_ndarray() for frame in (whole, None) for piece in resampler.resample(frame)]
    samples = np.concatenate(pieces, axis=1)
    if samples.dtype == np.int16:
        return samples[0].astype(np.float32) / 32768
    return samples.mean(axis=0, dtype=np.float32)
