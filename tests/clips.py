"""Makes small clips whose pictures and sound are known: grey levels that rise, flashes with clicks."""

from __future__ import annotations

import os
import struct
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mmav.datasets.media import MediaReader

FLASH_SECONDS = 0.12
# These encoders take no other ticks than the frames'.
FIXED_RATE = ('mpeg4', 'mpeg2video', 'mpeg1video', 'flv', 'libsvtav1')
# Frames are numbered with so many black or white fields.
BITS = 8
CLOCK_TICKS = 90000


def make_clip(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: int = 12,
    size: tuple[int, int] = (48, 64),
    events: tuple[float, ...] = (),
    sample_rate: int = 16000,
    channels: int = 1,
    video: str | None = 'libx264',
    audio: str | None = 'aac',
    audio_start: float = 0.0,
    audio_seconds: float | None = None,
    keyframes: int = 250,
    b_frames: int = 3,
    times: np.ndarray | None = None,
    video_start: float = 0.0,
    clock: float = 0.0,
    numbered: bool = False,
    pixels: str = 'yuv420p',
    encoder: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    bit_rate: int | None = None,
) -> Path:
    """Writes a clip.

    Args:
        path: File; its suffix chooses the container.
        seconds: Length of the picture, and of the sound unless ``audio_seconds`` says otherwise.
        fps: Frames per second.
        size: Height and width.
        events: Seconds at which a flash and a click begin.
        sample_rate: Of the sound.
        channels: Of the sound: 1, 2 or 6.
        video: Encoder of the picture; None for none.
        audio: Encoder of the sound; None for none.
        audio_start: Seconds of picture before the sound starts; what would sound earlier is not in the file.
        audio_seconds: Time at which the sound ends.
        keyframes: A keyframe every so many frames.
        b_frames: Frames between two that others refer to.
        times: Presentation times of the frames instead of an even rate.
        video_start: Seconds of sound before the picture starts; what would be seen earlier is not in the file.
        clock: Seconds added to every time stamp of the file.
        numbered: Each frame shows its number, see :func:`frame_numbers`, and flashes in its upper half only.
        pixels: Pixel format.
        encoder: Options of the picture's encoder, over those that follow from the other arguments.
        muxer: Options of the container.
        bit_rate: Of the sound, for encoders that have none of their own.
    """
    with ordinary_priority(), av.open(str(path), 'w', options=muxer or {}) as container:
        picture = sound = None
        if video:
            picture = container.add_stream(video, rate=fps)
            picture.height, picture.width = size
            picture.pix_fmt = pixels
            picture.gop_size = keyframes
            even = video in FIXED_RATE or path.suffix == '.avi' or (numbered and times is None)
            picture.codec_context.time_base = Fraction(1, fps if even else 600)
            picture.options = {**_encoder_options(video, b_frames), **(encoder or {})}
        if audio:
            layout = {1: 'mono', 2: 'stereo', 6: '5.1'}[channels]
            sound = container.add_stream(audio, rate=sample_rate, layout=layout)
            sound.options = {'strict': 'experimental'}  # FFmpeg's own Vorbis
            if bit_rate:
                sound.bit_rate = bit_rate
        # One after the other would leave all sound behind the picture, as no real file has it.
        pictures = iter(())
        if picture:
            times = np.arange(round(seconds * fps)) / fps if times is None else times
            draw = _numbered if numbered else _grey
            pictures = _pictures(picture, times, events, video_start, lambda k, lit: draw(k, lit, size))
        sounds = _sounds(sound, audio_seconds or seconds, sample_rate, channels, events, audio_start) if sound else None
        heard = -1.0
        for time, packets in pictures:
            _mux(container, packets, clock)
            while sounds is not None and heard < time:
                heard, packets = next(sounds, (float('inf'), []))
                _mux(container, packets, clock)
        for _, packets in sounds or ():
            _mux(container, packets, clock)
    return path


@contextmanager
def ordinary_priority():
    """Gives this thread its scheduling policy back.

    SVT-AV1 makes the thread that opens it, if that is root's, the machine's most urgent (SCHED_FIFO, 99), and what it
    starts inherits that: whatever else computes, such as a browser under test, then waits for ever.
    """
    if not hasattr(os, 'sched_getscheduler'):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _encoder_options(video, b_frames):
    if video == 'libx264':
        return {'bf': str(b_frames), 'x264-params': 'scenecut=0:open-gop=0', 'crf': '10'}
    return {'bf': str(b_frames)} if video in FIXED_RATE else {}


def _mux(container, packets, clock):
    for packet in packets:
        if clock:
            # In ticks fine enough for both tracks, so that both move as far.
            ticks = packet.time_base * CLOCK_TICKS
            packet.pts, packet.dts = (
                round(stamp * ticks) + round(clock * CLOCK_TICKS) for stamp in (packet.pts, packet.dts)
            )
            packet.time_base = Fraction(1, CLOCK_TICKS)
        container.mux(packet)


def _grey(k, flash, size):
    slope = np.linspace(0, 40, size[1])[None, :, None] + np.zeros((*size, 3))
    return np.full((*size, 3), 235) if flash else slope + 20 + 8 * (k % 12)


