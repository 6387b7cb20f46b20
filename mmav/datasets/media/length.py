"""How long a file is: what stands in it, as its header may promise more, less, or nothing.

A file whose index tells of every frame (mp4, mov) is measured by it. Of others the end is read, from shortly before the
place where the header promises it. Where there is no promise, or where it is a guess, as of sound without a container,
all packets are read once, without being decoded: that takes 4 us of processor time a packet, 0.5 s for an hour of MP3.
A process remembers what it found out about a file as long as that does not change.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import av

from .counted import is_counted
from .demux import MOV, lacks_container
from .packets import PacketSpan

# Sound decoders and encoders pad: a header knows to how many samples, time stamps do not.
PADDING = 0.1
# Read before the promised end, in seconds.
TAIL = 1.0
# FFmpeg's flag of formats in which it makes its own index while reading, as they have none.
GENERIC_INDEX = 0x100
# Some of these are searched exactly nonetheless.
SEARCHED = ('wav', 'w64', 'rawvideo', 'flac', 'ogg', 'ivf')
# These are read from their start whenever they are searched, or their end may tell less than all.
READ_WHOLE = ('flv', 'live_flv')
REMEMBERED = 1 << 15

_known: dict[tuple[str, int, int], Length] = {}


class Length(NamedTuple):
    """Seconds of a file by its content and by its header, and whether its clocks and counts can be trusted."""

    seconds: float
    promised: float
    joined: bool = False
    uneven: bool = False


def length_of(path: str, streams: Sequence[Any], packets: PacketSpan, frame: float) -> Length:
    """The length of a file, from time zero to the end of its longer track.

    Args:
        path: The file.
        streams: Its tracks, the main one first.
        packets: They are read, where the header does not do.
        frame: Seconds from one picture to the next.

    Raises:
        av.FFmpegError: It cannot be read.
    """
    status = os.stat(path)
    key = (path, status.st_size, status.st_mtime_ns)
    if key in _known:
        length = _known[key]
        packets.demuxer.note(joined=length.joined, uneven=length.uneven)
        return length
    container = streams[0].container
    promised = _promised(container, streams, packets)
    if container.format.name == MOV and all(_confirmed(stream, status.st_size) for stream in streams):
        seconds = promised
    else:
        seconds = _seen(container, streams, packets, promised, frame=frame)
    told = promised if _tells(streams[0]) else 0.0
    length = Length(seconds, told, packets.joined, packets.demuxer.uneven)
    if len(_known) >= REMEMBERED:
        _known.clear()
    _known[key] = length
    return length


def _tells(stream: Any) -> bool:
    """Whether a file says how long it is; of frames without a container FFmpeg guesses it from the first ones."""
    form = stream.container.format
    # Only MP3 with a header starts at a known sample, behind the encoder's delay.
    return bool(stream.start_time) if is_counted(form) else not lacks_container(form)


def _start(stream: Any, packets: PacketSpan) -> float:
    base, zero = packets.clock(stream)
    return 0.0 if stream.start_time is None else stream.start_time * base - zero


def _promised(container: Any, streams: Sequence[Any], packets: PacketSpan) -> float:
    ends = [
        _start(stream, packets) + float(stream.duration * stream.time_base) for stream in streams if stream.duration
    ]
    if not ends and container.duration:
        begin = (container.start_time or 0) / av.time_base
        zero = packets.clock(streams[0])[1] if container.start_time is not None else 0.0
        ends = [begin + container.duration / av.time_base - zero]
    return max(ends, default=0.0)


def _confirmed(stream: Any, size: int) -> bool:
    """Whether the index tells of a packet that is there and lasts until the track's declared end."""
    index = stream.index_entries
    last = len(index) - 1
    while last >= 0 and index[last].is_discard:
        last -= 1
    if last < 0 or not stream.duration or index[last].pos + index[last].size > size:
        return False
    first = next(k for k in range(last + 1) if not index[k].is_discard)
    until_last = index[last].timestamp - index[first].timestamp
    step = index[last].timestamp - index[last - 1].timestamp if last else stream.duration
    # What stands longer may be the last picture, or the index be one of a part only.
    return until_last < stream.duration <= until_last + max(3 * step, TAIL / stream.time_base)


def _seen(container: Any, streams: Sequence[Any], packets: PacketSpan, promised: float, *, frame: float) -> float:
    """The length by the last packets."""
    form = container.format
    told = _tells(streams[0])
    headed = is_counted(form) and told
    whole = (
        promised <= TAIL
        or packets.joined
        or form.name in READ_WHOLE
        or lacks_container(form)
        or (bool(form.flags & GENERIC_INDEX) and form.name not in SEARCHED and not headed)
    )
    packets.collect_end(0.0 if whole else promised - TAIL)
    ends = _ends(streams, packets, promised if told else 0.0, frame)
    wrong = not ends or packets.joined or (headed and abs(max(ends) - promised) > PADDING)
    if wrong and not whole:
        packets.collect_end()
        ends = _ends(streams, packets, promised if told else 0.0, frame)
    return max(0.0, *ends) if ends else 0.0


def _ends(streams: Sequence[Any], packets: PacketSpan, promised: float, frame: float) -> list[float]:
    ends = []
    for stream in streams:
        end = packets.end_of(stream, frame if stream.type == 'video' else 0.0)
        if stream.type == 'audio' and end - PADDING <= promised <= end:
            end = promised
        if end > -math.inf:
            ends.append(end)
    return ends
