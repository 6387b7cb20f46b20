"""From the packets of an audio track to the mono waveform of an exact span."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import av
import numpy as np

from mmav.datasets.media.clocks import PARTS_OF_FRAMES
from mmav.datasets.media.opening import Watch
from mmav.errors import MediaError

# Weight of each channel position in FFmpeg's downmix (libswresample, rematrix.c). Positions not listed are left out:
# the bass channel and some of the upper ones.
PLACES = {
    'FC': 1.0,
    **dict.fromkeys(('FL', 'FR', 'FLC', 'FRC', 'TFL', 'TFR', 'DL', 'DR'), math.sqrt(0.5)),
    **dict.fromkeys(('BL', 'BR', 'BC', 'SL', 'SR'), 0.5),
    # The first channel of ambisonic audio is an omnidirectional microphone.
    'AMBI0': 1.0,
}
# The positions that FFmpeg assumes for channels without a layout; more channels are averaged.
GUESSED = {3: '2.1', 4: '4.0', 5: '5.0', 6: '5.1', 7: '6.1', 8: '7.1'}
# A mix that never exceeds -60 dBFS is silent.
SILENT = 1e-3
# PyAV counts planes up to the first null pointer, which FFmpeg sets after at most seven.
MOST_PLANES = 7
# FFmpeg's other types have no equivalent in NumPy.
ARRAY_FORMATS = ('u8', 's16', 's32', 'flt', 'dbl')
# Decoders need some packets before the first good sample (AAC one, MP3 up to nine, Opus 80 ms).
PREROLL = 0.25
# A lost AAC frame is 21 ms long; rounding of time stamps in AVI and WebM stays below 1 ms.
GAP = 0.01
# PCM samples in a program stream may be up to one encoder frame older than their time stamp.
LOOSE_GAP = 0.03
# A gap persists; time stamps taken when packets arrived (recordings of calls, of phones) recover within this many
# seconds.
LASTING = 0.2
# Louder samples, 180 dB above full scale, are damage, like NaN: their power would overflow.
LOUDEST = 1e9
# Resampled at once. With 10 s at once it takes five times as long, as memory for it is mapped anew each time.
MOST_SAMPLES = 1 << 16

# A frame with the time of its first sample in seconds.
Timed = tuple[float, av.AudioFrame]


def settle_layout(codec: Any) -> tuple[str, ...]:
    """Makes an audio track safe to decode; call it once before decoding.

    A layout with a custom order of channels (as in 7.1 in mov and caf) is an array that PyAV shares with FFmpeg and
    frees with every frame: the process crashes. This gives the decoder a layout without such an array.

    Args:
        codec: PyAV's codec context of the track.

    Returns:
        Names of the channels, such as FL; NONE if the file does not say.
    """
    layout = codec.layout
    names = tuple(channel.name for channel in layout.channels)
    # Only a layout from a header can be such an array, not that of a decoder that was opened to find the layout.
    if names and not codec.is_open:
        name = layout.name
        # This releases the array without freeing it: `layout` owns it now.
        codec.layout = f'{len(names)} channels' if ' channels (' in name else name
    return names


def channel_names(frame: av.AudioFrame, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of a frame's channels.

    Args:
        frame: The frame.
        names: Returned by :func:`settle_layout`, for a frame that does not say.
    """
    own = tuple(channel.name for channel in frame.layout.channels)
    return tuple(names) if len(names) == len(own) and set(own) == {'NONE'} else own


def mono_weights(names: Sequence[str]) -> np.ndarray:
    """The weight of each channel in the mix.

    One or two channels are averaged. More are weighted by their positions, as in FFmpeg's downmix to integers
    (``ffmpeg -ac 1 -c:a pcm_s16le``), and divided by the sum of the weights if it exceeds 1, so that nothing clips. If
    no channel has a position with a weight, all are averaged.

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
    """Mixes channels to mono.

    If the mix is silent but a channel without weight is not, all channels are averaged, so that audio in the bass
    channel alone is kept.

    Args:
        channels: Samples (S,) of each, of any of FFmpeg's types.
        names: Their names.

    Returns:
        Samples (S,) float32; they exceed 1 only where the channels do.
    """
    weights = mono_weights(names)
    mono = _weighted(channels, weights)
    left_out = [channel for channel, weight in zip(channels, weights, strict=True) if not weight]
    if left_out and _peak(mono) <= SILENT and any(_peak(as_float(channel)) > SILENT for channel in left_out):
        mono = _weighted(channels, np.full(len(channels), 1 / len(channels)))
    return mono


def mono_samples(frames: Sequence[av.AudioFrame], names: Sequence[str] = ()) -> np.ndarray:
    """The samples of frames with the same format, mixed to mono.

    Args:
        frames: The frames.
        names: Returned by :func:`settle_layout`.

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
    # One long row instead of the codec's many short ones: a call for each would take longer than the resampling.
    raw = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    return mix(raw if form.is_planar else raw.reshape(-1, count).T, names)


