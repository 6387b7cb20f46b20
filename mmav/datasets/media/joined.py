"""Recordings joined end to end, in which the clock starts again with each part."""

from __future__ import annotations

import itertools
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
PROBES = 8


class JoinedParts:
    """Lets the clock of the main track run on over the parts of a file, and those of the other tracks with it.

    Args:
        main: Index of the main track.
    """

    def __init__(self, main: int) -> None:
        self.found = False
        self._main = main

    def probe(self, container: av.container.InputContainer, main: Any, size: int) -> None:
        """Looks whether the clock goes back somewhere; short parts between two places escape it.

        Args:
            container: The file; it stands anywhere afterwards.
            main: The main track.
            size: Bytes of the file.
        """
        times: list[float] = []
        for k in range(1, PROBES):
            try:
                container.seek(size * k // PROBES, unsupported_byte_offset=True)
                stamps = (packet.dts for packet in container.demux(main))
                times += [stamp * float(main.time_base) for stamp in itertools.islice(stamps, 1) if stamp is not None]
            except av.FFmpegError:  # noqa: PERF203 (each place may be damaged)
                continue
        if main.duration and main.start_time is not None:
            times.append((main.start_time + main.duration) * float(main.time_base))
        self.found |= any(after < before - BACK for before, after in itertools.pairwise(times))

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


def _follows(time: float, before: float) -> bool:
    return before - BACK <= time <= before + AHEAD


def _moved(packet: av.Packet[Any], shift: float) -> av.Packet[Any]:
    ticks = round(shift / float(packet.time_base or 1))
    if ticks:
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
    return packet
