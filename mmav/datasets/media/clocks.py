"""Time stamps of files where FFmpeg's are missing or wrong: raw streams, concatenated recordings, AVI, some cut clips.

Known limitations: MP3 in AVI is late by the encoder's delay (25 ms at 44.1 kHz), and so is raw AAC, MP2 or AC-3 without
video (5 to 21 ms at 48 kHz), as no container says otherwise. Audio that starts late in AVI is heard immediately. PCM in
a program stream may be 20 ms late after a seek. FFmpeg seeks in FLV without an index from the start, reads Matroska
without a length once as a whole, and reads all headers of a fragmented mp4 file when opening it; it refuses the file if
one of these is damaged.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import av

from mmav.datasets.media.headers import AUDIO_HEAD, BACK, VIDEO_HEAD, clock_goes_back, frame_seconds
from mmav.datasets.media.opening import Watch, open_container
from mmav.datasets.media.video import OUTPUT_CORRUPT, WITHOUT_PTS, VideoDecoder, lacks_container

# Raw audio formats whose frames state their duration; MP3 may have a frame that describes the whole file.
COUNTED = ('mp3', 'aac', 'ac3', 'eac3')
# FFmpeg assumes that every frame is as long as the first; the two counts differ if they are this many seconds apart.
APART = 0.05
# Transport and program streams can be concatenated byte by byte.
RESTARTING = ('mpegts', 'mpeg')
# A jump ahead of more than this many seconds is a gap in the recording, or damage.
AHEAD = 10.0
# A packet of an MPEG program stream holds parts of frames. After a seek FFmpeg first finds the rest of a frame, gives
# it the time of the next frame, and counts on from there until the next time stamp.
PARTS_OF_FRAMES = ('mpeg',)
# The position of an AVI packet is that of its data, eight bytes after the position in the index.
AVI_CHUNK_HEADER = 8
# Number of packets after which an audio decoder must have returned its first frame.
FIRST_FRAME = 8

Packets = Iterator['av.Packet[Any]']


class Clock:
    """Corrects the time stamps of a file.

    Args:
        main: The main track.

    Attributes:
        wrong: Whether FFmpeg's time stamps, and its seeking, were found to be wrong.
        joins: Whether a file with a wrong clock is a concatenation of parts with their own clocks.
    """

    joins = False

    def __init__(self, main: Any) -> None:
        self.main = main
        self.wrong = False

    @property
    def must_start(self) -> bool:
        """Whether seeking by time would fail, so that the file must be read from its start."""
        return self.wrong

    def probe(self, path: str) -> None:
        """Checks whether the file's clock is wrong."""

    def mend(self, packets: Packets, *, searched: bool) -> Packets:
        """Corrects the times of packets read from the file's start or after a seek."""
        raise NotImplementedError