def as_float(samples: np.ndarray) -> np.ndarray:
    """Converts samples of any of FFmpeg's types to float32, with integers scaled to [-1, 1).

    >>> as_float(np.array([-32768, 16384], dtype=np.int16))
    array([-1. ,  0.5], dtype=float32)
    """
    if samples.dtype.kind == 'f':
        return samples.astype(np.float32, copy=False)
    span = np.iinfo(samples.dtype)
    # Unsigned samples are centred at the middle of their range.
    middle = (int(span.max) + int(span.min) + 1) / 2
    # Large ones would be rounded before the middle is subtracted.
    floats: Any = samples.astype(np.float64 if middle and span.bits > 16 else np.float32)
    if middle:
        floats -= middle
    floats /= (int(span.max) - int(span.min) + 1) / 2
    return floats.astype(np.float32, copy=False)


def frame_of(mono: np.ndarray, sample_rate: int) -> av.AudioFrame:
    """A frame with mono samples (S,) float32."""
    frame = av.AudioFrame.from_ndarray(mono[None], format='fltp', layout='mono')
    frame.sample_rate = sample_rate
    return frame


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


def decode_span(
    codec: Any,
    packets: Sequence[av.Packet[Any]],
    start: float,
    end: float,
    *,
    clock: tuple[float, float],
    form: str,
    watch: Watch,
    on_damage: Callable[[], None],
) -> list[Timed]:
    """Decodes the frames of a span and a little around it.

    Args:
        codec: PyAV's codec context of the track, which has decoded nothing yet.
        packets: The track's packets, in file order.
        start: Start of the span in seconds.
        end: End of the span in seconds.
        clock: Seconds per tick of the track's time stamps, and the seconds on that clock that are time zero.
        form: FFmpeg's name of the container.
        watch: Keeps reading within limits.
        on_damage: Called for each packet that cannot be decoded.

    Returns:
        Frames with the times of their first samples in seconds.

    Raises:
        MediaError: Nothing can be decoded.
    """
    base, origin = clock
    tried, failed, expected = 0, 0, 0.0
    frames: list[Timed] = []
    times = [None if packet.pts is None else packet.pts * base - origin for packet in packets]
    # An earlier packet may reach into the span: a packet of WavPack or TTA lasts a second.
    early = [k for k, time in enumerate(times) if time is not None and time < start - PREROLL]
    for k, (packet, begin) in enumerate(zip(packets, times, strict=True)):
        if begin is not None and not start - PREROLL <= begin <= end + PREROLL and k not in early[-1:]:
            continue
        tried += 1
        watch.check()
        try:
            decoded: list[Any] = codec.decode(packet)
        except av.FFmpegError:
            failed += 1
            on_damage()
            continue
        for frame in decoded:
            time = expected if frame.pts is None else frame.pts * base - origin
            frames.append((time, frame))
            expected = time + seconds_of(frame)
    if failed and failed == tried:
        raise MediaError(watch.path, 'nothing of its audio track can be decoded')
    loose = form in PARTS_OF_FRAMES and is_plain(codec)
    return steady(frames, gap=LOOSE_GAP if loose else GAP)


def is_plain(codec: Any) -> bool:
    """Whether a codec is uncompressed PCM."""
    return codec.name.startswith('pcm_')


def seconds_of(frame: av.AudioFrame) -> float:
    """Duration of a frame in seconds."""
    return frame.samples / frame.sample_rate


