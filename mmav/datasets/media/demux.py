"""Packets out of a file, with the time stamps that a reading from its start gives, past damaged places.

What cannot be known here: MP3 in AVI is heard late by the encoder's delay (25 ms at 44.1 kHz), and so is raw AAC, MP2
or AC-3 without a picture (5 to 21 ms at 48 kHz), as no container says otherwise. FFmpeg searches FLV without an index
from the start, reads Matroska without a length once as a whole, and all headers of a fragmented mp4 file when it is
opened; it refuses the file if one of these is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import av

from .joined import RESTARTING, JoinedParts

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


class Demuxer:
    """Reads the packets of some tracks.

    Args:
        container: The open file.
        streams: The tracks, the main one first.
    """

    def __init__(self, container: av.container.InputContainer, streams: Sequence[Any]) -> None:
        self._container = container
        self._streams = streams
        self._main = streams[0]
        self._joined = JoinedParts(self._main.index)

    @property
    def joined(self) -> bool:
        """Whether the file is known to be joined of parts with clocks of their own: it must be read from its start."""
        return self._joined.found

    def probe(self) -> None:
        """Looks for parts with clocks of their own."""
        if self._container.format.name in RESTARTING:
            self._joined.probe(self._container.name, self._main)

    def read(self) -> Iterator[av.Packet[Any]]:
        """The packets from where the file stands on."""
        if self._container.format.name in WITHOUT_PTS:
            return self._redated()
        packets = self._demux()
        return self._joined.straighten(packets) if self._container.format.name in RESTARTING else packets

    def read_from_start(self, begin: int) -> Iterator[av.Packet[Any]]:
        """The packets from the file's start on.

        Args:
            begin: Where the main track begins, in its ticks.
        """
        if self._container.format.name in RESTARTING:
            # A search by time may lead to a later part.
            self._container.seek(0, unsupported_byte_offset=True)
        elif not self._seek(begin):
            self._container.seek(0)
        return self.read()

    def read_after(self, target: int) -> Iterator[av.Packet[Any]]:
        """The packets from the keyframe before a time of the main track, in its ticks, on."""
        if not self._seek(target):
            # Without a usable index: read from the start.
            self._container.seek(0)
            return self.read()
        return self._whole_frames() if self._container.format.name in PARTS_OF_FRAMES else self.read()

    def _seek(self, target: int) -> bool:
        try:
            self._container.seek(target, stream=self._main)
        except av.FFmpegError:
            return False
        return True

    def _demux(self) -> Iterator[av.Packet[Any]]:
        errors = 0
        while errors <= DEMUX_ERRORS:
            packets: Any = self._container.demux(self._streams)
            try:
                for packet in packets:
                    # FFmpeg marks the last packet before a gap, too, which may be whole. A damaged picture is covered
                    # up by its decoder, damaged sound would crack.
                    if packet.size and not (packet.is_corrupt and packet.stream.type == 'audio'):
                        yield packet
                return
            except (av.FFmpegError, IndexError):
                # Damage may look like a packet of a track that does not exist: PyAV has no stream for it.
                errors += 1
            finally:
                # PyAV leaks the packet at which a reading is broken off, unless it is told so.
                packets.close()

    def _whole_frames(self) -> Iterator[av.Packet[Any]]:
        stamped = dict.fromkeys((stream.index for stream in self._streams), 0)
        for packet in self.read():
            # Only packets with a time stamp in the file have a position.
            stamped[packet.stream_index] += packet.pos is not None
            if stamped[packet.stream_index] > 1:
                yield packet

    def _redated(self) -> Iterator[av.Packet[Any]]:
        """Dates the packets of an AVI file by its index, as far as that goes.

        FFmpeg counts packets. It misses those lost to damage; and as a search leads to where the sound stands, too, it
        counts the empty packets (frames dropped while filming) on the way to the picture once more.
        """
        place: dict[int, int] = {}
        shift: dict[int, int] = {}
        for packet in self._demux():
            track = packet.stream_index
            index = packet.stream.index_entries
            if packet.dts is not None and packet.pos is not None and len(index) > 1:
                unit = _index_unit(packet)
                start = packet.pos - AVI_CHUNK_HEADER
                k = place[track] if track in place else max(index.search_timestamp(packet.dts * unit), 0)
                while k > 0 and index[k].pos > start:
                    k -= 1
                while k + 1 < len(index) and index[k].pos < start:
                    k += 1
                place[track] = k
                if index[k].pos == start:
                    shift[track] = index[k].timestamp // unit - packet.dts
            if packet.dts is not None and shift.get(track):
                packet.dts += shift[track]
                packet.pts = packet.dts
            yield packet


def _index_unit(packet: av.Packet[Any]) -> int:
    """How many units of an AVI file's index make a tick of the track: it counts plain samples in bytes."""
    index = packet.stream.index_entries
    in_bytes = index[0].size > 1 and index[1].timestamp - index[0].timestamp == index[0].size
    return max(1, packet.size // packet.duration) if in_bytes and packet.duration else 1
