"""Transcodes a media file to an mp4 file for fast training: small frames, many keyframes, mono audio at 16 kHz."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, cast

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange

from mmav.datasets.media import PairReader, StreamReader, open_stream
from mmav.datasets.media.audio import frame_of
from mmav.datasets.media.opening import file_url, media_errors
from mmav.datasets.media.video import AS_STORED, orientation_of, upright
from mmav.errors import MediaError

# Samples per audio frame.
AUDIO_FRAME = 4096
TICKS = Fraction(1, 90000)
PRESETS = ('ultrafast', 'superfast', 'veryfast', 'faster', 'fast', 'medium', 'slow', 'slower', 'veryslow')

# Packets, with the time in seconds up to which there is audio.
AudioPackets = tuple[float, list[Any]]


@dataclass(frozen=True)
class TranscodeOptions:
    """Options for writing files.

    Attributes:
        short_side: Short side of the video in pixels; smaller videos keep their size.
        keyframes: Frames from one keyframe to the next. A reader decodes from the keyframe before a wanted frame: few
            keyframes are slow, many make large files. 12 was fastest of 4, 8, 12, 25 and 250 (docs/data_speed.md).
        max_fps: Maximum frame rate; frames in excess are dropped. None keeps all.
        crf: x264's quality, 0 (lossless) to 51.
        preset: x264's preset, one of ``PRESETS``.
        audio_codec: 'flac', which is lossless in 16 bits, or 'aac' at 64 kbit/s.
        sample_rate: Sample rate of the audio.
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
            raise ValueError(f'preset {self.preset!r} is unknown: choose one of {", ".join(PRESETS)}')
        if self.audio_codec not in ('flac', 'aac'):
            raise ValueError(f"audio_codec {self.audio_codec!r} is neither 'flac' nor 'aac'")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass
class TranscodeResult:
    """What was written.

    Attributes:
        seconds: Length of the source.
        frames: Number of frames.
        samples: Number of audio samples.
        damaged: Number of packets of the source that could not be decoded.
    """

    seconds: float = 0.0
    frames: int = 0
    samples: int = 0
    damaged: int = 0


def transcode(source: str, target: str, options: TranscodeOptions) -> TranscodeResult:
    """Rewrites a file: upright H.264 video and mono audio with the same time zero.

    Frames keep their times, and audio stays in sync. This resolves rotation, edit lists and late starts, and drops
    damaged parts.

    Args:
        source: Any media file, or a pair of files.
        target: An mp4 file; an existing file is overwritten, and a partial file remains if this fails.
        options: Options for writing it.

    Raises:
        MediaError: The source cannot be read, or the target cannot be written.
    """
    result = TranscodeResult()
    with open_stream(source) as videos, open_stream(source) as audios:
        info = videos.info
        with media_errors(source, 'cannot be written anew'), av.open(
            file_url(target), 'w', format='mp4', options={'movflags': '+faststart'}
        ) as container:  # fmt: skip
            frames = _frames(videos, options.max_fps) if info.has_video else iter(())
            first = next(frames, None)
            video = VideoTrack(container, first[1], info.fps, options, result) if first else None
            audio = AudioTrack(container, _mono_packets(container, audios, options, result))
            if video and first:
                for time, frame in chain([first], frames):
                    video.write(time, frame)
                    audio.write_until(time)
                video.finish()
            audio.write_until(math.inf)
        result.seconds = info.duration
        result.damaged = videos.info.damaged + audios.info.damaged
    if not result.frames and not result.samples:
        raise MediaError(source, 'nothing of it can be decoded')
    return result


def _frames(reader: StreamReader | PairReader, max_fps: float | None) -> Iterator[tuple[float, av.VideoFrame]]:
    """All frames of the file, or as many as the rate allows, with their times in seconds."""
    last = -np.inf
    for start, end in reader.pieces():
        for time, frame in reader.iter_frames(start, end):
            if max_fps is None or time - last >= 1 / max_fps - 1e-3:
                last = time
                yield time, frame


