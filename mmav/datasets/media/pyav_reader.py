"""Reading by presentation time with PyAV: exact on variable frame rates, cut clips and late sound."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import av
import numpy as np

from mmav.errors import MediaError

from .base import MediaInfo
from .channels import settle_layout
from .demux import PARTS_OF_FRAMES, lacks_container, lacks_pts
from .length import length_of
from .limits import Limits, Watch
from .opening import limit_decoder, media_errors, open_container
from .packets import PREROLL, PacketSpan
from .pictures import decode_frames, read_pictures
from .steady import steady
from .tracks import choose_track
from .waveform import GAP, place_frames

# Plain samples of a program stream may be up to one frame of their encoder older than the time stamp beside them.
LOOSE_GAP = 0.03

# No recording has pixels longer than so many times their height.
MOST_STRETCHED = 16.0


class PyAVReader:
    """Reads one media file; :class:`mmav.datasets.media.base.MediaReader` tells how its methods are used.

    The packets of a span are collected first, in one pass for picture and sound. What must be decoded is then known
    from their time stamps: groups of pictures in which no frame is wanted, and frames that no other refers to, are
    passed over.

    Args:
        path: The file.
        threads: Threads of the picture decoder.
        limits: What reading the file may cost; None for the usual limits.

    Raises:
        MediaError: The file cannot be opened, goes beyond a limit, has no length, or holds neither picture nor sound.

    Attributes:
        info: What the file holds.
        limits: What reading the file may cost.
        heard: First and last second for which the span last read by :meth:`read_audio` holds sound; None for none.
        channel_names: Names of the sound's channels, such as FL; NONE where the file does not tell.
    """

    def __init__(self, path: str, *, threads: int = 1, limits: Limits | None = None) -> None:
        self.heard: tuple[float, float] | None = None
        self._watch = Watch(path, limits, threads=threads)
        self.limits = self._watch.limits
        self._container = open_container(path, limits=self.limits)
        try:
            with media_errors(path, 'cannot be read'):
                self._video = choose_track(self._container, path, 'video', self.limits)
                self._audio = choose_track(self._container, path, 'audio', self.limits, related=self._video)
                self.channel_names = () if self._audio is None else settle_layout(self._audio.codec_context)
                streams = [stream for stream in (self._video, self._audio) if stream is not None]
                if not streams:
                    raise MediaError(path, 'holds neither a picture nor a sound track')
                if self._video is not None:
                    codec = self._video.codec_context
                    self.limits.check_picture(path, codec.height, codec.width)
                    limit_decoder(self._video, self.limits)
                    self._video.thread_type = 'AUTO' if threads > 1 else 'NONE'
                    self._video.codec_context.thread_count = threads
                self._streams = streams
                self._packets = PacketSpan(self._container, streams, watch=self._watch)
                self._span = (math.inf, -math.inf)
                self.info = self._read_info(path)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> PyAVReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._packets.close()
        self._container.close()

    def fetch(self, start: float, end: float) -> tuple[float, float]:
        """Makes the span ready for reading, in one pass over the file.

        Raises:
            MediaError: The file cannot be read.
        """
        self._watch.begin()
        with media_errors(self.info.path, 'cannot be read'):
            known = self._packets.joined
            self._packets.collect(start, end)
            if self._packets.joined and not known:
                # That it is joined was met only now, and with it the end.
                self.info.duration = self._last_second()
            end = min(end, self.info.duration)
        self._span = (start, end)
        return self._span

    def read_frames(
        self, times: Sequence[float] | np.ndarray, *, short_side: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the displayed frames nearest to the times.

        Raises:
            MediaError: There is no picture track, or no frame of it can be decoded.
        """
        if self._video is None:
            raise MediaError(self.info.path, 'has no picture track')
        seconds = np.asarray(times, dtype=np.float64)
        self._require(float(seconds.min()), float(seconds.max()))
        base, origin = self._packets.clock(self._video)
        self._watch.begin()
        wanted, place = np.unique(seconds / base + origin / base, return_inverse=True)
        step = max(1, round(self._frame_seconds / base))
        with media_errors(self.info.path, 'its picture track cannot be decoded'):
            pictures = read_pictures(
                self._video,
                self._packets.of(self._video),
                wanted,
                step=step,
                short_side=short_side,
                held=len(seconds),
                watch=self._watch,
                on_damage=self._count_damage,
            )
        if not pictures:
            reason = 'no frame of its picture track can be decoded'
            if not self.info.width:
                reason += f', nor its size be told: it is broken, or above pixels={self.limits.pixels:,} of the limits'
            raise MediaError(self.info.path, reason)
        ticks = np.array([ticks for ticks, _ in pictures], dtype=np.float64)
        return np.stack([pictures[k][1] for k in place]), ticks[place] * base - origin

    def iter_frames(self, start: float, end: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Decodes all displayed frames of a span, one after the other.

        Args:
            start: Seconds.
            end: Seconds; a frame displayed at this very time is not part of the span.

        Yields:
            Time in seconds, ascending, and frame as stored: not yet upright.

        Raises:
            MediaError: There is no picture track.
        """
        if self._video is None:
            raise MediaError(self.info.path, 'has no picture track')
        self._require(start, end)
        base, origin = self._packets.clock(self._video)
        packets = self._packets.of(self._video)
        # A little early, so that a frame exactly at the time is not lost to rounding.
        first, last = ((second + origin) / base - 1e-3 for second in (start, end))
        if not lacks_pts(self._video) and all(packet.pts is not None and packet.pts < first for packet in packets):
            # The last picture stands: there is none to come.
            return
        self._watch.begin()
        frames = decode_frames(
            self._video,
            packets,
            [range(len(packets))],
            needed=None,
            step=max(1, round(self._frame_seconds / base)),
            watch=self._watch,
            on_damage=self._count_damage,
        )
        for ticks, frame in frames:
            if ticks >= last:
                return
            if ticks >= first:
                yield ticks * base - origin, frame
                self._watch.begin()

    def iter_sampled(self, start: float, end: float) -> Iterator[tuple[float, av.VideoFrame | None]]:
        """As :meth:`iter_frames`, but only keyframes are decoded, which takes a small part of the time.

        Yields:
            Time in seconds and frame; None for frames that are not decoded, of which the file only tells the time.

        Raises:
            MediaError: There is no picture track.
        """
        if self._video is None:
            raise MediaError(self.info.path, 'has no picture track')
        self._require(start, end)
        for packet in self._packets.of(self._video):
            time = self._packets.time_of(packet)
            if time is None or packet.is_discard or not start <= time + 1e-6 < end:
                continue
            self._watch.begin()
            decoding: Any = dict(needed=None, step=1, watch=self._watch, on_damage=self._count_damage)
            frames = decode_frames(self._video, [packet], [range(1)], **decoding) if packet.is_keyframe else iter(())
            yield time, next(frames, (0, None))[1]

    def read_audio(self, start: float, end: float, sample_rate: int) -> np.ndarray | None:
        """Reads the sound of exactly the span, mixed to one channel.

        Raises:
            MediaError: There is no sound track, or nothing of it can be decoded.
        """
        frames, after = self._decode_sound(start, end)
        inside = [time for time, _ in frames if time < end]
        self.heard = (max(start, inside[0]), min(end, after)) if inside and after > start else None
        with media_errors(self.info.path, 'its sound cannot be resampled'):
            return place_frames(frames, start, end, sample_rate, names=self.channel_names, on_damage=self._count_damage)

    def iter_sound(self, start: float, end: float) -> Iterator[tuple[float, av.AudioFrame]]:
        """Decodes the sound of a span in the channels and at the rate that it has.

        Yields:
            Time in seconds and frame, for each frame that reaches into the span.

        Raises:
            MediaError: There is no sound track, or nothing of it can be decoded.
        """
        for time, frame in self._decode_sound(start, end)[0]:
            if time < end and time + frame.samples / frame.sample_rate > start:
                yield time, frame

    def iter_sound_packets(
        self, start: float, end: float, *, lead: float = 0.0
    ) -> Iterator[tuple[float, av.Packet[Any]]]:
        """The sound of a span as it is stored, to be copied, and of up to 0.25 s before, for decoders to get ready.

        Yields:
            Time in seconds from which a packet is heard, and packet, for each packet whose time lies in the span.

        Raises:
            MediaError: There is no sound track.
        """
        stream = self.sound_stream
        self._require(start, end)
        base, origin = self._packets.clock(stream)
        for packet in self._packets.of(stream):
            ticks = packet.dts if packet.pts is None else packet.pts
            if ticks is not None and start - lead <= ticks * base - origin < end:
                yield ticks * base - origin, packet

    @property
    def pixel_ratio(self) -> float:
        """Width of a stored pixel, as it is to be shown, in heights of it; 1 where nothing sensible is said."""
        ratio = float((self._video and self._video.codec_context.sample_aspect_ratio) or 1.0)
        return ratio if 1 / MOST_STRETCHED <= ratio <= MOST_STRETCHED else 1.0

    @property
    def sound_stream(self) -> Any:
        """PyAV's stream of the sound track, whose parameters a copy needs.

        Raises:
            MediaError: There is no sound track.
        """
        if self._audio is None:
            raise MediaError(self.info.path, 'has no sound track')
        return self._audio

    def _decode_sound(self, start: float, end: float) -> tuple[list[tuple[float, av.AudioFrame]], float]:
        """Frames of a span and a little around it with their times, and the time at which the last one ends."""
        stream = self.sound_stream
        self._require(start, end)
        base, origin = self._packets.clock(stream)
        held = max(0.0, min(end, self._span[1]) - start)
        self.limits.check_sound(self.info.path, held, self.info.sample_rate * max(1, self.info.channels))
        codec = stream.codec_context
        codec.flush_buffers()
        self._watch.begin()
        tried, failed, expected = 0, 0, 0.0
        frames: list[tuple[float, av.AudioFrame]] = []
        packets = self._packets.of(stream)
        times = [None if packet.pts is None else packet.pts * base - origin for packet in packets]
        # What begins earlier may reach into the span: a packet of WavPack or TTA lasts a second.
        early = [k for k, time in enumerate(times) if time is not None and time < start - PREROLL]
        for k, (packet, begin) in enumerate(zip(packets, times, strict=True)):
            if begin is not None and not start - PREROLL <= begin <= end + PREROLL and k not in early[-1:]:
                continue
            tried += 1
            self._watch.check()
            try:
                decoded: list[Any] = codec.decode(packet)
            except av.FFmpegError:
                failed += 1
                self._count_damage()
                continue
            for frame in decoded:
                time = expected if frame.pts is None else frame.pts * base - origin
                frames.append((time, frame))
                expected = time + frame.samples / frame.sample_rate
        if failed and failed == tried:
            raise MediaError(self.info.path, 'nothing of its sound track can be decoded')
        loose = self._container.format.name in PARTS_OF_FRAMES and codec.name.startswith('pcm_')
        frames = steady(frames, gap=LOOSE_GAP if loose else GAP)
        if frames:
            expected = frames[-1][0] + frames[-1][1].samples / frames[-1][1].sample_rate
        return frames, expected

    def _count_damage(self) -> None:
        self.info.damaged += 1

    def _last_second(self) -> float:
        frames = dict(video=self._frame_seconds, audio=0.0)
        return max(0.0, *(self._packets.end_of(stream, frames[stream.type]) for stream in self._streams))

    @property
    def _frame_seconds(self) -> float:
        return 1 / self.info.fps if self.info.fps else 0.0

    def _read_info(self, path: str) -> MediaInfo:
        video, audio = self._video, self._audio
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
        self.info = info
        length = length_of(path, self._streams, self._packets, self._frame_seconds)
        info.duration, info.promised = length.seconds, length.promised
        if info.duration <= 0:
            raise MediaError(path, 'has a length of zero seconds')
        return info

    def _require(self, start: float, end: float) -> None:
        fetched = self._span[0] <= start and (end <= self._span[1] or self._span[1] >= self.info.duration)
        if not fetched:
            self.fetch(start, end)
