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
# These files store no presentation times, and where frames are reordered FFmpeg guesses some of them wrongly. Decoding
# times in the order of display are exact there, as frames are equally far apart; the first one is shown as the sound
# starts, without the delay of a decoder that reorders.
WITHOUT_PTS = ('avi',)
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
        self._source = self._read()
        self._head: list[av.Packet[Any]] | None = []
        origin = float(self._first_ticks(self._head) * self._main.time_base)
        if container.format.name in WITHOUT_PTS:
            late = float((self._main.start_time or 0) * self._main.time_base) - origin
        else:
            late = self._late_picture(self._head)
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
            packet.pts * base - origin + (packet.duration * base if packet.duration else frame)
            for packet in self.of(self._main)
            if packet.pts is not None and not packet.is_discard
        )
        return max(ends, default=0.0)

    def _first_ticks(self, head: list[av.Packet[Any]]) -> int:
        first: list[int] = []
        key: int | None = None
        if self._main.type == 'video':
            for packet in self._source:
                head.append(packet)
                if packet.stream_index != self._main.index or packet.pts is None:
                    continue
                # What comes before the first keyframe, in the file or on the screen, cannot be decoded.
                if key is None and packet.is_keyframe:
                    key = packet.pts
                if key is not None and packet.pts >= key and not packet.is_discard:
                    first.append(packet.pts)
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

    def _from(self, time: float) -> Iterator[av.Packet[Any]]:
        """The packets from the keyframe before a time on."""
        head, self._head = self._head, None
        if time <= NEAR_START and head is not None:
            return chain(head, self._source)
        base, origin = self.clock(self._main)
        try:
            self._container.seek(round((max(time, 0.0) + origin) / base), stream=self._main)
        except av.FFmpegError:
            # Without a usable index: read from the start.
            self._container.seek(0)
        self._source = self._read()
        return self._source

    def _collect_from(self, seek_to: float, start: float, end: float) -> bool:
        self.clear()
        unfinished = set(self._packets)
        for packet in self._from(seek_to):
            index, pts = packet.stream_index, packet.pts
            base, origin = self._clock[index]
            kept = self._packets[index]
            if pts is not None and packet.is_keyframe:
                # Every packet of sound is a keyframe; its decoder needs some before the span.
                lead = 0.0 if packet.stream.type == 'video' else 2 * PREROLL
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
        return any(
            packet.is_keyframe and packet.pts is not None and packet.pts * base - origin <= time
            for packet in self.of(self._main)
        )
