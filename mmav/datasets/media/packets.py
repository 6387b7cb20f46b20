"""The compressed packets of a time span, collected in one pass over a file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import av

from .demux import Demuxer, lacks_pts
from .limits import Watch
from .opening import open_container, path_of
from .pictures import decode_frames, show_unmarked
from .track_end import TrackEnd

# Sound decoders need some packets before the first good sample (AAC one, MP3 up to nine, Opus 80 ms).
PREROLL = 0.25
# Tracks are interleaved in a file; where one has run this far past the span, the other holds nothing in it.
INTERLEAVE = 10.0
# A seek may land behind the span's first keyframe, or behind sound that is stored before its picture; then it is tried
# again from further back, at last from the start.
SEEK_BACK = (2 * PREROLL, 3.0, 12.0, 60.0, math.inf)
# Up to here a file is read from its start rather than searched.
NEAR_START = 1.0
# No decoder holds back more pictures than this; among so many the first one displayed is found.
REORDER = 17
# Some camcorders mark no picture as one to start with. So many are looked at before the first is decoded.
UNMARKED = 1000
# Sound that begins so many seconds before the picture, or two of its frames, is an encoder's delay. What begins earlier
# is heard before the first picture is seen.
ENCODER_DELAY = 0.15
# Packets after which a sound decoder must have given a first frame.
FIRST_SOUND = 8


class PacketSpan:
    """Collects packets of some tracks by time.

    Time zero is the first picture displayed, or the first sample where sound begins earlier or is alone, wherever the
    file's own clock stands and whatever its header says.

    Args:
        container: The open file.
        streams: The tracks, the main one first.
        watch: Keeps reading within limits; None for the usual ones.
    """

    def __init__(
        self, container: av.container.InputContainer, streams: Sequence[Any], *, watch: Watch | None = None
    ) -> None:
        self._container = container
        self._watch = watch or Watch(path_of(container))
        self._streams = streams
        self._main = streams[0]
        self._without_pts = lacks_pts(self._main)
        self._demuxer = Demuxer(container, streams)
        self._source: Iterator[av.Packet[Any]] = self._demuxer.read()
        self._head: list[av.Packet[Any]] | None = []
        origin = float(self._first_ticks(self._head) * self._main.time_base)
        stamps = (packet.dts for packet in self._head if packet.stream_index == self._main.index)
        self._begin = min((stamp for stamp in stamps if stamp is not None), default=self._main.start_time or 0)
        late = 0.0 if self._without_pts else self._late_picture(self._head)
        before = self._heard_before(self._head, origin + late)
        self._demuxer.probe(self._head)
        if self._demuxer.miscounted:
            self._head = None
        self._clock = {
            stream.index: (float(stream.time_base), origin - before + (0.0 if stream is self._main else late))
            for stream in streams
        }
        self._packets: dict[int, list[av.Packet[Any]]] = {stream.index: [] for stream in streams}
        self._ends = {stream.index: TrackEnd() for stream in streams}
        self._first: dict[int, float] = {}

    @property
    def demuxer(self) -> Demuxer:
        """Where the packets come from."""
        return self._demuxer

    @property
    def joined(self) -> bool:
        """Whether the file is joined of parts with clocks of their own, so that its header knows no length."""
        return self._demuxer.joined

    def of(self, stream: Any) -> list[av.Packet[Any]]:
        """The packets collected of a track, in the order of the file."""
        return self._packets[stream.index]

    def clock(self, stream: Any) -> tuple[float, float]:
        """Seconds per tick of a track's time stamps, and the seconds at which time zero lies on that clock."""
        return self._clock[stream.index]

    def time_of(self, packet: av.Packet[Any]) -> float | None:
        """When a packet's content is shown or heard, in seconds; None where the file does not say."""
        ticks = self._ticks(packet)
        base, origin = self._clock[packet.stream_index]
        return None if ticks is None else ticks * base - origin

    def clear(self) -> None:
        """Lets go of the packets."""
        self._packets = {stream.index: [] for stream in self._streams}

    def close(self) -> None:
        """Ends the reading."""
        self.clear()
        self._head, self._source = None, iter(())

    def collect(self, start: float, end: float) -> bool:
        """Collects the packets needed to decode a span, in place of those collected before.

        Args:
            start: Seconds.
            end: Seconds; infinity for the rest of the file.

        Returns:
            Whether the file ended before the span did, or soon after.

        Raises:
            av.FFmpegError: The file cannot be searched.
        """
        known = self._demuxer.must_start
        ended = False
        for back in SEEK_BACK:
            ended = self._collect_from(start - back, start, end)
            if (
                start <= back
                or known
                or (self._decodable_from(start) and (back > INTERLEAVE or self._heard_from(start)))
            ):
                break
        if self._demuxer.must_start and not known:
            # Where the search led is only known now.
            ended = self._collect_from(0.0, start, end)
        return ended

    def collect_end(self, start: float = 0.0) -> None:
        """Reads from a time in seconds to the file's end, and keeps what its last frames need."""
        self._collect_from(start, math.inf, math.inf)

    def end_of(self, stream: Any, frame: float = 0.0) -> float:
        """End in seconds of what was seen of a track in the last pass, minus infinity where that is nothing.

        Args:
            stream: The track.
            frame: Seconds that a packet lasts which does not say so.
        """
        return self._ends[stream.index].seconds(frame)

    def _first_ticks(self, head: list[av.Packet[Any]]) -> int:
        first: list[int] = []
        key: int | None = None
        unmarked = 0
        if self._main.type == 'video':
            for packet in self._source:
                head.append(packet)
                ticks = self._ticks(packet)
                if packet.stream_index != self._main.index or ticks is None:
                    continue
                # What comes before the first keyframe, in the file or on the screen, cannot be decoded.
                if key is None and packet.is_keyframe:
                    key = ticks
                if key is not None and ticks >= key and not packet.is_discard:
                    first.append(ticks)
                unmarked += key is None
                if len(first) == REORDER or unmarked == UNMARKED:
                    break
            if key is None:
                return self._first_displayed(head)
        return min(first, default=self._main.start_time or 0)

    def _first_displayed(self, head: Sequence[av.Packet[Any]]) -> int:
        """When the first picture is shown, found by decoding, as no packet is marked as one to start with."""
        show_unmarked(self._main)
        packets = [packet for packet in head if packet.stream_index == self._main.index]
        runs = [range(len(packets))]
        frames = decode_frames(
            self._main, packets, runs, needed=None, step=1, watch=self._watch, on_damage=lambda: None
        )
        return next((ticks for ticks, _ in frames), self._main.start_time or 0)

    def _heard_before(self, head: list[av.Packet[Any]], origin: float) -> float:
        """Seconds from the first sample to the first picture, 0 where that is no more than an encoder's delay."""
        if self._main.type == 'audio':
            return origin - self._first_sample(head, origin)
        before = 0.0
        for stream in self._streams:
            if stream is not self._main:
                codec, base = stream.codec_context, float(stream.time_base)
                frame = codec.frame_size / (codec.sample_rate or 1)
                packet = next((packet for packet in head if packet.stream_index == stream.index), None)
                stamp, length = (None, 0) if packet is None else (packet.pts, packet.duration or 0)
                begin = stamp if stream.start_time is None else stream.start_time
                if begin is None:
                    continue
                # A longer packet is an encoder's delay, drawn out to where the sound begins (fragmented mp4 files).
                drawn_out = stamp == begin and length * base > 2 * frame > 0
                lead = origin - (begin + length * drawn_out) * base
                before = max(before, lead if lead > max(ENCODER_DELAY, 2 * frame) else 0.0)
        return before

    def _first_sample(self, head: list[av.Packet[Any]], origin: float) -> float:
        """Time of the first sample that comes out of the decoder, which may keep the first packets' (Vorbis)."""
        codec = self._main.codec_context
        for packet in itertools.islice(self._source, FIRST_SOUND):
            head.append(packet)
            try:
                frames = codec.decode(packet)
            except av.FFmpegError:
                continue
            if frames:
                first = frames[0].pts
                codec.flush_buffers()
                return origin if first is None else float(first * self._main.time_base)
        codec.flush_buffers()
        return origin

    def _late_picture(self, head: Sequence[av.Packet[Any]]) -> float:
        """Seconds by which FFmpeg shows the picture too early.

        A clip cut without re-encoding has an edit list that hides frames up to the cut. FFmpeg shows the first frame
        behind the cut at the cut, though it may belong up to one frame later; the sound it cuts exactly. With plain
        handling of the edit list its time stamps are those of the file.
        """
        first = next((packet for packet in head if packet.stream_index == self._main.index), None)
        if first is None or not first.is_discard or first.pts is None or not first.duration:
            return 0.0
        with open_container(self._watch.path, limits=self._watch.limits, options={'advanced_editlist': '0'}) as plain:
            true = next((packet.pts for packet in plain.demux(plain.streams[self._main.index])), None)
        # Lists of several edits cannot be handled plainly.
        late = 0 if true is None else true - first.pts
        return float(late * self._main.time_base) if 0 < late < first.duration else 0.0

    def _ticks(self, packet: av.Packet[Any]) -> int | None:
        """When a packet's content is displayed; of files that do not say it, when it is decoded."""
        return packet.dts if self._without_pts else packet.pts

    def _from(self, time: float) -> Iterator[av.Packet[Any]]:
        """The packets from the keyframe before a time on."""
        head, self._head = self._head, None
        if time <= NEAR_START and head is not None:
            return chain(head, self._source)
        base, origin = self.clock(self._main)
        if time <= NEAR_START or self._demuxer.must_start:
            # Some searches go by decoding time, which begins before time zero.
            self._source = self._demuxer.read_from_start(self._begin)
        else:
            self._source = self._demuxer.read_after(round((time + origin) / base))
        return self._source

    def _collect_from(self, seek_to: float, start: float, end: float) -> bool:
        self.clear()
        self._ends = {index: TrackEnd() for index in self._packets}
        self._first = {}
        unfinished = set(self._packets)
        past = dict.fromkeys(self._packets, 0)
        reordered = self._reordered_seconds()
        self._watch.begin_pass()
        for packet in self._from(seek_to):
            index, ticks = packet.stream_index, self._ticks(packet)
            base, origin = self._clock[index]
            kept = self._packets[index]
            if ticks is None and not packet.is_discard:
                self._ends[index].add_undated(_frame_seconds(packet.stream))
            if ticks is not None:
                time = ticks * base - origin
                self._watch.check_packet(packet, time)
                self._first.setdefault(index, time)
                # Every packet of sound is a keyframe; its decoder needs some before the span.
                lead = reordered if packet.stream.type == 'video' else 2 * PREROLL
                if packet.is_keyframe and time <= start - lead:
                    kept.clear()
                if not packet.is_discard:
                    self._ends[index].add(time, (packet.duration or 0) * base or _frame_seconds(packet.stream))
            if index in unfinished:
                kept.append(packet)
            # Decoding time never exceeds presentation time, so all that follows is displayed after the span, too.
            clock = packet.dts if packet.dts is not None else ticks
            time = -math.inf if clock is None else clock * base - origin
            # One packet alone may be damaged.
            past[index] = past[index] + 1 if time > end + PREROLL else 0
            if past[index] > 1:
                unfinished.discard(index)
                # Only the end of a joined file tells its length.
                if (not unfinished or time > end + INTERLEAVE) and not self.joined:
                    return False
        return True

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
        """Whether the last pass came by all sound from shortly before the time on."""
        sounds = (index for index in self._packets if index != self._main.index)
        return all(self._first.get(index, math.inf) <= time - PREROLL for index in sounds)

    def _reordered_seconds(self) -> float:
        """Seconds by which a frame may be displayed after the time of its packet."""
        if not self._without_pts or self._main.type != 'video' or not self._main.codec_context.has_b_frames:
            return 0.0
        return REORDER / float(self._main.average_rate or 1)


def _frame_seconds(stream: Any) -> float:
    """Seconds of a frame of sound, 0 where that is unknown: of tracks that FFmpeg comes to know late it dates few."""
    codec = stream.codec_context
    return codec.frame_size / codec.sample_rate if stream.type == 'audio' and codec.sample_rate else 0.0