def steady(frames: Sequence[Timed], *, gap: float = GAP) -> list[Timed]:
    """Times frames by counting the samples before them, as a player does once it plays.

    Only if time stamps persistently deviate from that is there a gap or an overlap.

    Args:
        frames: Frames with the times of their time stamps, in file order.
        gap: Seconds by which time stamps must deviate.

    Returns:
        The same frames with their times in seconds.
    """
    lengths = np.array([seconds_of(frame) for _, frame in frames])
    places = np.cumsum(lengths) - lengths
    apart = np.array([time for time, _ in frames]) - places
    begins, ends = (np.searchsorted(places, places + seconds) for seconds in (-LASTING, LASTING))
    offset, since = 0.0, -1
    dated: list[Timed] = []
    for k, (_, frame) in enumerate(frames):
        window = apart[k : max(ends[k], k + 1)] - offset
        # Time stamps that have jittered so far will continue to; a single frame may be damaged.
        wavered = np.sort(np.abs(apart[max(begins[k], since, 0) : k] - offset))[-2:-1].max(initial=0.0)
        if since < 0 or (window > gap + wavered).all() or (window < -gap - wavered).all():
            offset, since = _settled(window + offset), k
        dated.append((float(places[k] + offset), frame))
    return dated


def _settled(apart: np.ndarray) -> float:
    """The offset from the first of some frames on: its own, unless it jitters; losses only add up."""
    steps = np.diff(apart)
    wavers = (steps > GAP).any() and (steps < -GAP).any()
    return float(np.median(apart) if wavers else apart[0])


def place_frames(
    frames: Sequence[Timed],
    start: float,
    end: float,
    sample_rate: int,
    *,
    names: Sequence[str] = (),
    on_damage: Callable[[], None] = lambda: None,
) -> np.ndarray | None:
    """Mixes frames to mono, resamples them and places them at their time stamps.

    Consecutive frames are resampled together; a gap between time stamps (lost packets, edits) remains a gap.

    Args:
        frames: Times and frames, in order of time.
        start: Start of the span in seconds.
        end: End of the span in seconds.
        sample_rate: Samples per second of the result.
        names: Returned by :func:`settle_layout`.
        on_damage: Called for each run of frames with non-finite samples, which become silence.

    Returns:
        Samples (S,) float32, S = round((end - start) * sample_rate), with zeros where there is no frame; None if no
        frame reaches into the span.

    Raises:
        ValueError: No sample is finite.
    """
    wave = np.zeros(round((end - start) * sample_rate), dtype=np.float32)
    found = damaged = False
    for time, run in _runs(frames):
        # Mixed before resampling, as FFmpeg takes five times as long for two channels.
        mono = mono_samples(run, names)
        # Comparisons with NaN are never true.
        if not _peak(mono) < LOUDEST:
            damaged = True
            on_damage()
            finite = np.abs(mono) < LOUDEST
            if not finite.any():
                continue
            mono = np.where(finite, mono, np.float32(0.0))
        samples = _resample(mono, run[0].sample_rate, sample_rate)
        offset = round((time - start) * sample_rate)
        first, last = max(offset, 0), min(offset + len(samples), len(wave))
        if first < last:
            wave[first:last] = samples[first - offset : last - offset]
            found = True
    if damaged and not found:
        raise ValueError('none of its samples is a finite number')
    return wave if found else None


def mark_runs(frames: Iterable[Timed]) -> Iterator[tuple[bool, float, av.AudioFrame]]:
    """Yields each frame with whether it begins a run, that is after a gap or with another format."""
    expected, form = -math.inf, None
    for time, frame in frames:
        frame_form = (frame.sample_rate, frame.layout.name, frame.format.name)
        begins = form != frame_form or abs(time - expected) > GAP
        if begins:
            expected, form = time, frame_form
        # Counted from the run's start, so that rounded time stamps do not add up.
        expected += seconds_of(frame)
        yield begins, time, frame


def _runs(frames: Sequence[Timed]) -> list[tuple[float, list[av.AudioFrame]]]:
    """Groups frames under the time of the first sample of their run."""
    runs: list[tuple[float, list[av.AudioFrame]]] = []
    for begins, time, frame in mark_runs(frames):
        if begins:
            runs.append((time, []))
        runs[-1][1].append(frame)
    return runs


def _resample(mono: np.ndarray, own_rate: int, sample_rate: int) -> np.ndarray:
    if own_rate == sample_rate:
        return mono
    resampler = av.AudioResampler(format='fltp', layout='mono', rate=sample_rate)
    wholes: list[av.AudioFrame | None] = []
    for first in range(0, len(mono), MOST_SAMPLES):
        wholes.append(frame_of(mono[first : first + MOST_SAMPLES], own_rate))
    pieces = [piece.to_ndarray()[0] for whole in (*wholes, None) for piece in resampler.resample(whole)]
    return np.concatenate([np.zeros(0, np.float32), *pieces])
