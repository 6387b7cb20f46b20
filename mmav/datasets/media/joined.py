"""Recordings joined end to end, in which the clock starts again with each part."""

from __future__ import annotations

import itertools
import os
import re
import struct
from collections.abc import Iterator
from typing import Any

import av

# Transport and program streams may be joined by writing one file behind another.
RESTARTING = ('mpegts', 'mpeg')
# Decoding times rise within a part; what goes back further than this many seconds is another part, or damage.
BACK = 0.5
# What goes further ahead than this is a gap in the recording, or damage.
AHEAD = 10.0
# Places, spread over the file, at which its clock is looked at.
PROBES = 32
PROBE_BYTES = 1 << 16
CLOCK_RATE, CLOCK_RANGE = 90000, 1 << 33
# The head of a frame, or of some, up to its decoding time, or to that of presentation where they are the same. No
# codec's data may look like it.
_HEAD = rb'\x00\x00\x01[%s].{2}[\x80-\xbf](?:[\x80-\xbf].{6}|[\xc0-\xff].{11})'
VIDEO_HEADER = re.compile(rb'(' + _HEAD % rb'\xe0-\xef' + rb')', re.DOTALL)
AUDIO_HEADER = re.compile(rb'(' + _HEAD % rb'\xc0-\xdf' + rb')', re.DOTALL)
# The head of an Ogg page: its flags, its position (minus one where no packet ends), the number of its stream (RFC 3533,
# section 6).
OGG_PAGE = re.compile(rb'OggS\x00([\x00-\x07])(.{8})(.{4})', re.DOTALL)
FIRST_PAGE = 2


class JoinedParts:
    """Lets the clock of the main track run on over the parts of a file, and those of the other tracks with it.

    Args:
        main: Index of the main track.
    """

    def __init__(self, main: int) -> None:
        self.found = False
        self._main = main

    def probe(self, path: str, main: Any) -> None:
        """Looks whether the clock goes back somewhere; short parts between two places escape it.

        The bytes are looked at here: each search by FFmpeg in a transport stream leaves some memory behind.

        Args:
            path: The file.
            main: The main track.
        """
        header = VIDEO_HEADER if main.type == 'video' else AUDIO_HEADER
        times: list[int] = []
        with open(path, 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            for k in range(PROBES):
                file.seek(size * k // PROBES)
                found = header.search(file.read(PROBE_BYTES))
                if found:
                    # Bits 33 to 1, with a marker after each 15.
                    a, b, c = struct.unpack('>BHH', found[1][-5:])
                    times.append((a >> 1 & 7) << 30 | b >> 1 << 15 | c >> 1)
        if main.duration and main.start_time is not None:
            times.append((main.start_time + main.duration) % CLOCK_RANGE)
        back = [(before - after) / CLOCK_RATE for before, after in itertools.pairwise(times)]
        # Further back it has only come to its end, which FFmpeg knows.
        self.found |= any(BACK < seconds < CLOCK_RANGE / CLOCK_RATE / 2 for seconds in back)

    def straighten(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """Moves the packets of later parts behind those of earlier ones.

        A clock has jumped where two packets in a row say so; a single one with another time than those around it is
        damaged and left out.
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
                if track != self._main and part.get(track, 0) + 1 == len(shifts):
                    # The main track's jump tells how far; it comes at about the same place of the file.
                    held.append((time, packet))
                    continue
                part[track] = part.get(track, 0) + 1
                if part[track] == len(shifts):
                    shifts.append(shifts[-1] + last[track] + step[track] - held[0][0])
                    self.found = True
            for _, earlier in held:
                yield _moved(earlier, shifts[part.get(track, 0)])
            held.clear()
            last[track] = time
            yield _moved(packet, shifts[part.get(track, 0)])


def is_chained(path: str) -> bool:
    """Whether an Ogg file is joined of several: a stream begins behind pages of others, or at an earlier position.

    FFmpeg reads such a file once, forwards; a search within it leads to another part than it says.
    """
    reached: dict[bytes, int] = {}
    begun, done = False, 0
    with open(path, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        for k in range(PROBES):
            done = max(done, size * k // PROBES)
            file.seek(done)
            data = file.read(PROBE_BYTES)
            done += len(data)
            for flags, position, stream in OGG_PAGE.findall(data):
                # All streams of a part begin before any of them goes on.
                first, place = flags[0] & FIRST_PAGE, int.from_bytes(position, 'little', signed=True)
                again = begun and (first or stream not in reached)
                if again or 0 <= place < reached.get(stream, 0):
                    return True
                begun = begun or not first
                reached[stream] = max(place, reached.get(stream, 0))
    return False


def _follows(time: float, before: float) -> bool:
    return before - BACK <= time <= before + AHEAD


def _moved(packet: av.Packet[Any], shift: float) -> av.Packet[Any]:
    ticks = round(shift / float(packet.time_base or 1))
    if ticks:
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
    return packet