def _numbered(k, flash, size):
    image = np.full((*size, 3), 235 if flash else 60)
    width = size[1] // BITS
    for bit in range(BITS):
        image[size[0] // 2 :, bit * width : (bit + 1) * width] = 235 if k >> bit & 1 else 20
    return image


def _pictures(stream, times, events, begin, draw):
    for k, time in enumerate(times):
        if time < begin - 1e-9:
            continue
        flash = any(start <= time + 1e-9 < start + FLASH_SECONDS for start in events)
        frame = av.VideoFrame.from_ndarray(draw(k, flash).astype(np.uint8), format='rgb24')
        frame.pts, frame.time_base = round(time * 600), Fraction(1, 600)
        yield time, stream.encode(frame)
    yield times[-1], stream.encode(None)


def _sounds(stream, seconds, sample_rate, channels, events, begin):
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    wave = 0.002 * np.random.default_rng(0).standard_normal(len(time))
    for start in events:
        burst = (time >= start) & (time < start + 0.03)
        wave[burst] += 0.8 * np.cos(2 * np.pi * 1500 * (time[burst] - start))
    first = round(begin * sample_rate)
    encoder_format = stream.codec_context.format.name
    resampler = av.AudioResampler(format=encoder_format, layout=stream.layout.name, rate=sample_rate)
    for k in range(first, len(wave), 1024):
        piece = np.repeat(wave[None, k : k + 1024].astype(np.float32), channels, axis=0)
        frame = av.AudioFrame.from_ndarray(piece, format='fltp', layout=stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, k, Fraction(1, sample_rate)
        yield k / sample_rate, [packet for part in resampler.resample(frame) for packet in stream.encode(part)]
    yield seconds, stream.encode(None)


def cut_without_encoding(source: Path, path: Path, start: float) -> Path:
    """Cuts the beginning off as ``ffmpeg -ss START -i SOURCE -c copy`` does.

    The picture is copied from the keyframe before the cut. In mp4 an edit list tells players to show it from the cut
    on; other containers have no such list and show it from the keyframe on, before the sound starts.
    """
    options = {'avoid_negative_ts': 'disabled'} if path.suffix in ('.mp4', '.mov') else {}
    with av.open(str(source)) as read, av.open(str(path), 'w', options=options) as write:
        copies = {stream.index: write.add_stream_from_template(stream) for stream in read.streams}
        # Not every container is searched by keyframes.
        read.seek(round(max(start - 2.0, 0.0) * av.time_base))
        packets = [packet for packet in read.demux() if packet.dts is not None]
        keys = [p.pts for p in packets if p.stream.type == 'video' and p.is_keyframe and p.pts * p.time_base <= start]
        begun = False
        for packet in packets:
            base, copy = packet.time_base, copies[packet.stream_index]
            if packet.stream.type == 'audio':
                kept = packet.pts * base >= start
            else:
                kept = begun = begun or packet.pts == keys[-1]
            if kept:
                shift = round(start / base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                write.mux(packet)
    return path


def rotate_by_metadata(path: Path, quarters: int = 1) -> Path:
    """Marks the picture of an mp4 file as one that players turn clockwise by so many quarters."""
    a, b = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters]
    return set_matrix(path, (a, b, -b, a))


def set_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Has the point (x, y) of an mp4 file's picture shown at (ax + cy, bx + dy), y downwards, by (a, b, c, d)."""
    data = bytearray(path.read_bytes())
    place = data.index(b'tkhd')
    while struct.unpack('>H', data[place + 36 + 2 : place + 36 + 4])[0]:  # volume is 0 in the picture's track
        place = data.index(b'tkhd', place + 4)
    a, b, c, d = (value << 16 for value in matrix)
    place += 4 + 40
    data[place : place + 36] = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def frame_numbers(frames: np.ndarray) -> np.ndarray:
    """Reads the numbers (T,) off numbered frames (T, H, W, 3)."""
    height, width = frames.shape[1], frames.shape[2] // BITS
    # The middle of each field: codecs smear its edges.
    fields = frames[:, 5 * height // 8 : 7 * height // 8, : BITS * width].mean(axis=(1, 3))
    middle = fields.reshape(len(frames), BITS, width)[:, :, width // 4 : width - width // 4].mean(axis=2)
    return (middle > 128) @ (1 << np.arange(BITS))


def flashing(frames: np.ndarray) -> np.ndarray:
    """Whether each (T,) of numbered frames (T, H, W, 3) flashes."""
    return frames[:, : 3 * frames.shape[1] // 8].mean(axis=(1, 2, 3)) > 150


def onset(wave: np.ndarray, sample_rate: int) -> float:
    """Seconds at which a click begins."""
    return int(np.argmax(np.abs(wave) > 0.3 * np.abs(wave).max())) / sample_rate


def displayed(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All frames (T, H, W, 3) that a player shows and their times (T,) from the first one, read from first to last."""
    with av.open(str(path)) as container:
        picture = container.streams.best('video')
        frames = [(frame.time, frame.to_ndarray(format='rgb24')) for frame in container.decode(picture)]
    times = np.array([time for time, _ in frames])
    return np.stack([image for _, image in frames]), times - times[0]


def flash_times(reader: MediaReader, end: float) -> np.ndarray:
    """Times of the frames with which a flash begins."""
    frames, times = reader.read_frames(np.arange(0, end, 1 / 60))
    bright = frames.mean(axis=(1, 2, 3)) > 200
    return times[1:][bright[1:] & ~bright[:-1]]
