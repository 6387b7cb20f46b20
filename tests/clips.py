"""Makes small clips whose pictures and sound are known: grey levels that rise, flashes with clicks."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mmav.datasets.media import MediaReader

FLASH_SECONDS = 0.12


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
    """
    with av.open(str(path), 'w') as container:
        picture = sound = None
        if video:
            picture = container.add_stream(video, rate=fps)
            picture.height, picture.width = size
            picture.pix_fmt = 'yuv420p'
            picture.gop_size = keyframes
            picture.codec_context.time_base = Fraction(1, 600)
            if video == 'mpeg4':
                picture.options = {'bf': str(b_frames)}
                picture.codec_context.time_base = Fraction(1, fps)
            if video == 'libx264':
                picture.options = {'bf': str(b_frames), 'x264-params': 'scenecut=0:open-gop=0', 'crf': '10'}
        if audio:
            layout = {1: 'mono', 2: 'stereo', 6: '5.1'}[channels]
            sound = container.add_stream(audio, rate=sample_rate, layout=layout)
        # One after the other would leave all sound behind the picture, as no real file has it.
        pictures = _pictures(picture, seconds, fps, size, events, times) if picture else iter(())
        sounds = _sounds(sound, audio_seconds or seconds, sample_rate, channels, events, audio_start) if sound else None
        heard = -1.0
        for time, packets in pictures:
            container.mux(packets)
            while sounds is not None and heard < time:
                heard, packets = next(sounds, (float('inf'), []))
                container.mux(packets)
        for _, packets in sounds or ():
            container.mux(packets)
    return path


def _pictures(stream, seconds, fps, size, events, times):
    times = np.arange(round(seconds * fps)) / fps if times is None else times
    slope = np.linspace(0, 40, size[1])[None, :, None] + np.zeros((*size, 3))
    for k, time in enumerate(times):
        flash = any(start <= time + 1e-9 < start + FLASH_SECONDS for start in events)
        image = np.full((*size, 3), 235) if flash else slope + 20 + 8 * (k % 12)
        frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), format='rgb24')
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

    The picture is copied from the keyframe before the cut, and an edit list tells players to show it from the cut on.
    """
    with av.open(str(source)) as read, av.open(str(path), 'w', options={'avoid_negative_ts': 'disabled'}) as write:
        copies = {stream.index: write.add_stream_from_template(stream) for stream in read.streams}
        read.seek(round(start * av.time_base))
        for packet in read.demux():
            if packet.dts is None:
                continue
            base, copy = packet.time_base, copies[packet.stream_index]
            if packet.stream.type == 'audio' and packet.pts * base < start:
                continue
            shift = round(start / base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
            write.mux(packet)
    return path


def rotate_by_metadata(path: Path) -> Path:
    """Marks the picture of an mp4 file as filmed with the camera on its side: players turn it clockwise."""
    data = bytearray(path.read_bytes())
    place = data.index(b'tkhd')
    while struct.unpack('>H', data[place + 36 + 2 : place + 36 + 4])[0]:  # volume is 0 in the picture's track
        place = data.index(b'tkhd', place + 4)
    matrix = place + 4 + 40
    data[matrix : matrix + 36] = struct.pack('>9i', 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def onset(wave: np.ndarray, sample_rate: int) -> float:
    """Seconds at which a click begins."""
    return int(np.argmax(np.abs(wave) > 0.3 * np.abs(wave).max())) / sample_rate


def displayed(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All frames (T, H, W, 3) that a player shows and their times (T,) from the first one, read from first to last."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format='rgb24')) for frame in container.decode(video=0)]
    times = np.array([time for time, _ in frames])
    return np.stack([image for _, image in frames]), times - times[0]


def flash_times(reader: MediaReader, end: float) -> np.ndarray:
    """Times of the frames with which a flash begins."""
    frames, times = reader.read_frames(np.arange(0, end, 1 / 60))
    bright = frames.mean(axis=(1, 2, 3)) > 200
    return times[1:][bright[1:] & ~bright[:-1]]
