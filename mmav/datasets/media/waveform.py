"""From decoded audio frames to the mono waveform of an exact span."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import av
import numpy as np

from .channels import mono_samples

# A lost AAC frame is 21 ms long, rounding of time stamps in AVI and WebM stays below 1 ms.
GAP = 0.01
# Louder samples are damage, as those that are no numbers: 180 dB above full scale. Their power would overflow.
LOUDEST = 1e9
# FFmpeg counts the bytes of a frame in 32 bits.
MOST_SAMPLES = 1 << 24


def place_frames(
    frames: Sequence[tuple[float, av.AudioFrame]],
    start: float,
    end: float,
    sample_rate: int,
    *,
    names: Sequence[str] = (),
    on_damage: Callable[[], None] | None = None,
) -> np.ndarray | None:
    """Mixes frames to one channel, resamples them and puts each where its time stamp says.

    Frames that follow each other are resampled as one; a gap between time stamps (lost packets, edits) stays a gap.

    Args:
        frames: Pairs of the time of the frame's first sample in seconds and the frame, in order of time.
        start: Start of the span in seconds.
        end: End of the span in seconds.
        sample_rate: Samples per second of the result.
        names: Names of the channels, for frames that do not tell (:func:`mmav.datasets.media.channels.settle_layout`).
        on_damage: Called for each run of frames in which samples are no finite numbers; they become silence.

    Returns:
        Samples (S,) float32, S = round((end - start) * sample_rate), zeros where no frame is; None where no frame
        reaches into the span.

    Raises:
        ValueError: No sample is a finite number.
    """
    wave = np.zeros(round((end - start) * sample_rate), dtype=np.float32)
    found = damaged = False
    for time, run in _runs(frames):
        # Mixed before it is resampled: FFmpeg takes five times as long for two channels.
        mono = mono_samples(run, names)
        # A comparison with what is not a number is never true.
        if not float(np.abs(mono).max(initial=0.0)) < LOUDEST:
            damaged = True
            if on_damage is not None:
                on_damage()
            sound = np.abs(mono) < LOUDEST
            if not sound.any():
                continue
            mono = np.where(sound, mono, np.float32(0.0))
        samples = _resample(mono, run[0].sample_rate, sample_rate)
        offset = round((time - start) * sample_rate)
        first, last = max(offset, 0), min(offset + len(samples), len(wave))
        if first < last:
            wave[first:last] = samples[first - offset : last - offset]
            found = True
    if damaged and not found:
        raise ValueError('none of its samples is a finite number')
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


def _resample(mono: np.ndarray, own_rate: int, sample_rate: int) -> np.ndarray:
    if own_rate == sample_rate:
        return mono
    resampler = av.AudioResampler(format='fltp', layout='mono', rate=sample_rate)
    wholes: list[av.AudioFrame | None] = []
    for first in range(0, len(mono), MOST_SAMPLES):
        whole = av.AudioFrame.from_ndarray(mono[None, first : first + MOST_SAMPLES], format='fltp', layout='mono')
        whole.sample_rate = own_rate
        wholes.append(whole)
    pieces = [piece.to_ndarray()[0] for whole in (*wholes, None) for piece in resampler.resample(whole)]
    return np.concatenate([np.zeros(0, np.float32), *pieces])
