"""Packets out of a file, with the time stamps that a reading from its start gives, past damaged places.

What cannot be known here: MP3 in AVI is heard late by the encoder's delay (25 ms at 44.1 kHz), and so is raw AAC, MP2
or AC-3 without a picture (5 to 21 ms at 48 kHz), as no container says otherwise. Sound that starts late in AVI is heard
at once. Plain samples of a program stream may be 20 ms late after a search. FFmpeg searches FLV without an index
from the start, reads Matroska without a length once as a whole, and all headers of a fragmented mp4 file when it is
opened; it refuses the file if one of these is damaged.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import av

from mmav.errors import MediaError

from .counted import Counter, is_counted
from .joined import RESTARTING, JoinedParts, is_chained
from .opening import path_of

# A demuxer may recover behind damage; a few tries, so that a hopeless file ends.
DEMUX_ERRORS = 8
# Each track has an index of its own in these.
MOV = 'mov,mp4,m4a,3gp,3g2,mj2'
# These files store no presentation times, and where frames are reordered FFmpeg guesses some of them wrongly. Their
# decoding times, taken in the order of display, are exact: the first one is shown as the sound starts, without the
# delay of a decoder that reorders.
WITHOUT_PTS = ('avi',)
# Nor does FFmpeg give times to the frames of these codecs where there is no container.
UNDATED = ('h264', 'hevc', 'vvc', 'vc1', 'cavs')
# In an MPEG program stream a packet of the file holds parts of frames. What FFmpeg finds first after a search is the
# rest of a frame, to which it gives the time of the next, and it counts on from there until the next time stamp.
PARTS_OF_FRAMES = ('mpeg',)
# FFmpeg's flag of formats that hold frames and nothing else: a search in them would lead nowhere.
NO_TIMESTAMPS = 0x80
# The position of an AVI packet is that of its data, behind eight bytes to which the index points.
AVI_CHUNK_HEADER = 8


def lacks_container(form: av.ContainerFormat) -> bool:
    """Whether files of a format hold a track's frames and nothing else."""
    return bool(form.flags & NO_TIMESTAMPS)


