"""Time stamps of files in which FFmpeg's are missing or wrong: raw frames, joined recordings, AVI, some cut clips.

What cannot be known here: MP3 in AVI is heard late by the encoder's delay (25 ms at 44.1 kHz), and so is raw AAC, MP2
or AC-3 without video (5 to 21 ms at 48 kHz), as no container says otherwise. Audio that starts late in AVI is heard at
once. Plain samples of a program stream may be 20 ms late after a search. FFmpeg searches FLV without an index from the
start, reads Matroska without a length once as a whole, and all headers of a fragmented mp4 file when it is opened; it
refuses the file if one of these is damaged.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import av

from mmav.datasets.media.headers import AUDIO_HEAD, BACK, VIDEO_HEAD, clock_goes_back, frame_seconds
from mmav.datasets.media.opening import Watch, open_container
from mmav.datasets.media.video import OUTPUT_CORRUPT, WITHOUT_PTS, VideoDecoder, lacks_container

# Formats of nothing but frames of audio, which say how long they last; of MP3 there may be a frame that tells of all.
COUNTED = ('mp3', 'aac', 'ac3', 'eac3')
# FFmpeg takes every frame to be as long as the first; so many seconds apart the two counts differ.
APART = 0.05
# Transport and program streams may be joined by writing one file behind another.
RESTARTING = ('mpegts', 'mpeg')
# What goes further ahead than this is a gap in the recording, or damage.
AHEAD = 10.0
# In an MPEG program stream a packet of the file holds parts of frames. What FFmpeg finds first after a search is the
# rest of a frame, to which it gives the time of the next, and it counts on from there until the next time stamp.
PARTS_OF_FRAMES = ('mpeg',)
# The position of an AVI packet is that of its data, behind eight bytes to which the index points.
AVI_CHUNK_HEADER = 8
# Packets after which an audio decoder must have given a first frame.
FIRST_FRAME = 8

Packets = Iterator['av.Packet[Any]']


class Clock:
    """Puts the time stamps of a file right.

    Args:
        main: The main track.

    Attributes:
        wrong: FFmpeg's time stamps, and its search, were found to be wrong.
        joins: A file whose clock is wrong is joined of parts with clocks of their own.
    """

    joins = False

    def __init__(self, main: Any) -> None:
        self.main = main
        self.wrong = False

    @property
    def must_start(self) -> bool:
        """Whether a search by time would lead astray, so that the file must be read from its start."""
        return self.wrong

    def probe(self, path: str) -> None:
        """Looks at the file for what makes the clock wrong."""

    def mend(self, packets: Packets, *, searched: bool) -> Packets:
        """Gives packets, read from the file's start on or after a search, their times."""
        raise NotImplementedError


class CountedClock(Clock):
    """Streams of frames without a container: when each is heard or seen follows from how long those before it last."""

    @property
    def must_start(self) -> bool:
        """Whether a search by time would lead astray."""
        return self.wrong or lacks_container(self.main.container.format)

    def mend(self, packets: Packets, *, searched: bool) -> Packets:
        """Gives each packet its time, where FFmpeg gives none, or a wrong one."""
        return packets if searched else self._count(packets)

    def _count(self, packets: Packets) -> Packets:
        base = float(self.main.time_base)
        heard = self.main.container.format.name in COUNTED
        place = 0.0  # ticks
        for packet in packets:
            if heard:
                seconds = frame_seconds(bytes(memoryview(packet)[:7]))
                length = (packet.duration or 0) if seconds is None else seconds / base
                self.wrong |= packet.pts is not None and abs(packet.pts - place) * base > APART
                if self.wrong:
                    packet.pts = packet.dts = round(place)
                    packet.duration = round(length)
            elif packet.pts is None and packet.dts is None:
                length = packet.duration or 1 / (float(self.main.guessed_rate or 25) * base)
                packet.pts = packet.dts = round(place)
            else:
                length = 0.0
            place += length
            yield packet


