"""One media file into an mp4 file that trains fast: small frames, many keyframes, mono sound at 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, cast

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange

from mmav.errors import MediaError

from .opening import file_url, media_errors
from .orientation import AS_STORED, orientation_of, upright
from .pyav_reader import PyAVReader

# Read at once; so much of the file is held, compressed.
PIECE = 30.0
# Samples of sound in one frame.
SOUND_FRAME = 4096
TICKS = Fraction(1, 90000)
PRESETS = ('ultrafast', 'superfast', 'veryfast', 'faster', 'fast', 'medium', 'slow', 'slower', 'veryslow')


@dataclass(frozen=True)
class TranscodeOptions:
    """How files are written.

    Attributes:
        short_side: Short side of the picture in pixels; smaller pictures keep their size.
        keyframes: A keyframe every so many frames. A reader decodes from the keyframe before a wanted frame on: few
            make long ways, many make large files. 12 read fastest of 4, 8, 12, 25 and 250 (docs/data_speed.md).
        max_fps: Frames in excess of this rate are left out; None keeps all.
        crf: x264's quality, 0 (lossless) to 51.
        preset: x264's speed of encoding, one of ``PRESETS``.
        audio_codec: 'flac', which keeps the sound exactly in 16 bits, or 'aac', of 64 kbit/s.
        sample_rate: Samples a second of the sound.
    """

    short_side: int = 256
    keyframes: int = 12
    max_fps: float | None = None
    crf: int = 20
    preset: str = 'medium'
    audio_codec: str = 'flac'
    sample_rate: int = 16000

    def __post_init__(self) -> None:
        for name in ('short_side', 'keyframes', 'sample_rate', 'max_fps'):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f'{name} must be above 0, got {value}')
        if not 0 <= self.crf <= 51:
            raise ValueError(f'crf must lie in [0, 51], got {self.crf}')
        if self.preset not in PRESETS:
            raise ValueError(f'preset {self.preset!r} is none of {", ".join(PRESETS)}')
        if self.audio_codec not in ('flac', 'aac'):
            raise ValueError(f"audio_codec {self.audio_codec!r} is neither 'flac' nor 'aac'")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass
class TranscodeResult:
    """What was written.

    Attributes:
        seconds: Length of the picture, or of the sound where there is none.
        frames: Frames.
        samples: Samples of sound.
        damaged: Packets of the source that could not be decoded.
    """

    seconds: float = 0.0
    frames: int = 0
    samples: int = 0
    damaged: int = 0


def transcode(source: str, target: str, options: TranscodeOptions) -> TranscodeResult:
    """Writes a file anew: H.264, upright, and sound of one channel, both from the same time zero.

    Frames keep their times, sound its place beside them. Rotation, edit lists and late starts are thereby resolved;
    what is damaged is left out.

    Args:
        source: Any media file.
        target: An mp4 file; what stands there is overwritten, and what is written so far stays if this fails.
        options: How it is written.

    Raises:
        MediaError: The source cannot be read, or the target not be written.
    """
    with PyAVReader(source) as reader:
        sound = reader.info.has_audio
        result = _write(source, target, options, sound=sound)
        if sound and not result.samples:
            # A track that holds nothing would become one of silence, which looks like data.
            result = _write(source, target, options, sound=False)
    if not result.frames and not result.samples:
        raise MediaError(source, 'nothing of it can be decoded')
    return result


def _write(source: str, target: str, options: TranscodeOptions, *, sound: bool) -> TranscodeResult:
    result = TranscodeResult()
    with PyAVReader(source) as pictures, PyAVReader(source) as sounds:
        info = pictures.info
        with media_errors(source, 'cannot be written anew'), av.open(
            file_url(target), 'w', format='mp4', options={'movflags': '+faststart'}
        ) as container:  # fmt: skip
            frames = _frames(pictures, options.max_fps) if info.has_video else iter(())
            first = next(frames, None)
            video = VideoTrack(container, first[1], info.fps, options, result) if first else None
            audio = _AudioTrack(container, sounds, options, result) if sound else None
            # In turns, as players and readers expect it.
            if video and first:
                for time, frame in chain([first], frames):
                    video.write(time, frame)
                    if audio:
                        audio.write_until(time)
                video.finish()
            if audio:
                audio.write_until(None)
        result.seconds = info.duration
        result.damaged = pictures.info.damaged + sounds.info.damaged
    return result


def pieces(reader: PyAVReader, start: float = 0.0, end: float = np.inf) -> Iterator[tuple[float, float]]:
    """Spans of the file, one after the other, each made ready for reading."""
    position = start
    while position < min(end, reader.info.duration):
        _, stop = reader.fetch(position, min(position + PIECE, end, reader.info.duration))
        if stop <= position:
            return
        yield position, stop
        position = stop


def _frames(reader: PyAVReader, max_fps: float | None) -> Iterator[tuple[float, av.VideoFrame]]:
    """All frames of the file, or as many as the rate allows, each with its time in seconds."""
    last = -np.inf
    for start, end in pieces(reader):
        for time, frame in reader.iter_frames(start, end):
            if max_fps is None or time - last >= 1 / max_fps - 1e-3:
                last = time
                yield time, frame


class VideoTrack:
    """The picture of a file that is written: H.264, frames at any times.

    Args:
        container: The file.
        first: A frame that tells size and colours of all.
        fps: Frames per second; 0 where that is unknown.
        options: How it is written.
        result: Where frames are counted.
    """

    def __init__(
        self,
        container: av.container.OutputContainer,
        first: av.VideoFrame,
        fps: float,
        options: TranscodeOptions,
        result: TranscodeResult,
    ) -> None:
        self._container, self._result = container, result
        self._first_dts: int | None = None
        rate = min(fps or 25.0, options.max_fps or 1000.0)
        self._stream = cast(Any, container.add_stream('libx264', rate=Fraction(rate).limit_denominator(1001)))
        self._stream.height, self._stream.width = self._size = _target_size(_upright(first), options.short_side)
        self._stream.pix_fmt = 'yuv420p'
        self._stream.gop_size = options.keyframes
        codec = self._stream.codec_context
        codec.time_base, codec.thread_count, codec.color_range = TICKS, 1, ColorRange.MPEG
        if orientation_of(first) == AS_STORED:
            codec.color_primaries, codec.color_trc = first.color_primaries, first.color_trc
            codec.colorspace = first.colorspace
        # Without arithmetic coding and deblocking: decodes in little more than half the time, files grow by an eighth.
        self._stream.options = {'crf': str(options.crf), 'preset': options.preset, 'tune': 'fastdecode'}

    def write(self, time: float, frame: av.VideoFrame) -> None:
        """Writes a frame to be shown at a time in seconds."""
        height, width = self._size
        small = _upright(frame).reformat(
            width, height, format='yuv420p', dst_color_range='MPEG', interpolation='BICUBIC', threads=1
        )
        small.pts, small.time_base, small.pict_type = round(time / TICKS), TICKS, PictureType.NONE
        self._mux(self._stream.encode(small))
        self._result.frames += 1

    def finish(self, end: float | None = None) -> None:
        """Writes what the encoder has held back; the last frame is shown until a time in seconds, where it is given."""
        self._mux(self._stream.encode(None), end)

    def _mux(self, packets: list[av.Packet[Any]], end: float | None = None) -> None:
        if packets and self._first_dts is None:
            self._first_dts = packets[0].dts
        if packets and end is not None:
            # A track lasts as long as its packets take to decode.
            packets[-1].duration = max(1, round(end / TICKS) - cast(int, packets[-1].dts) + cast(int, self._first_dts))
        self._container.mux(packets)


def _target_size(frame: av.VideoFrame, short_side: int) -> tuple[int, int]:
    """Height and width: even numbers of pixels, as 4:2:0 needs them; never larger than the source."""
    scale = min(1.0, short_side / min(frame.height, frame.width))
    return max(2, 2 * round(frame.height * scale / 2)), max(2, 2 * round(frame.width * scale / 2))


def _upright(frame: av.VideoFrame) -> av.VideoFrame:
    if orientation_of(frame) == AS_STORED:
        return frame
    # Few files are turned; the way over RGB is simple.
    turned = np.ascontiguousarray(upright(frame.to_ndarray(format='rgb24'), frame), dtype=np.uint8)
    return av.VideoFrame.from_ndarray(turned, format='rgb24')


class _AudioTrack:
    def __init__(
        self,
        container: av.container.OutputContainer,
        reader: PyAVReader,
        options: TranscodeOptions,
        result: TranscodeResult,
    ) -> None:
        self._container, self._result, self._rate = container, result, options.sample_rate
        self._stream = cast(Any, container.add_stream(options.audio_codec, rate=options.sample_rate, layout='mono'))
        if options.audio_codec == 'aac':
            self._stream.bit_rate = 64000
        self._resampler = av.AudioResampler(
            format='s16' if options.audio_codec == 'flac' else 'fltp', layout='mono', rate=options.sample_rate
        )
        self._waves = _waves(reader, options.sample_rate)
        self._rest = np.zeros(0, np.float32)
        self._ended = False

    def write_until(self, time: float | None) -> None:
        """Writes the sound up to a time in seconds, or all that is left."""
        while not self._ended and (time is None or self._result.samples < time * self._rate):
            if not len(self._rest):
                rest = next(self._waves, None)
                if rest is None:
                    self._ended = True
                    if self._result.samples:
                        self._container.mux(self._stream.encode(None))
                    return
                self._rest = rest
            piece, self._rest = self._rest[:SOUND_FRAME], self._rest[SOUND_FRAME:]
            frame = av.AudioFrame.from_ndarray(piece[None].clip(-1, 1), format='fltp', layout='mono')
            frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
            frame.pts = self._result.samples
            for converted in self._resampler.resample(frame):
                self._container.mux(self._stream.encode(converted))
            self._result.samples += len(piece)


def _waves(reader: PyAVReader, sample_rate: int) -> Iterator[np.ndarray]:
    """Waveforms that follow each other from time zero to the last sample that the file has; none where it has none."""
    silence = 0
    for start, end in pieces(reader):
        wave = reader.read_audio(start, end, sample_rate)
        first, last = round(start * sample_rate), round(end * sample_rate)
        if wave is None or reader.heard is None:
            silence += last - first
            continue
        if silence:
            yield np.zeros(silence, np.float32)
        used = min(len(wave), round(reader.heard[1] * sample_rate) - first)
        yield wave[:used]
        silence = last - first - used