class VideoTrack:
    """The video track of an output file: H.264, frames at any times.

    Args:
        container: The file.
        first: A frame with the size and colours of all frames.
        fps: Frames per second; 0 if unknown.
        options: Options for writing it.
        result: Counts the frames.
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
        # No arithmetic coding and no deblocking: decoding takes little more than half the time, files grow by an
        # eighth.
        self._stream.options = {'crf': str(options.crf), 'preset': options.preset, 'tune': 'fastdecode'}

    def write(self, time: float, frame: av.VideoFrame) -> None:
        """Writes a frame with its time in seconds."""
        height, width = self._size
        small = _upright(frame).reformat(
            width, height, format='yuv420p', dst_color_range='MPEG', interpolation='BICUBIC', threads=1
        )
        small.pts, small.time_base, small.pict_type = round(time / TICKS), TICKS, PictureType.NONE
        self._mux(self._stream.encode(small))
        self._result.frames += 1

    def finish(self, end: float | None = None) -> None:
        """Flushes the encoder; the last frame is displayed until ``end`` in seconds, if given."""
        self._mux(self._stream.encode(None), end)

    def _mux(self, packets: list[av.Packet[Any]], end: float | None = None) -> None:
        if packets and self._first_dts is None:
            self._first_dts = packets[0].dts
        if packets and end is not None:
            # The length of a track is that of its packets' decoding times.
            packets[-1].duration = max(1, round(end / TICKS) - cast(int, packets[-1].dts) + cast(int, self._first_dts))
        self._container.mux(packets)


def _target_size(frame: av.VideoFrame, short_side: int) -> tuple[int, int]:
    """Height and width: even numbers of pixels, as 4:2:0 requires; never larger than the source."""
    scale = min(1.0, short_side / min(frame.height, frame.width))
    return max(2, 2 * round(frame.height * scale / 2)), max(2, 2 * round(frame.width * scale / 2))


def _upright(frame: av.VideoFrame) -> av.VideoFrame:
    if orientation_of(frame) == AS_STORED:
        return frame
    # Few files are rotated, so converting through RGB is good enough.
    turned = np.ascontiguousarray(upright(frame.to_ndarray(format='rgb24', threads=1), frame), dtype=np.uint8)
    return av.VideoFrame.from_ndarray(turned, format='rgb24')


class AudioTrack:
    """The audio track of an output file, interleaved with its video, as players and readers expect.

    Args:
        container: The file.
        source: Times in seconds up to which there is audio, with packets.
    """

    def __init__(self, container: av.container.OutputContainer, source: Iterator[AudioPackets]) -> None:
        self._container = container
        # All tracks must be known before the first packet is written.
        self._source = chain([first] if (first := next(source, None)) else [], source)
        self._time = -math.inf

    def write_until(self, time: float) -> None:
        """Writes the audio up to a time in seconds; infinity for the rest."""
        while self._time < time:
            self._time, packets = next(self._source, (math.inf, []))
            # A damaged packet whose header cannot be rewritten is left out; a full disk is another error.
            with suppress(av.error.InvalidDataError, av.error.ArgumentError):
                self._container.mux(packets)


def _mono_packets(
    container: av.container.OutputContainer,
    reader: StreamReader | PairReader,
    options: TranscodeOptions,
    result: TranscodeResult,
) -> Iterator[AudioPackets]:
    rate, codec = options.sample_rate, options.audio_codec
    stream: Any = None
    resampler = av.AudioResampler(format='s16' if codec == 'flac' else 'fltp', layout='mono', rate=rate)
    for wave in _waves(reader, rate) if reader.info.has_audio else ():
        # An empty track would become a silent one, which looks like data.
        if stream is None:
            stream = container.add_stream(codec, rate=rate, layout='mono')
            if codec == 'aac':
                stream.bit_rate = 64000
        for first in range(0, len(wave), AUDIO_FRAME):
            frame = frame_of(wave[first : first + AUDIO_FRAME].clip(-1, 1), rate)
            frame.time_base, frame.pts = Fraction(1, rate), result.samples
            result.samples += frame.samples
            yield result.samples / rate, [p for part in resampler.resample(frame) for p in stream.encode(part)]
    if stream is not None:
        yield math.inf, stream.encode(None)


def _waves(reader: StreamReader | PairReader, sample_rate: int) -> Iterator[np.ndarray]:
    """Consecutive waveforms from time zero to the last sample of the file; none if it has no audio."""
    silence = 0
    for start, end in reader.pieces():
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