class CountedClock(Clock):
    """For raw streams without a container: the time of a frame follows from the durations of those before it."""

    @property
    def must_start(self) -> bool:
        """Whether seeking by time would fail."""
        return self.wrong or lacks_container(self.main.container.format)

    def mend(self, packets: Packets, *, searched: bool) -> Packets:
        """Sets the time of each packet if FFmpeg has none or a wrong one."""
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
    """Continues the clock of the main track over the parts of a file, and those of the other tracks with it."""

    joins = True

    def probe(self, path: str) -> None:
        """Checks whether the clock jumps back somewhere."""
        main = self.main
        end = main.start_time + main.duration if main.duration and main.start_time is not None else None
        self.wrong |= clock_goes_back(path, VIDEO_HEAD if main.type == 'video' else AUDIO_HEAD, end)

    def mend(self, packets: Packets, *, searched: bool) -> Packets:
        """Shifts the packets of later parts after those of earlier ones."""
        packets = self._straighten(packets)
        return _whole_frames(packets) if searched and self.main.container.format.name in PARTS_OF_FRAMES else packets

    def _straighten(self, packets: Packets) -> Packets:
        """Finds where the clock has jumped: where two consecutive packets say so.

        A single packet whose time differs from those around it is damaged and left out.
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
                # Not a packet's own duration, which may be that of the finest frame rate the encoder supports.
                step[track] = time - last.get(track, time)
            elif not held or not _follows(time, held[-1][0]):
                waiting[track] = [(time, packet)]
                continue
            elif held[0][0] < last[track]:
                if track != self.main.index and part.get(track, 0) + 1 == len(shifts):
                    # The main track's jump says how far; it comes at about the same position in the file.
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
    """Times the packets of an AVI file by its index, as far as that goes.

    FFmpeg counts packets. It misses those lost to damage. And as it seeks to the audio, too, it counts the empty
    packets (frames dropped while recording) on the way to the video twice.
    """

    def mend(self, packets: Packets, *, searched: bool) -> Packets:
        """Sets the times of packets from the index."""
        place: dict[int, int] = {}
        shift: dict[int, int] = {}
        for packet in packets:
            track = packet.stream_index
            index = packet.stream.index_entries
            if packet.dts is not None and packet.pos is not None and len(index) > 1:
                # How many units of the index make a tick of the track: it counts PCM in bytes. A packet of unknown
                # duration (WMA) is one tick.
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
    """Whether the time stamps of an audio track do not match its consecutive packets.

    Like DirectShow, FFmpeg counts a chunk of an AVI file that is longer than a block as several, though the header and
    FFmpeg's own muxer count it as one: the clock of AAC, DTS, Vorbis and G.726 then runs too fast. RealMedia's clock
    may stand still.

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
    # The header may also count empty chunks, which are not in the index.
    return counted - stream.duration > abs(stream.duration - chunks) + 1


def recounted(packets: Packets, tracks: Collection[int]) -> Packets:
    """Times the packets of some tracks by those before them, from the start of the file."""
    place: dict[int, int] = {}
    unknown: set[int] = set()
    for packet in packets:
        track = packet.stream_index
        if track in tracks and packet.dts is not None:
            length = packet.duration or 0
            # FFmpeg may not know yet how long the first packet is: as long as the second.
            packet.pts = packet.dts = place.get(track, packet.dts) + length * (track in unknown)
            place[track] = packet.dts + length
            unknown = unknown - {track} if length else unknown | {track}
        yield packet


def first_displayed(stream: Any, packets: Sequence[av.Packet[Any]], watch: Watch) -> int | None:
    """Time in ticks of the first displayed frame of a track in which no packet is marked as a keyframe.

    FFmpeg's H.264 decoder then drops intact frames, as it cannot tell. In display order, all frames from the first one
    that refers to no other are intact; this makes the decoder output them.
    """
    stream.codec_context.flags |= OUTPUT_CORRUPT
    return next((ticks for ticks, _ in VideoDecoder(stream, watch).frames(packets)), None)


def first_sample(stream: Any, source: Packets, head: list[av.Packet[Any]]) -> int | None:
    """Time in ticks of the first sample that the decoder returns; it may swallow the first packets (Vorbis).

    Args:
        stream: The track.
        source: The packets of the file.
        head: Packets taken from it are appended here.
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
    """Ticks by which FFmpeg shows the video too early in a clip that was cut without re-encoding.

    Such a clip has an edit list that hides frames up to the cut. FFmpeg shows the first frame after the cut at the cut,
    though it may belong up to one frame later; it cuts the audio exactly. Without FFmpeg's advanced handling of edit
    lists, its time stamps are those of the file.

    Args:
        stream: The track.
        first: Its first packet, which is hidden.
        watch: Keeps reading within limits.
    """
    with open_container(watch.path, limits=watch.limits, options={'advanced_editlist': '0'}) as plain:
        true = next((packet.pts for packet in plain.demux(plain.streams[stream.index])), None)
    # Lists of several edits need FFmpeg's advanced handling.
    late = 0 if true is None or first.pts is None else true - first.pts
    return late if 0 < late < (first.duration or 0) else 0