class JoinedClock(Clock):
    """Lets the clock of the main track run on over the parts of a file, and those of the other tracks with it."""

    joins = True

    def probe(self, path: str) -> None:
        """Looks whether the clock goes back somewhere."""
        main = self.main
        end = main.start_time + main.duration if main.duration and main.start_time is not None else None
        self.wrong |= clock_goes_back(path, VIDEO_HEAD if main.type == 'video' else AUDIO_HEAD, end)

    def mend(self, packets: Packets, *, searched: bool) -> Packets:
        """Moves the packets of later parts behind those of earlier ones."""
        packets = self._straighten(packets)
        return _whole_frames(packets) if searched and self.main.container.format.name in PARTS_OF_FRAMES else packets

    def _straighten(self, packets: Packets) -> Packets:
        """Finds where the clock has jumped: where two packets in a row say so.

        A single packet with another time than those around it is damaged and left out.
        """
        shifts = [0.0]
        part: dict[int, int] = {}
        last: dict[int, float] = {}
        step: dict[int, float] = {}
        waiting: dict[int, list[tuple[float, av.Packet[Any]]]] = {}
        for packet in packets:
            track = packet.stream_index
            stamp = packet.dts if packet.dts is not None else packet.pts
            if stamp is None:
                yield packet
                continue
            time = stamp * float(packet.time_base or 0)
            held = waiting.setdefault(track, [])
            if _follows(time, last.get(track, time)):
                held.clear()
                # Not a packet's own length, which may be that of the finest frame rate its encoder could have chosen.
                step[track] = time - last.get(track, time)
            elif not held or not _follows(time, held[-1][0]):
                waiting[track] = [(time, packet)]
                continue
            elif held[0][0] < last[track]:
                if track != self.main.index and part.get(track, 0) + 1 == len(shifts):
                    # The main track's jump tells how far; it comes at about the same place of the file.
                    held.append((time, packet))
                    continue
                part[track] = part.get(track, 0) + 1
                if part[track] == len(shifts):
                    shifts.append(shifts[-1] + last[track] + step[track] - held[0][0])
                    self.wrong = True
            for _, earlier in held:
                yield _moved(earlier, shifts[part.get(track, 0)])
            held.clear()
            last[track] = time
            yield _moved(packet, shifts[part.get(track, 0)])


def _follows(time: float, before: float) -> bool:
    return before - BACK <= time <= before + AHEAD


def _moved(packet: av.Packet[Any], shift: float) -> av.Packet[Any]:
    ticks = round(shift / float(packet.time_base or 1))
    if ticks:
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
    return packet


def _whole_frames(packets: Packets) -> Packets:
    stamped: dict[int, int] = {}
    for packet in packets:
        # Only packets with a time stamp in the file have a position.
        stamped[packet.stream_index] = stamped.get(packet.stream_index, 0) + (packet.pos is not None)
        if stamped[packet.stream_index] > 1:
            yield packet


