"""Collects the compressed packets of a time span in one pass over a file, skipping damaged places."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import av

from mmav.datasets.media.audio import PREROLL, is_plain
from mmav.datasets.media.clocks import (
    COUNTED,
    RESTARTING,
    Clock,
    CountedClock,
    IndexClock,
    JoinedClock,
    first_displayed,
    first_sample,
    is_miscounted,
    late_frame,
    recounted,
)
from mmav.datasets.media.headers import is_chained
from mmav.datasets.media.opening import Watch, open_container
from mmav.datasets.media.video import WITHOUT_PTS, lacks_container, lacks_pts
from mmav.errors import MediaError

# A demuxer may recover after damage; the number of attempts is limited so that hopeless files end.
DEMUX_ERRORS = 8
# Tracks are interleaved in a file: if one has run this far past the span, the other has nothing in it.
INTERLEAVE = 10.0
# A seek may land after the span's first keyframe, or after audio that is stored before its video; it is then retried
# from further back, and finally from the start.
SEEK_BACK = (2 * PREROLL, 3.0, 12.0, 60.0, math.inf)
# Up to this time a file is read from its start instead of seeking.
NEAR_START = 1.0
# No decoder buffers more frames than this, so the first displayed frame is among them.
REORDER = 17
# Some camcorders mark no frame as a keyframe. This many are checked before the first one is decoded.
UNMARKED = 1000
# Audio that starts this many seconds before the video, or two of its frames, is an encoder's delay. Audio that starts
# earlier is heard before the first frame is displayed.
ENCODER_DELAY = 0.15
# In these, plain samples can be read from the start again without opening the file anew, for which FFmpeg takes 10 ms.
SLOW_TO_OPEN = ('wav', 'w64')
# Container and codec in which FFmpeg's times are wrong after a seek, by up to a page of the container (a second).
MISTIMED = ('ogg', 'flac')
# The longest display time of a frame in seconds. A time stamp further after all others is wrong, unless the next one
# confirms it.
STANDS = 60.0


class Demuxer:
    """Reads the packets of some tracks, with the time stamps that reading from the file's start gives.

    Args:
        container: The open file.
        streams: The tracks, the main one first.
        watch: The file's path and what reading it may cost.

    Attributes:
        clock: Corrects FFmpeg's time stamps if the format needs it.
        miscounted: Indices of audio tracks with wrong times by FFmpeg: packets read so far, and seeking by them, are
            useless.
    """

    def __init__(self, container: av.container.InputContainer, streams: Sequence[Any], watch: Watch) -> None:
        self._container, self._streams, self._main, self._watch = container, streams, streams[0], watch
        self._opened_anew: av.container.InputContainer | None = None
        self._indices = [stream.index for stream in streams]
        self.clock: Clock | None = None
        self.miscounted: set[int] = set()
        form = container.format
        if lacks_container(form) or form.name in COUNTED:
            self.clock = CountedClock(self._main)
        elif form.name in RESTARTING:
            self.clock = JoinedClock(self._main)
        elif form.name in WITHOUT_PTS:
            self.clock = IndexClock(self._main)

    @property
    def must_start(self) -> bool:
        """Whether seeking by time would fail, so that the file must be read from its start."""
        mistimed = any((self._container.format.name, stream.codec_context.name) == MISTIMED for stream in self._streams)
        return mistimed or bool(self.miscounted) or (self.clock is not None and self.clock.must_start)

    def probe(self, path: str, head: Sequence[av.Packet[Any]]) -> None:
        """Looks for concatenated parts with their own clocks, and for audio with wrong times by FFmpeg.

        Args:
            path: The file.
            head: Its first packets.

        Raises:
            MediaError: It is a concatenation that cannot be read as a whole.
        """
        for stream in (stream for stream in self._streams if stream.type == 'audio'):
            packets = [packet for packet in head if packet.stream_index == stream.index]
            dates = [packet.dts for packet in packets]
            doubtful = self._container.format.name in WITHOUT_PTS or len(set(dates)) < len(dates)
            if doubtful and is_miscounted(stream, packets):
                self.miscounted.add(stream.index)
        if self.clock is not None:
            self.clock.probe(path)
        if self._container.format.name == 'ogg' and is_chained(path):
            raise MediaError(
                path,
                'is a concatenation of Ogg files, which cannot be searched; rewrite it, e.g. with ffmpeg -i IN OUT',
            )

    def read(self) -> Iterator[av.Packet[Any]]:
        """The packets of a file that was just opened, from its start."""
        packets = self._mended(searched=False)
        return recounted(packets, self.miscounted) if self.miscounted else packets

    def read_from_start(self) -> Iterator[av.Packet[Any]]:
        """The packets from the file's start, as if it was just opened.

        Raises:
            MediaError: It cannot be opened any more.
        """
        self._restart()
        return self.read()

    def read_after(self, target: int) -> Iterator[av.Packet[Any]]:
        """The packets from the keyframe before a time of the main track, in its ticks."""
        if self.miscounted or not self._seek(target):
            # Without a usable index.
            return self.read_from_start()
        return self._mended(searched=True)

    def close(self) -> None:
        """Closes the file where it was opened anew; no packets can be read then."""
        if self._opened_anew is not None:
            self._opened_anew.close()
            self._opened_anew = None

    def _restart(self) -> None:
        """Goes to the file's start.

        No seek leads to where a file stands when it was opened: packets before time zero are left out, and FFmpeg does
        not say a second time how many samples are an encoder's delay.
        """
        if self._container.format.name in SLOW_TO_OPEN and is_plain(self._main.codec_context):
            self._container.seek(0)
            return
        anew = open_container(self._watch.path, limits=self._watch.limits)
        self.close()
        self._container = self._opened_anew = anew
        self._streams = [self._container.streams[index] for index in self._indices]

    def _mended(self, *, searched: bool) -> Iterator[av.Packet[Any]]:
        packets = self._demux()
        return packets if self.clock is None else self.clock.mend(packets, searched=searched)

    def _seek(self, target: int) -> bool:
        try:
            self._container.seek(target, stream=self._streams[0])
        except av.FFmpegError:
            return False
        return True

    def _demux(self) -> Iterator[av.Packet[Any]]:
        errors = 0
        while errors <= DEMUX_ERRORS:
            packets: Any = self._container.demux(self._streams)
            try:
                for packet in packets:
                    # FFmpeg also marks the last packet before a gap, which may be intact. Decoders conceal damaged
                    # frames, but damaged audio would crackle; PCM is only cut short.
                    cracks = packet.is_corrupt and packet.stream.type == 'audio'
                    if packet.size and not (cracks and not is_plain(packet.stream.codec_context)):
                        yield packet
                return
            except (av.FFmpegError, IndexError):
                # Damage may look like a packet of a track that does not exist: PyAV has no stream for it.
                errors += 1
            finally:
                # PyAV leaks the packet at which an iteration stops, unless the generator is closed.
                packets.close()


class TrackEnd:
    """Takes the packets of a track in file order, and computes where the last one ends."""

    def __init__(self) -> None:
        self._end = self._stamp = -math.inf
        self._number = 0
        self._doubtful: tuple[float, float] | None = None

    def add(self, time: float, duration: float) -> None:
        """Adds a packet by its presentation time and duration, 0 if unknown."""
        self._number += 1
        doubtful, self._doubtful = self._doubtful, None
        if self._number == 2 and time < self._stamp - STANDS:
            # The first one was wrong.
            self._end = self._stamp = -math.inf
        if time > self._stamp + STANDS and self._stamp > -math.inf:
            if doubtful is None or abs(time - doubtful[0]) > STANDS:
                self._doubtful = (time, duration)
                return
            self._take(*doubtful)
        self._take(time, duration)

    def add_undated(self, duration: float) -> None:
        """Adds a packet without a time: it follows the one before."""
        if self._stamp > -math.inf and duration:
            self._end = max(self._end, self._stamp) + duration

    def _take(self, time: float, duration: float) -> None:
        self._stamp = max(self._stamp, time)
        if duration:
            self._end = max(self._end, time + min(duration, STANDS))

    def seconds(self, frame: float) -> float:
        """End of the last packet, minus infinity if there was none.

        Args:
            frame: Duration in seconds of packets that do not say.
        """
        return max(self._end, self._stamp + frame)


class PacketSpan:
    """Collects packets of some tracks by time.

    Time zero is the first displayed frame, or the first sample if audio starts earlier or is alone, independent of the
    file's own clock and header.

    Args:
        container: The open file.
        streams: The tracks, the main one first.
        watch: Keeps reading within limits.

    Attributes:
        demuxer: Where the packets come from.
    """

    def __init__(self, container: av.container.InputContainer, streams: Sequence[Any], watch: Watch) -> None:
        self._streams, self._main, self._watch = streams, streams[0], watch
        self._without_pts = lacks_pts(self._main)
        self.demuxer = Demuxer(container, streams, watch)
        self._source = self.demuxer.read()
        self._head: list[av.Packet[Any]] | None = []
        origin = float(self._first_ticks(self._head) * self._main.time_base)
        late = self._late_video(self._head)
        before = self._heard_before(self._head, origin + late)
        self.demuxer.probe(watch.path, self._head)
        if self.demuxer.miscounted:
            self._head = None
        self._clock = {
            stream.index: (float(stream.time_base), origin - before + (0.0 if stream is self._main else late))
            for stream in streams
        }
        self.clear()

    @property
    def joined(self) -> bool:
        """Whether the file is a concatenation of parts with their own clocks, whose header gives no length."""
        clock = self.demuxer.clock
        return clock is not None and clock.joins and clock.wrong

    def of(self, stream: Any) -> list[av.Packet[Any]]:
        """The collected packets of a track, in file order."""
        return self._packets[stream.index]

    def clock(self, stream: Any) -> tuple[float, float]:
        """Seconds per tick of a track's time stamps, and the seconds on that clock that are time zero."""
        return self._clock[stream.index]

    def clear(self) -> None:
        """Drops the packets."""
        self._packets: dict[int, list[av.Packet[Any]]] = {stream.index: [] for stream in self._streams}
        self._ends = {index: TrackEnd() for index in self._packets}
        self._first: dict[int, float] = {}

    def close(self) -> None:
        """Ends the reading."""
        self.clear()
        self._head, self._source = None, iter(())
        self.demuxer.close()

    def collect(self, start: float, end: float) -> None:
        """Collects the packets needed to decode a span, replacing those collected before.

        Args:
            start: Seconds.
            end: Seconds; infinity for the rest of the file.

        Raises:
            av.FFmpegError: The file cannot be searched.
        """
        known = self.demuxer.must_start
        for back in SEEK_BACK:
            self.collect_from(start - back, start, end)
            if start <= back or known:
                break
            if self._decodable_from(start) and (back > INTERLEAVE or self._heard_from(start)):
                break
        if self.demuxer.must_start and not known:
            # Only now is it known where the seek led.
            self.collect_from(0.0, start, end)

    def end_of(self, stream: Any, frame: float = 0.0) -> float:
        """End in seconds of a track as seen in the last pass, minus infinity if nothing was seen.

        Args:
            stream: The track.
            frame: Duration in seconds of packets that do not say.
        """
        return self._ends[stream.index].seconds(frame)

    def _first_ticks(self, head: list[av.Packet[Any]]) -> int:
        first: list[int] = []
        key: int | None = None
        unmarked = 0
        begin = self._main.start_time or 0
        if self._main.type == 'audio':
            return begin
        for packet in self._source:
            head.append(packet)
            ticks = self._ticks(packet)
            if packet.stream_index != self._main.index or ticks is None:
                continue
            # Frames before the first keyframe, in file or display order, cannot be decoded.
            if key is None and packet.is_keyframe:
                key = ticks
            if key is not None and ticks >= key and not packet.is_discard:
                first.append(ticks)
            unmarked += key is None
            if len(first) == REORDER or unmarked == UNMARKED:
                break
        if key is None:
            packets = [packet for packet in head if packet.stream_index == self._main.index]
            shown = first_displayed(self._main, packets, self._watch)
            return begin if shown is None else shown
        return min(first, default=begin)

    def _heard_before(self, head: list[av.Packet[Any]], origin: float) -> float:
        """Seconds from the first sample to the first frame, 0 if that is only an encoder's delay."""
        if self._main.type == 'audio':
            first = first_sample(self._main, self._source, head)
            return 0.0 if first is None else origin - float(first * self._main.time_base)
        before = 0.0
        for stream in self._streams[1:]:
            codec, base = stream.codec_context, float(stream.time_base)
            frame = codec.frame_size / (codec.sample_rate or 1)
            packet = next((packet for packet in head if packet.stream_index == stream.index), None)
            stamp, length = (None, 0) if packet is None else (packet.pts, packet.duration or 0)
            begin = stamp if stream.start_time is None else stream.start_time
            if begin is None:
                continue
            # A longer packet is an encoder's delay, extended to where the audio starts (fragmented mp4 files).
            drawn_out = stamp == begin and length * base > 2 * frame > 0
            lead = origin - (begin + length * drawn_out) * base
            before = max(before, lead if lead > max(ENCODER_DELAY, 2 * frame) else 0.0)
        return before

    def _late_video(self, head: Sequence[av.Packet[Any]]) -> float:
        """Seconds by which FFmpeg shows the video too early."""
        first = next((packet for packet in head if packet.stream_index == self._main.index), None)
        if self._without_pts or first is None or not (first.is_discard and first.pts is not None and first.duration):
            return 0.0
        return float(late_frame(self._main, first, self._watch) * self._main.time_base)

    def _ticks(self, packet: av.Packet[Any]) -> int | None:
        """Presentation time of a packet, or its decoding time in files that do not store the former."""
        return packet.dts if self._without_pts else packet.pts

    def _from(self, time: float) -> Iterator[av.Packet[Any]]:
        """The packets from the keyframe before a time."""
        head, self._head = self._head, None
        if time <= NEAR_START and head is not None:
            return chain(head, self._source)
        base, origin = self.clock(self._main)
        # Ended before the file it reads may be closed.
        self._source = iter(())
        if time <= NEAR_START or self.demuxer.must_start:
            self._source = self.demuxer.read_from_start()
        else:
            self._source = self.demuxer.read_after(round((time + origin) / base))
        return self._source

    def collect_from(self, seek_to: float, start: float = math.inf, end: float = math.inf) -> None:
        """Reads from a time, and keeps what a span needs, or the last frames of the file; all in seconds."""
        self.clear()
        # Not those of a file that was opened anew, whose decoders may know less.
        streams = {stream.index: stream for stream in self._streams}
        unfinished = set(self._packets)
        past = dict.fromkeys(self._packets, 0)
        reordered = self._reordered_seconds()
        self._watch.begin_pass()
        for packet in self._from(seek_to):
            index, ticks = packet.stream_index, self._ticks(packet)
            base, origin = self._clock[index]
            kept = self._packets[index]
            if ticks is None and not packet.is_discard:
                self._ends[index].add_undated(_frame_seconds(streams[index]))
            if ticks is not None:
                time = ticks * base - origin
                self._watch.check_packet(packet, time)
                self._first.setdefault(index, time)
                # Every packet of audio is a keyframe; its decoder needs some before the span.
                lead = reordered if streams[index].type == 'video' else 2 * PREROLL
                if packet.is_keyframe and time <= start - lead:
                    kept.clear()
                if not packet.is_discard:
                    self._ends[index].add(time, (packet.duration or 0) * base or _frame_seconds(streams[index]))
            if index in unfinished:
                kept.append(packet)
            # Decoding time never exceeds presentation time, so all that follows is displayed after the span, too.
            clock = packet.dts if packet.dts is not None else ticks
            time = -math.inf if clock is None else clock * base - origin
            # One packet alone may be damaged.
            past[index] = past[index] + 1 if time > end + PREROLL else 0
            if past[index] > 1:
                unfinished.discard(index)
                # The length of a concatenated file is only known at its end.
                if (not unfinished or time > end + INTERLEAVE) and not self.joined:
                    return

    def _decodable_from(self, time: float) -> bool:
        """Whether decoding can start at or before the time."""
        if self._main.type != 'video':
            return True
        base, origin = self.clock(self._main)
        latest = time - self._reordered_seconds() + origin
        return any(
            packet.is_keyframe and (ticks := self._ticks(packet)) is not None and ticks * base <= latest
            for packet in self.of(self._main)
        )

    def _heard_from(self, time: float) -> bool:
        """Whether the last pass covered all audio from shortly before the time."""
        others = (index for index in self._packets if index != self._main.index)
        return all(self._first.get(index, math.inf) <= time - PREROLL for index in others)

    def _reordered_seconds(self) -> float:
        """Seconds by which a frame may be displayed after the time of its packet."""
        if not self._without_pts or self._main.type != 'video' or not self._main.codec_context.has_b_frames:
            return 0.0
        return REORDER / float(self._main.average_rate or 1)


def _frame_seconds(stream: Any) -> float:
    """Duration of an audio frame in seconds, 0 if unknown, as for tracks that FFmpeg recognises late."""
    codec = stream.codec_context
    return codec.frame_size / codec.sample_rate if stream.type == 'audio' and codec.sample_rate else 0.0