def lacks_pts(stream: Any) -> bool:
    """Whether the time stamps of a picture track are those of decoding, which are exact in the order of display."""
    form = stream.container.format
    return form.name in WITHOUT_PTS or (lacks_container(form) and stream.codec_context.name in UNDATED)


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
        self._miscounted: set[int] = set()
        self._raw = lacks_container(container.format)
        self._counter = Counter(self._main) if self._raw or is_counted(container.format) else None

    @property
    def must_start(self) -> bool:
        """Whether a search by time would lead astray, so that the file must be read from its start."""
        return self.joined or self._raw or self.miscounted or (self._counter is not None and self._counter.uneven)

    @property
    def joined(self) -> bool:
        """Whether the file is known to be joined of parts with clocks of their own."""
        return self._joined.found

    def note(self, *, joined: bool, uneven: bool) -> None:
        """Takes over what an earlier reading of the whole file found out."""
        self._joined.found |= joined
        if self._counter is not None:
            self._counter.uneven |= uneven

    @property
    def uneven(self) -> bool:
        """Whether FFmpeg counts wrongly, as the frames of a raw stream change their length."""
        return self._counter is not None and self._counter.uneven

    @property
    def miscounted(self) -> bool:
        """Whether FFmpeg gives sound wrong times: what has been read of it, and any search by it, are of no use."""
        return bool(self._miscounted)

    def probe(self, head: Sequence[av.Packet[Any]] = ()) -> None:
        """Looks for parts with clocks of their own, and for sound that FFmpeg dates wrongly.

        Args:
            head: The first packets of the file.

        Raises:
            MediaError: It is joined of parts that cannot be read as one.
        """
        self._miscounted = {
            stream.index
            for stream in self._streams
            if stream.type == 'audio' and _is_miscounted(stream, [p for p in head if p.stream_index == stream.index])
        }
        if self._container.format.name == 'ogg' and is_chained(path_of(self._container)):
            raise MediaError(
                path_of(self._container),
                'is joined of several Ogg files, which cannot be searched; write it anew, as with ffmpeg -i IN OUT',
            )
        if self._container.format.name in RESTARTING:
            self._joined.probe(path_of(self._container), self._main)

    def read(self) -> Iterator[av.Packet[Any]]:
        """The packets from the file's start on, where it stands."""
        packets = self._read(self._counter)
        return self._counted(packets) if self._miscounted else packets

    def _read(self, counter: Counter | None) -> Iterator[av.Packet[Any]]:
        if counter is not None:
            return counter.count(self._demux())
        if self._container.format.name in WITHOUT_PTS:
            return self._redated()
        packets = self._demux()
        return self._joined.straighten(packets) if self._container.format.name in RESTARTING else packets

    def read_from_start(self, begin: int) -> Iterator[av.Packet[Any]]:
        """The packets from the file's start on.

        Args:
            begin: Where the main track begins, in its ticks.
        """
        if self._container.format.name in RESTARTING or self._counter is not None:
            # A search by time may lead to a later part, or nowhere.
            try:
                self._container.seek(0, unsupported_byte_offset=True)
            except av.FFmpegError:
                self._container.seek(0)
        elif not self._seek_first() and not self._seek(begin):
            self._container.seek(0)
        return self.read()

    def _seek_first(self) -> bool:
        """Searches for what the file stores first; a search by the main track misses what others have before that."""
        indexed = [stream for stream in self._streams if len(stream.index_entries)]
        if self._container.format.name == MOV or not indexed:
            return False
        first = min(indexed, key=lambda stream: stream.index_entries[0].pos)
        return self._seek(first.index_entries[0].timestamp, first)

    def read_after(self, target: int) -> Iterator[av.Packet[Any]]:
        """The packets from the keyframe before a time of the main track, in its ticks, on."""
        if self._miscounted or not self._seek(target):
            # Without a usable index: read from the start.
            self._container.seek(0)
            return self.read()
        return self._whole_frames() if self._container.format.name in PARTS_OF_FRAMES else self._read(None)

    def _seek(self, target: int, stream: Any = None) -> bool:
        try:
            self._container.seek(target, stream=stream or self._main)
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
                    # up by its decoder, damaged sound would crack; plain samples are only cut short.
                    if packet.size and not (packet.is_corrupt and _would_crack(packet.stream)):
                        yield packet
                return
            except (av.FFmpegError, IndexError):
                # Damage may look like a packet of a track that does not exist: PyAV has no stream for it.
                errors += 1
            finally:
                # PyAV leaks the packet at which a reading is broken off, unless it is told so.
                packets.close()

    def _counted(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """Dates sound by the packets before it, from the start of the file on."""
        place: dict[int, int] = {}
        for packet in packets:
            track = packet.stream_index
            if track in self._miscounted and packet.dts is not None:
                packet.pts = packet.dts = place.get(track, packet.dts)
                place[track] = packet.dts + (packet.duration or 0)
            yield packet

    def _whole_frames(self) -> Iterator[av.Packet[Any]]:
        stamped = dict.fromkeys((stream.index for stream in self._streams), 0)
        for packet in self._read(None):
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


def _would_crack(stream: Any) -> bool:
    return stream.type == 'audio' and not stream.codec_context.name.startswith('pcm_')


def _is_miscounted(stream: Any, head: Sequence[av.Packet[Any]]) -> bool:
    """Whether the time stamps of a sound track are not those of its packets, one behind the other.

    FFmpeg, as DirectShow, counts a chunk of an AVI file that is longer than a block as several, though its header, and
    FFmpeg's own muxer, count it as one: AAC, DTS, Vorbis, G.726 then run away. RealMedia's clock may stand still.
    """
    dated = [(packet.dts, packet.duration) for packet in head if packet.dts is not None and packet.duration]
    steps = [(after - before, length) for (before, length), (after, _) in itertools.pairwise(dated)]
    guessed = stream.container.format.name in WITHOUT_PTS
    wrong = [step for step, length in steps if step == 0 or (guessed and step >= 2 * length)]
    if len(steps) > 2 and 2 * len(wrong) > len(steps):
        return True
    index = stream.index_entries
    if not guessed or not stream.duration or len(index) < 2 or _in_bytes(index):
        return False
    chunks, counted = len(index), index[-1].timestamp - index[0].timestamp + 1
    # The header may count empty chunks, too, which the index does not know.
    return counted - stream.duration > abs(stream.duration - chunks) + 1


def _in_bytes(index: Any) -> bool:
    """Whether an AVI file's index counts bytes."""
    return index[0].size > 1 and index[1].timestamp - index[0].timestamp == index[0].size


def _index_unit(packet: av.Packet[Any]) -> int:
    """How many units of an AVI file's index make a tick of the track: it counts plain samples in bytes."""
    index = packet.stream.index_entries
    # A packet whose length FFmpeg does not know (WMA) is one tick.
    return max(1, packet.size // (packet.duration or 1)) if _in_bytes(index) else 1
