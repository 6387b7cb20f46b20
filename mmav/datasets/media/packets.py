"""The compressed packets of a time span, collected in one pass over a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import av

# Sound decoders need some packets before the first good sample (AAC one, MP3 up to nine, Opus 80 ms).
PREROLL = 0.25
# Tracks are interleaved in a file; where one has run this far past the span, the other holds nothing in it.
INTERLEAVE = 10.0
# A seek may land behind the span's first keyframe; then it is tried again from further back, at last from the start.
SEEK_BACK = (PREROLL, 2.0, 10.0, math.inf)
# Up to here a file is read from its start rather than searched.
NEAR_START = 1.0
# A demuxer may recover behind damage; a few tries, so that a hopeless file ends.
DEMUX_ERRORS = 8
# These files store no presentation times, and where frames are reordered FFmpeg guesses some of them wrongly. Their
# decoding times, taken in the order of display, are exact: the first one is shown as the sound starts, without the
# delay of a decoder that reorders.
WITHOUT_PTS = ('avi',)
# In an MPEG program stream a packet of the file holds parts of frames. What FFmpeg finds first after a search is the
# rest of a frame, to which it gives the time of the next, and it counts on from there until the next time stamp.
PARTS_OF_FRAMES = ('mpeg',)
# The position of an AVI packet is that of its data, behind eight bytes to which the index points.
AVI_CHUNK_HEADER = 8
# No decoder holds back more pictures than this; among so many the first one displayed is found.
REORDER = 17


class PacketSpan:
    """Collects packets of some tracks by time.

    Time zero is what is displayed first of the main track, wherever the file's own clock stands and whatever its header
    says; for sound alone, its first sample.

    Args:
        container: The open file.
        streams: The tracks, the main one first.
    """

    def __init__(self, container: av.container.InputContainer, streams: Sequence[Any]) -> None:
        self._container = container
        self._streams = streams
        self._main = streams[0]
        self._without_pts = container.format.name in WITHOUT_PTS
        self._source = self._read()
        self._head: list[av.Packet[Any]] | None = []
        origin = float(self._first_ticks(self._head) * self._main.time_base)
        stamps = (packet.dts for packet in self._head if packet.stream_index == self._main.index)
        self._begin = min((stamp for stamp in stamps if stamp is not None), default=self._main.start_time or 0)
        late = 0.0 if self._without_pts else self._late_picture(self._head)
        self._clock = {
            stream.index: (float(stream.time_base), origin if stream is self._main else origin + late)
            for stream in streams
        }
        self._packets: dict[int, list[av.Packet[Any]]] = {stream.index: [] for stream in streams}

    def of(self, stream: Any) -> list[av.Packet[Any]]:
        """The packets collected of a track, in the order of the file."""
        return self._packets[stream.index]

    def clock(self, stream: Any) -> tuple[float, float]:
        """Seconds per tick of a track's time stamps, and the seconds at which time zero lies on that clock."""
        return self._clock[stream.index]

    def clear(self) -> None:
        """Lets go of the packets."""
        self._packets = {stream.index: [] for stream in self._streams}

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
        ended = False
        for back in SEEK_BACK:
            ended = self._collect_from(start - back, start, end)
            if start <= back or self._decodable_from(start):
                break
        return ended

    def last_time(self, frame: float) -> float:
        """End in seconds of what is collected of the main track, 0 where that is nothing.

        Args:
            frame: Seconds that a packet lasts which does not say so.
        """
        base, origin = self.clock(self._main)
        ends = (
            ticks * base - origin + (packet.duration * base if packet.duration else frame)
            for packet in self.of(self._main)
            if (ticks := self._ticks(packet)) is not None and not packet.is_discard
        )
        return max(ends, default=0.0)

    def _first_ticks(self, head: list[av.Packet[Any]]) -> int:
        first: list[int] = []
        key: int | None = None
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
                if len(first) == REORDER:
                    break
        return min(first, default=self._main.start_time or 0)

    def _late_picture(self, head: Sequence[av.Packet[Any]]) -> float:
        """Seconds by which FFmpeg shows the picture too early.

        A clip cut without re-encoding has an edit list that hides frames up to the cut. FFmpeg shows the first frame
        behind the cut at the cut, though it may belong up to one frame later; the sound it cuts exactly. With plain
        handling of the edit list its time stamps are those of the file.
        """
        first = next((packet for packet in head if packet.stream_index == self._main.index), None)
        if first is None or not first.is_discard or first.pts is None or not first.duration:
            return 0.0
        with av.open(self._container.name, metadata_errors='replace', options={'advanced_editlist': '0'}) as plain:
            true = next((packet.pts for packet in plain.demux(plain.streams[self._main.index])), None)
        # Lists of several edits cannot be handled plainly.
        late = 0 if true is None else true - first.pts
        return float(late * self._main.time_base) if 0 < late < first.duration else 0.0

    def _read(self) -> Iterator[av.Packet[Any]]:
        """The packets from where the file stands; damaged places are passed over."""
        errors = 0
        while errors <= DEMUX_ERRORS:
            try:
                for packet in self._container.demux(self._streams):
                    if packet.size and not packet.is_corrupt:
                        yield packet
                return
            except av.FFmpegError:  # noqa: PERF203 (a round is a stretch of the file, not a packet)
                errors += 1

    def _ticks(self, packet: av.Packet[Any]) -> int | None:
        """When a packet's content is displayed; of files that do not say it, when it is decoded."""
        return packet.dts if self._without_pts else packet.pts

    def _read_after_seek(self) -> Iterator[av.Packet[Any]]:
        """The packets from where a search led, with the time stamps that a reading from the start would give."""
        packets = self._read()
        if self._container.format.name in PARTS_OF_FRAMES:
            stamped = dict.fromkeys(self._clock, 0)
            for packet in packets:
                # Only packets with a time stamp in the file have a position.
                stamped[packet.stream_index] += packet.pos is not None
                if stamped[packet.stream_index] > 1:
                    yield packet
            return
        shift: int | None = None
        for packet in packets:
            if self._without_pts and packet.stream_index == self._main.index:
                if shift is None:
                    shift = self._seek_error(packet)
                packet.dts = None if packet.dts is None else packet.dts - shift
            yield packet

    def _seek_error(self, packet: av.Packet[Any]) -> int:
        """Ticks by which FFmpeg dates a packet of an AVI file too late after a search.

        It searches the place at which the sound stands, too, and counts the empty packets (frames that were dropped
        while filming) that it passes on the way to the picture.
        """
        index = self._main.index_entries
        if packet.pos is None or packet.dts is None:
            return 0
        start = packet.pos - AVI_CHUNK_HEADER
        k = index.search_timestamp(packet.dts)
        while k > 0 and index[k].pos > start:
            k -= 1
        found = k >= 0 and index[k].pos == start
        return packet.dts - index[k].timestamp if found else 0

    def _from(self, time: float) -> Iterator[av.Packet[Any]]:
        """The packets from the keyframe before a time on."""
        head, self._head = self._head, None
        if time <= NEAR_START and head is not None:
            return chain(head, self._source)
        self._source = self._read() if time <= NEAR_START else self._read_after_seek()
        base, origin = self.clock(self._main)
        # Some searches go by decoding time, which begins before time zero.
        target = self._begin if time <= NEAR_START else round((time + origin) / base)
        try:
            self._container.seek(target, stream=self._main)
        except av.FFmpegError:
            # Without a usable index: read from the start.
            self._container.seek(0)
            self._source = self._read()
        return self._source

    def _collect_from(self, seek_to: float, start: float, end: float) -> bool:
        self.clear()
        unfinished = set(self._packets)
        reordered = self._reordered_seconds()
        for packet in self._from(seek_to):
            index, pts = packet.stream_index, self._ticks(packet)
            base, origin = self._clock[index]
            kept = self._packets[index]
            if pts is not None and packet.is_keyframe:
                # Every packet of sound is a keyframe; its decoder needs some before the span.
                lead = reordered if packet.stream.type == 'video' else 2 * PREROLL
                if pts * base - origin <= start - lead:
                    kept.clear()
            kept.append(packet)
            # Decoding time never exceeds presentation time, so all that follows is displayed after the span, too.
            clock = packet.dts if packet.dts is not None else pts
            time = -math.inf if clock is None else clock * base - origin
            if time > end + PREROLL:
                unfinished.discard(index)
                if not unfinished or time > end + INTERLEAVE:
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

    def _reordered_seconds(self) -> float:
        """Seconds by which a frame may be displayed after the time of its packet."""
        if not self._without_pts or self._main.type != 'video' or not self._main.codec_context.has_b_frames:
            return 0.0
        return REORDER / float(self._main.average_rate or 1)
