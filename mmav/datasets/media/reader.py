"""Media readers, and the reader of files: by presentation time, exact for variable frame rates, cuts and late audio.

The length of a file is determined from its content, as its header may state more, less, or nothing. If the index lists
every frame (mp4, mov), the index is used. For other files the end is read, from shortly before the length in the
header. If the header has no length, or it is a guess, as for audio without a container, all packets are read once
without decoding: that takes 4 us of processor time per packet, 0.5 s for an hour of MP3. A process caches what it found
out about a file until the file changes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import av
import numpy as np

from mmav.datasets.media.audio import Timed, decode_span, is_plain, place_frames, seconds_of, settle_layout
from mmav.datasets.media.clocks import COUNTED
from mmav.datasets.media.opening import MOV, Limits, Watch, choose_track, media_errors, open_container
from mmav.datasets.media.packets import PacketSpan
from mmav.datasets.media.stored_file import StoredFile, load_file
from mmav.datasets.media.video import VideoDecoder, lacks_container
from mmav.errors import MediaError
from mmav.structures import MODALITIES

# Audio encoders and decoders pad: a header says by how many samples, time stamps do not.
PADDING = 0.1
# Read before the promised end, in seconds.
TAIL = 1.0
# FFmpeg's flag for formats without an index, for which it builds one while reading.
GENERIC_INDEX = 0x100
# Some of these can still be searched exactly.
SEARCHED = ('wav', 'w64', 'rawvideo', 'flac', 'ogg', 'ivf')
# Seeking in these reads from the start, or their end may not give the full length.
READ_WHOLE = ('flv', 'live_flv')
REMEMBERED = 1 << 15

_known: dict[tuple[str, int, int, str], Length] = {}
_Reader = TypeVar('_Reader', bound='MediaReader')


@dataclass
class MediaInfo:
    """What a media file holds.

    Attributes:
        path: The file.
        duration: Length in seconds, as in players: from the first frame or sample, whichever comes first, to the end of
            the last; of the file's content, not what its header says.
        has_video: Whether there is a video track (cover art does not count).
        has_audio: Whether there is an audio track.
        height: Height of the video as stored, in pixels; 0 without one.
        width: Width of the video as stored, in pixels; 0 without one.
        fps: Average frame rate; 0 if unknown.
        sample_rate: Sample rate of the audio; 0 without one.
        channels: Channels of the audio; 0 without one.
        video_codec: Name of the video's codec; empty without one.
        audio_codec: Name of the audio's codec; empty without one.
        damaged: Number of packets so far that could not be decoded; the data around them was read.
        promised: Length in seconds according to the file's header; 0 if missing.
    """

    path: str
    duration: float
    has_video: bool
    has_audio: bool
    height: int = 0
    width: int = 0
    fps: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    video_codec: str = ''
    audio_codec: str = ''
    damaged: int = 0
    promised: float = 0.0

    def count_damage(self) -> None:
        """Counts a packet that could not be decoded."""
        self.damaged += 1


@runtime_checkable
class MediaReader(Protocol):
    """Reads video and audio of one file by time.

    Times are presentation times in seconds from the first displayed frame, or from the first sample if there is no
    video or if it starts later than an encoder's delay explains. The first frame is also used before it starts, and the
    last one after it has ended. All failures raise :class:`mmav.errors.MediaError`.

    A custom reader needs these methods; subclasses inherit the last two.
    """

    info: MediaInfo

    def fetch(self, start: float, end: float) -> tuple[float, float]:
        """Prepares a span for reading, in one pass over the file.

        Returns:
            The part of the span that the file really holds. If it holds none, its end is not after its start, and
            ``info.duration`` is then correct.
        """
        ...

    def read_frames(
        self, times: Sequence[float] | np.ndarray, *, short_side: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the displayed frames nearest to the times, which may be in any order and repeat.

        Args:
            times: Seconds.
            short_side: Short side in pixels to which frames are scaled; None keeps their size.

        Returns:
            RGB frames (T, H, W, 3) uint8, upright, and their true times (T,) in seconds.
        """
        ...

    def read_audio(self, start: float, end: float, sample_rate: int) -> np.ndarray | None:
        """Reads the audio of exactly the span, mixed to mono.

        Returns:
            Samples (S,) float32, S = round((end - start) * sample_rate), zeros where the track is empty; None if it is
            empty in the whole span.
        """
        ...

    def close(self) -> None:
        """Closes the file."""
        ...

    def __enter__(self: _Reader) -> _Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PyAVReader(MediaReader):
    """Reads one media file; see :class:`MediaReader` for its methods.

    The packets of a span are collected first, in one pass for video and audio. Their time stamps then tell what must be
    decoded: groups of pictures without a wanted frame, and unwanted frames that no other refers to, are skipped.

    Args:
        path: The file, or a StoredFile, which is loaded into memory.
        threads: Threads of the video decoder.
        limits: Limits on what reading the file may cost; None for the defaults.
        tracks: The modalities to read; without the other one its track is ignored, also for the file's length.

    Raises:
        MediaError: The file cannot be opened, exceeds a limit, has no length, or holds none of the tracks.

    Attributes:
        info: What the file holds.
        limits: Limits on what reading the file may cost.
        heard: Start and end of the audio in the span last read by :meth:`read_audio`, in seconds; None for none.
        channel_names: Names of the audio's channels, such as FL; NONE if the file does not say.
        video_stream: PyAV's stream of the video track; None without one.
        audio_stream: PyAV's stream of the audio track, whose parameters a copy needs; None without one.
    """

    def __init__(
        self,
        path: str,
        *,
        threads: int = 1,
        limits: Limits | None = None,
        tracks: Sequence[str] = MODALITIES,
    ) -> None:
        self.heard: tuple[float, float] | None = None
        if isinstance(path, StoredFile):
            path = load_file(path)
        self._watch = Watch(path, limits, threads=threads)
        self.limits = self._watch.limits
        self._container = open_container(path, limits=self.limits)
        try:
            with media_errors(path, 'cannot be read'):
                self.video_stream: Any = None
                if 'video' in tracks:
                    self.video_stream = choose_track(self._container, self._watch, 'video')
                self.audio_stream: Any = None
                if 'audio' in tracks:
                    self.audio_stream = choose_track(self._container, self._watch, 'audio', related=self.video_stream)
                self.channel_names = () if self.audio_stream is None else settle_layout(self.audio_stream.codec_context)
                self._streams = [stream for stream in (self.video_stream, self.audio_stream) if stream is not None]
                if not self._streams:
                    what = 'neither a video nor an audio track' if len(tracks) > 1 else f'no {tracks[0]} track'
                    raise MediaError(path, f'holds {what}')
                if self.video_stream is not None:
                    codec = self.video_stream.codec_context
                    self.limits.check_frame(path, codec.height, codec.width)
                    # Also where they grow in mid-stream.
                    codec.options = {**codec.options, 'max_pixels': str(self.limits.pixels)}
                    self.video_stream.thread_type = 'AUTO' if threads > 1 else 'NONE'
                    codec.thread_count = threads
                self._packets = PacketSpan(self._container, self._streams, self._watch)
                self._span = (math.inf, -math.inf)
                # Only now, as decoders may know more after the first frames.
                self.info = self._describe(str(path))
                self._measure()
        except BaseException:
            self._container.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._packets.close()
        self._container.close()

    def fetch(self, start: float, end: float) -> tuple[float, float]:
        """Prepares a span for reading, in one pass over the file.

        Raises:
            MediaError: The file cannot be read.
        """
        self._watch.begin()
        with media_errors(self.info.path, 'cannot be read'):
            known = self._packets.joined
            self._packets.collect(start, end)
            if self._packets.joined and not known:
                # That it is joined was met only now, and with it the end.
                ends = (self._packets.end_of(stream, self._frame_seconds(stream)) for stream in self._streams)
                self.info.duration = max(0.0, *ends)
        self._span = (start, min(end, self.info.duration))
        return self._span

    def read_frames(
        self, times: Sequence[float] | np.ndarray, *, short_side: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the displayed frames nearest to the times.

        Raises:
            MediaError: There is no video track, or no frame of it can be decoded.
        """
        packets, (base, origin) = self._packets_of('video', float(np.min(times)), float(np.max(times)))
        seconds = np.asarray(times, dtype=np.float64)
        wanted, place = np.unique(seconds / base + origin / base, return_inverse=True)
        with media_errors(self.info.path, 'its video track cannot be decoded'):
            images = self._decoder.read(packets, wanted, short_side=short_side, held=len(seconds))
        if not images:
            reason = 'no frame of its video track can be decoded'
            if not self.info.width:
                reason += f', nor its size be told: it is broken, or above pixels={self.limits.pixels:,} of the limits'
            raise MediaError(self.info.path, reason)
        ticks = np.array([ticks for ticks, _ in images], dtype=np.float64)
        return np.stack([images[k][1] for k in place]), ticks[place] * base - origin

    def read_audio(self, start: float, end: float, sample_rate: int) -> np.ndarray | None:
        """Reads the audio of exactly the span, mixed to mono.

        Raises:
            MediaError: There is no audio track, or nothing of it can be decoded.
        """
        frames = self._decode_audio(start, end)
        inside = [time for time, _ in frames if time < end]
        after = frames[-1][0] + seconds_of(frames[-1][1]) if inside else start
        self.heard = (max(start, inside[0]), min(end, after)) if after > start else None
        with media_errors(self.info.path, 'its audio cannot be resampled'):
            return place_frames(
                frames, start, end, sample_rate, names=self.channel_names, on_damage=self.info.count_damage
            )

    def _decode_audio(self, start: float, end: float) -> list[Timed]:
        packets, clock = self._packets_of('audio', start, end)
        held = max(0.0, min(end, self._span[1]) - start)
        self.limits.check_audio(self.info.path, held, self.info.sample_rate * max(1, self.info.channels))
        watching: Any = dict(form=self._container.format.name, watch=self._watch, on_damage=self.info.count_damage)
        return decode_span(self._audio_decoder(), packets, start, end, clock=clock, **watching)

    def _audio_decoder(self) -> Any:
        """A decoder that has decoded nothing yet.

        A flush leaves some of a decoder's state, such as that of the noise which AAC draws at random, so that the same
        packets would sound otherwise the second time.
        """
        codec = self.audio_stream.codec_context
        if not codec.is_open:
            return codec
        if is_plain(codec):
            codec.flush_buffers()
            return codec
        path = self._watch.path
        with media_errors(path, 'cannot be read'), open_container(path, limits=self.limits) as anew:
            codec = anew.streams[self.audio_stream.index].codec_context
        settle_layout(codec)
        return codec

    def _packets_of(self, kind: str, start: float, end: float) -> tuple[list[av.Packet[Any]], tuple[float, float]]:
        """The packets of a track for a span, fetched if necessary, and its clock; starts a step of the watch."""
        stream = self.video_stream if kind == 'video' else self.audio_stream
        if stream is None:
            raise MediaError(self.info.path, f'has no {kind} track')
        if not (self._span[0] <= start and (end <= self._span[1] or self._span[1] >= self.info.duration)):
            self.fetch(start, end)
        self._watch.begin()
        return self._packets.of(stream), self._packets.clock(stream)

    def _frame_seconds(self, stream: Any) -> float:
        return 1 / self.info.fps if stream is self.video_stream and self.info.fps else 0.0

    def _describe(self, path: str) -> MediaInfo:
        """What is known about the tracks, except their length."""
        video, audio = self.video_stream, self.audio_stream
        info = MediaInfo(path=path, duration=0.0, has_video=video is not None, has_audio=audio is not None)
        if video is not None:
            info.height, info.width = video.codec_context.height, video.codec_context.width
            # Without a container FFmpeg's average rate is its default.
            average, guessed = video.average_rate, video.guessed_rate
            if lacks_container(self._container.format):
                average, guessed = guessed, average
            info.fps = float(average or guessed or 0)
            info.video_codec = video.codec_context.name
        if audio is not None:
            info.sample_rate = audio.codec_context.sample_rate
            info.channels = len(self.channel_names)
            info.audio_codec = audio.codec_context.name
        return info

    def _measure(self) -> None:
        if self.video_stream is not None:
            base = self._packets.clock(self.video_stream)[0]
            # Must not refer to this reader: its memory would then wait for the garbage collector.
            self._decoder = VideoDecoder(self.video_stream, self._watch, self.info.count_damage)
            self._decoder.step = max(1, round(self._frame_seconds(self.video_stream) / base))
        length = self._length()
        self.info.duration, self.info.promised = length.seconds, length.promised
        if self.info.duration <= 0:
            raise MediaError(self.info.path, 'has a length of zero seconds')

    def _length(self) -> Length:
        size, version = self._size()
        kinds = ' '.join(stream.type for stream in self._streams)
        key = (self.info.path, size, version, kinds)
        clock = self._packets.demuxer.clock
        if key in _known:
            if clock is not None:
                clock.wrong |= _known[key].wrong
            return _known[key]
        form = self._container.format
        promised = self._promised()
        if form.name == MOV and all(_confirmed(stream, size) for stream in self._streams):
            length = Length(promised, promised)
        else:
            # FFmpeg guesses it of frames without a container from the first ones; only MP3 with a header starts at a
            # known sample, behind the encoder's delay.
            counted = form.name in COUNTED
            told = bool(self._streams[0].start_time) if counted else not lacks_container(form)
            seconds = self._read_length(promised, told=told, headed=counted and told)
            length = Length(seconds, promised if told else 0.0, clock is not None and clock.wrong)
        if len(_known) >= REMEMBERED:
            _known.clear()
        _known[key] = length
        return length

    def _size(self) -> tuple[int, int]:
        """Bytes of the file, and its time of change or version."""
        path = self._watch.path
        if isinstance(path, StoredFile):
            return path.stamp()[1:]
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns

    def _promised(self) -> float:
        """Seconds from time zero to the end according to the header."""
        container, ends = self._container, []
        for stream in self._streams:
            base, origin = self._packets.clock(stream)
            if stream.duration:
                start = 0.0 if stream.start_time is None else stream.start_time * base - origin
                ends.append(start + float(stream.duration * stream.time_base))
        if not ends and container.duration:
            origin = self._packets.clock(self._streams[0])[1] if container.start_time is not None else 0.0
            begin = (container.start_time or 0) / av.time_base
            ends = [begin + container.duration / av.time_base - origin]
        return max(ends, default=0.0)

    def _read_length(self, promised: float, *, told: bool, headed: bool) -> float:
        """The length according to the last packets.

        Args:
            promised: Seconds according to the header.
            told: Whether they are not a guess.
            headed: Whether the header is the first frame of audio without a container.
        """
        form = self._container.format
        indexed = bool(form.flags & GENERIC_INDEX) and form.name not in SEARCHED and not headed
        whole = promised <= TAIL or self._packets.joined or form.name in READ_WHOLE or lacks_container(form) or indexed
        self._packets.collect_from(0.0 if whole else promised - TAIL)
        ends = self._ends(promised if told else 0.0)
        wrong = not ends or self._packets.joined or (headed and abs(max(ends) - promised) > PADDING)
        if wrong and not whole:
            self._packets.collect_from(0.0)
            ends = self._ends(promised if told else 0.0)
        return max(0.0, *ends) if ends else 0.0

    def _ends(self, promised: float) -> list[float]:
        ends = []
        for stream in self._streams:
            end = self._packets.end_of(stream, self._frame_seconds(stream))
            if stream.type == 'audio' and end - PADDING <= promised <= end:
                end = promised
            if end > -math.inf:
                ends.append(end)
        return ends


class Length(NamedTuple):
    """Seconds of a file by its content and its header, and whether its clock was found to be wrong."""

    seconds: float
    promised: float
    wrong: bool = False


def _confirmed(stream: Any, size: int) -> bool:
    """Whether the index lists an existing packet that lasts until the track's declared end."""
    index = stream.index_entries
    last = len(index) - 1
    while last >= 0 and index[last].is_discard:
        last -= 1
    if last < 0 or not stream.duration or index[last].pos + index[last].size > size:
        return False
    first = next(k for k in range(last + 1) if not index[k].is_discard)
    until_last = index[last].timestamp - index[first].timestamp
    step = index[last].timestamp - index[last - 1].timestamp if last else stream.duration
    # A longer packet may be the last frame, or the index may cover only a part.
    return until_last < stream.duration <= until_last + max(3 * step, TAIL / stream.time_base)
