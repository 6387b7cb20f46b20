"""Measures what a clip really holds, by decoding it from start to end instead of reading its header."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import av
import numpy as np

from mmav.datasets.media import Limits, PairReader, StreamReader, open_stream
from mmav.errors import MediaError, MissingMediaError

# Why a clip has no measures.
Failure = Literal['missing', 'unreadable', 'timed_out']
SAMPLE_RATE = 16000
# Seconds between compared frames, and the side of the square in pixels to which they are shrunk.
LOOK_EVERY = 0.2
THUMBNAIL = 32
SILENCE_DB = -200.0
# Seconds of audio below which a clip has none: one frame of analysis, see LoadClip.
LEAST_AUDIO = 0.025


@dataclass
class Probe:
    """Measures of a clip.

    Attributes:
        error: Why it cannot be read, or None. Values that could not be measured keep their defaults.
        failure: The kind of error: the file is missing, unreadable, or reading it took too long; or None.
        promised: Length of the file in seconds according to its header; 0 if missing.
        duration: Length of the file in seconds, that of its longer track.
        seconds: Length of the clip in seconds: of the file, or of the part given in the manifest.
        height: Height of the video in pixels as stored; 0 without one.
        width: Width of the video in pixels as stored; 0 without one.
        fps: Displayed frames per second, counted.
        frames: Number of displayed frames.
        video_codec: Name of the video's codec.
        picture_start: Seconds from the clip's start to the first displayed frame.
        picture_end: Seconds from the clip's start to the end of the last frame; 0 without video.
        motion: Largest change of a pixel from the first frame, in grey levels (0 to 255), with frames shrunk to
            32 x 32.
        sample_rate: Sample rate of the audio as stored; 0 without one.
        channels: Channels of the audio as stored; 0 without one.
        audio_codec: Name of the audio's codec.
        sound_start: Seconds from the clip's start to its first sample.
        sound_end: Seconds from the clip's start to the end of its last sample; 0 without audio.
        peak_db: Loudest sample of the audio, mixed to mono, in dBFS.
        damaged: Number of packets that could not be decoded.
        decoded: Seconds of the clip up to which all frames were decoded; after that only keyframes, to save time.
    """

    error: str | None = None
    failure: Failure | None = None
    promised: float = 0.0
    duration: float = 0.0
    seconds: float = 0.0
    height: int = 0
    width: int = 0
    fps: float = 0.0
    frames: int = 0
    video_codec: str = ''
    picture_start: float = 0.0
    picture_end: float = 0.0
    motion: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    audio_codec: str = ''
    sound_start: float = 0.0
    sound_end: float = 0.0
    peak_db: float = SILENCE_DB
    damaged: int = 0
    decoded: float = 0.0

    @property
    def has_video(self) -> bool:
        """Whether there is a video track with frames that can be decoded."""
        return self.frames > 0

    @property
    def has_audio(self) -> bool:
        """Whether there is an audio track and the clip holds at least 25 ms of it, as training requires."""
        return self.sound_end - self.sound_start >= LEAST_AUDIO

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with seconds and levels rounded."""
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items()}


def probe(
    path: str,
    start: float | None = None,
    end: float | None = None,
    *,
    thorough: float = 30.0,
    limits: Limits | None = None,
) -> Probe:
    """Decodes a clip from start to end.

    Args:
        path: The file.
        start: Start of the clip in seconds; None for the file's start.
        end: End of the clip in seconds; None for the file's end.
        thorough: Seconds of processor time after which only keyframes and audio are decoded; the other frames are
            counted.
        limits: Limits on what reading the file may cost; None for the defaults.

    Returns:
        Its measures; errors are in ``error`` and ``failure``.
    """
    result = Probe()
    try:
        with open_stream(path, limits=limits) as reader:
            _probe_tracks(reader, result, start or 0.0, math.inf if end is None else end, time.thread_time() + thorough)
    except MediaError as error:
        result.error = error.reason
        result.failure = 'missing' if isinstance(error, MissingMediaError) else 'unreadable'
    return result


def _frames(
    reader: StreamReader | PairReader, start: float, end: float, until: float
) -> Iterator[tuple[float, av.VideoFrame | None]]:
    """All frames of a span with their times; decodes only keyframes once the time is up."""
    for second, frame in reader.iter_frames(start, end) if time.thread_time() < until else ():
        yield second, frame
        start = second + 1e-3
        if time.thread_time() > until:
            break
    if time.thread_time() > until:
        yield from reader.iter_sampled(start, end)


def _probe_tracks(reader: StreamReader | PairReader, result: Probe, start: float, end: float, until: float) -> None:
    info = reader.info
    result.height, result.width, result.video_codec = info.height, info.width, info.video_codec
    result.sample_rate, result.channels, result.audio_codec = info.sample_rate, info.channels, info.audio_codec
    result.promised = info.promised
    limits = reader.limits
    reference: np.ndarray | None = None
    next_look = -math.inf
    heard: list[tuple[float, float]] = []
    first_frame = last_frame = math.nan
    peak = 0.0
    for position, stop in reader.pieces(start, end):
        if info.has_video:
            for second, frame in _frames(reader, position, stop, until):
                if not result.frames:
                    first_frame = second
                result.frames += 1
                # Sampled frames come in file order.
                last_frame = second if result.frames == 1 else max(last_frame, second)
                if frame is not None and second >= next_look:
                    next_look = second + LOOK_EVERY
                    small = frame.reformat(THUMBNAIL, THUMBNAIL, format='gray', interpolation='AREA', threads=1)
                    look = small.to_ndarray().astype(np.int16)
                    reference = look if reference is None else reference
                    result.motion = max(result.motion, float(np.abs(look - reference).max()))
        wave = reader.read_audio(position, stop, SAMPLE_RATE) if info.has_audio else None
        if wave is not None and reader.heard is not None:
            heard.append(reader.heard)
            peak = max(peak, float(np.abs(wave).max(initial=0.0)))
        if time.thread_time() < until:
            result.decoded = stop - start
        last = np.nanmax([start, last_frame, heard[-1][1] if heard else start])
        if stop > last + limits.gap:
            raise MediaError(
                info.path,
                f'nothing of it can be decoded from {last:.1f} s to {stop:.1f} s, more than gap of the limits',
            )
    info = reader.info  # as it is now, also of two files
    result.duration = info.duration
    result.seconds = max(0.0, min(end, info.duration) - start)
    result.damaged = info.damaged
    if result.seconds <= 0:
        raise MediaError(info.path, f'the clip starts at {start:g} s, but the file ends at {info.duration:g} s')
    if info.has_video and not result.frames:
        # The displayed frame may have appeared before the clip, or no new frame may appear before it ends.
        reader.read_frames([start])
        result.frames, first_frame, last_frame = 1, start, -math.inf
    if result.frames > 1:
        result.fps = (result.frames - 1) / (last_frame - first_frame)
    if result.frames:
        rate = result.fps or info.fps
        result.picture_start = first_frame - start
        result.picture_end = max(0.0, min(last_frame - start + (1 / rate if rate else 0.0), result.seconds))
    if heard:
        result.sound_start, result.sound_end = heard[0][0] - start, heard[-1][1] - start
        result.peak_db = 20 * math.log10(peak) if peak > 0 else SILENCE_DB
    if info.has_audio and not info.has_video and not heard:
        raise MediaError(info.path, 'nothing of its audio track can be decoded')
    if not result.frames and not result.has_audio:
        raise MediaError(info.path, f'has no video, and less than {LEAST_AUDIO * 1000:g} ms of audio')
