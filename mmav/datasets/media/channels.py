"""Sound of any number of channels to one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import av
import numpy as np

# What a place counts in FFmpeg's downmix (libswresample, rematrix.c). It leaves out what is not listed: the bass
# channel and some of the upper ones.
PLACES = {
    'FC': 1.0,
    **dict.fromkeys(('FL', 'FR', 'FLC', 'FRC', 'TFL', 'TFR', 'DL', 'DR'), math.sqrt(0.5)),
    **dict.fromkeys(('BL', 'BR', 'BC', 'SL', 'SR'), 0.5),
    # Of ambisonic sound the first channel is what a microphone without a direction hears.
    'AMBI0': 1.0,
}
# What FFmpeg takes channels for whose places the file does not tell; more are averaged.
GUESSED = {3: '2.1', 4: '4.0', 5: '5.0', 6: '5.1', 7: '6.1', 8: '7.1'}
# A mix that never exceeds -60 dB of full scale is silent.
SILENT = 1e-3
# PyAV looks for planes up to the first pointer that is null, which FFmpeg sets behind seven at most.
MOST_PLANES = 7
# NumPy has no type for FFmpeg's others.
ARRAY_FORMATS = ('u8', 's16', 's32', 'flt', 'dbl')


def settle_layout(codec: Any) -> tuple[str, ...]:
    """Makes the sound of a track safe to decode; to be called once, before anything is decoded.

    A layout that lists its channels in an order of its own (7.1 in mov and caf is written so) is an array, which PyAV
    shares with FFmpeg and frees with each frame that has it: the process dies of it. Here the decoder gets a layout
    that is none.

    Args:
        codec: PyAV's codec context of the track.

    Returns:
        Names of the channels, such as FL; NONE where the file does not tell.
    """
    layout = codec.layout
    names = tuple(channel.name for channel in layout.channels)
    # A decoder that had to be opened to learn the layout has none from a header, which alone may be such an array.
    if names and not codec.is_open:
        name = layout.name
        # This lets go of the array without freeing it: it belongs to `layout` now.
        codec.layout = f'{len(names)} channels' if ' channels (' in name else name
    return names


def channel_names(frame: av.AudioFrame, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of a frame's channels.

    Args:
        frame: The frame.
        names: What :func:`settle_layout` has found, for a frame that does not tell.
    """
    own = tuple(channel.name for channel in frame.layout.channels)
    return tuple(names) if len(names) == len(own) and set(own) == {'NONE'} else own


def mono_weights(names: Sequence[str]) -> np.ndarray:
    """What each channel counts in the mix.

    One or two are averaged. More count by their place, as in FFmpeg's downmix to whole numbers (``ffmpeg -ac 1
    -c:a pcm_s16le``): divided by their sum where it exceeds one, so that nothing clips. Where no channel has a place
    that counts, all are averaged.

    Args:
        names: Names of the channels.

    >>> mono_weights(['FL', 'FR', 'FC', 'LFE', 'BL', 'BR']).round(3).tolist()
    [0.207, 0.207, 0.293, 0.0, 0.146, 0.146]
    """
    if set(names) == {'NONE'} and len(names) in GUESSED:
        names = [channel.name for channel in av.AudioLayout(GUESSED[len(names)]).channels]
    weights = np.array([PLACES.get(name, 0.0) for name in names])
    if len(names) <= 2 or not weights.any():
        weights = np.ones(len(names))
    return weights / max(1.0, weights.sum())


def mix(channels: Sequence[np.ndarray] | np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Mixes channels to one.

    Where the mix is silent and a channel that does not count in it is not, all are averaged: what sounds in the bass
    channel alone is heard.

    Args:
        channels: Samples (S,) of each, of any of FFmpeg's types.
        names: Their names.

    Returns:
        Samples (S,) float32; they exceed one only where the channels do.
    """
    weights = mono_weights(names)
    mono = _weighted(channels, weights)
    left_out = [channel for channel, weight in zip(channels, weights, strict=True) if not weight]
    if left_out and _peak(mono) <= SILENT and any(_peak(as_float(channel)) > SILENT for channel in left_out):
        mono = _weighted(channels, np.full(len(channels), 1 / len(channels)))
    return mono


def mono_samples(frames: Sequence[av.AudioFrame], names: Sequence[str] = ()) -> np.ndarray:
    """The sound of frames of one form, mixed to one channel.

    Args:
        frames: The frames.
        names: What :func:`settle_layout` has found.

    Returns:
        Samples (S,) float32.
    """
    form, names = frames[0].format, channel_names(frames[0], names)
    count = len(names)
    form_name = form.packed.name
    if form_name not in ARRAY_FORMATS or (form.is_planar and count > MOST_PLANES):
        packer = av.AudioResampler(format=form_name if form_name in ARRAY_FORMATS else 'dbl')
        frames = [packed for frame in (*frames, None) for packed in packer.resample(frame)]
        form = frames[0].format
    # One long row in place of the codec's many short ones: a call for each would take longer than the resampling.
    raw = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    return mix(raw if form.is_planar else raw.reshape(-1, count).T, names)


def mono_frame(frame: av.AudioFrame, names: Sequence[str] = ()) -> av.AudioFrame:
    """A frame mixed to one channel, see :func:`mono_samples`."""
    mono = av.AudioFrame.from_ndarray(mono_samples([frame], names)[None], format='fltp', layout='mono')
    mono.sample_rate = frame.sample_rate
    return mono


def downmixed(frame: av.AudioFrame, layout: str, names: Sequence[str] = ()) -> av.AudioFrame:
    """A frame that FFmpeg can bring to a layout: itself, or mixed to one channel where FFmpeg knows no way.

    It knows none for ambisonic sound, for many channels without places, and where it does not see the names.

    Args:
        frame: The frame.
        layout: FFmpeg's name of the layout.
        names: What :func:`settle_layout` has found.
    """
    if channel_names(frame, names) != channel_names(frame):
        return mono_frame(frame, names)
    trial = av.AudioFrame(format=frame.format.name, layout=frame.layout.name, samples=1)
    trial.sample_rate = frame.sample_rate
    try:
        av.AudioResampler(format='fltp', layout=layout).resample(trial)
    except av.FFmpegError:
        return mono_frame(frame, names)
    return frame


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
    # Large ones would be rounded before the middle is taken off.
    floats: Any = samples.astype(np.float64 if middle and span.bits > 16 else np.float32)
    if middle:
        floats -= middle
    floats /= (int(span.max) - int(span.min) + 1) / 2
    return floats.astype(np.float32, copy=False)


def _weighted(channels: Sequence[np.ndarray] | np.ndarray, weights: np.ndarray) -> np.ndarray:
    used = [(channel, np.float32(weight)) for channel, weight in zip(channels, weights, strict=True) if weight]
    channel, weight = used[0]
    # A copy: the samples may be the frame's own.
    mono = as_float(channel) * weight
    for channel, weight in used[1:]:
        mono += as_float(channel) * weight
    return mono


def _peak(samples: np.ndarray) -> float:
    return float(np.abs(samples).max(initial=0.0))