class IndexClock(Clock):
    """Dates the packets of an AVI file by its index, as far as that goes.

    FFmpeg counts packets. It misses those lost to damage; and as a search leads to where the audio is, too, it counts
    the empty packets (frames dropped while filming) on the way to the video once more.
    """

    def mend(self, packets: Packets, *, searched: bool) -> Packets:
        """Gives packets the times of the index."""
        place: dict[int, int] = {}
        shift: dict[int, int] = {}
        for packet in packets:
            track = packet.stream_index
            index = packet.stream.index_entries
            if packet.dts is not None and packet.pos is not None and len(index) > 1:
                # How many units of the index make a tick of the track: it counts plain samples in bytes. A packet
                # whose length FFmpeg does not know (WMA) is one tick.
                unit = max(1, packet.size // (packet.duration or 1)) if _in_bytes(index) else 1
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


def _in_bytes(index: Any) -> bool:
    """Whether an AVI file's index counts bytes."""
    return index[0].size > 1 and index[1].timestamp - index[0].timestamp == index[0].size


def is_miscounted(stream: Any, head: Sequence[av.Packet[Any]]) -> bool:
    """Whether the time stamps of an audio track are not those of its packets, one behind the other.

    FFmpeg, as DirectShow, counts a chunk of an AVI file that is longer than a block as several, though its header, and
    FFmpeg's own muxer, count it as one: AAC, DTS, Vorbis, G.726 then run away. RealMedia's clock may stand still.

    Args:
        stream: The track.
        head: Its first packets.
    """
    dated = [(packet.dts, packet.duration) for packet in head if packet.dts is not None and packet.duration]
    steps = [(after - before, length) for (before, length), (after, _) in itertools.pairwise(dated)]
    guessed = stream.container.format.name in WITHOUT_PTS
    wrong = sum(step == 0 or (guessed and step >= 2 * length) for step, length in steps)
    if len(steps) > 2 and 2 * wrong > len(steps):
        return True
    index = stream.index_entries
    if not guessed or not stream.duration or len(index) < 2 or _in_bytes(index):
        return False
    chunks, counted = len(index), index[-1].timestamp - index[0].timestamp + 1
    # The header may count empty chunks, too, which the index does not know.
    return counted - stream.duration > abs(stream.duration - chunks) + 1


def recounted(packets: Packets, tracks: Collection[int]) -> Packets:
    """Dates the packets of some tracks by those before them, from the start of the file on."""
    place: dict[int, int] = {}
    for packet in packets:
        track = packet.stream_index
        if track in tracks and packet.dts is not None:
            packet.pts = packet.dts = place.get(track, packet.dts)
            place[track] = packet.dts + (packet.duration or 0)
        yield packet


def first_displayed(stream: Any, packets: Sequence[av.Packet[Any]], watch: Watch) -> int | None:
    """When the first frame of a track is shown in which no packet is marked as one to start with, in ticks.

    FFmpeg's decoder of H.264 is then never sure of what it has, and leaves out frames that are whole. From the first
    frame on that refers to no other, in the order of display, they are; from now on they are shown.
    """
    stream.codec_context.flags |= OUTPUT_CORRUPT
    return next((ticks for ticks, _ in VideoDecoder(stream, watch).frames(packets)), None)


def first_sample(stream: Any, source: Packets, head: list[av.Packet[Any]]) -> int | None:
    """Time in ticks of the first sample that comes out of the decoder, which may keep the first packets' (Vorbis).

    Args:
        stream: The track.
        source: The packets of the file.
        head: Where those go that are taken from it.
    """
    codec = stream.codec_context
    first = None
    for packet in itertools.islice(source, FIRST_FRAME):
        head.append(packet)
        try:
            frames = codec.decode(packet)
        except av.FFmpegError:
            continue
        if frames:
            first = frames[0].pts
            break
    codec.flush_buffers()
    return first


def late_frame(stream: Any, first: av.Packet[Any], watch: Watch) -> int:
    """Ticks by which FFmpeg shows the video of a clip too early that was cut without encoding it anew.

    Such a clip has an edit list that hides frames up to the cut. FFmpeg shows the first frame behind the cut at the
    cut, though it may belong up to one frame later; the audio it cuts exactly. With plain handling of the edit list
    its time stamps are those of the file.

    Args:
        stream: The track.
        first: Its first packet, which is hidden.
        watch: Keeps reading within limits.
    """
    with open_container(watch.path, limits=watch.limits, options={'advanced_editlist': '0'}) as plain:
        true = next((packet.pts for packet in plain.demux(plain.streams[stream.index])), None)
    # Lists of several edits cannot be handled plainly.
    late = 0 if true is None or first.pts is None else true - first.pts
    return late if 0 < late < (first.duration or 0) else 0
