"""Which packets must be decoded to show the frames nearest to given times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# The second field of an interlaced frame may stand in a packet of its own.
FIELDS = 1


class FramePlan(NamedTuple):
    """What to decode.

    Attributes:
        runs: Ranges of packets to decode one after the other; the decoder is flushed between two of them.
        needed: Presentation times (in the stream's units) of the frames that will be kept.
    """

    runs: list[range]
    needed: frozenset[int]


def nearest(sorted_values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Indices of the values nearest to the wanted ones; of two as near, the earlier.

    Args:
        sorted_values: Values (N,), ascending, N >= 1.
        wanted: Any values (M,).

    Returns:
        Indices (M,) into ``sorted_values``.

    >>> nearest(np.array([0, 10, 20]), np.array([-5, 4, 5, 6, 99]))
    array([0, 0, 0, 1, 2])
    """
    right = np.clip(np.searchsorted(sorted_values, wanted), 1, max(len(sorted_values) - 1, 1))
    if len(sorted_values) == 1:
        return np.zeros(len(wanted), dtype=np.int64)
    left = right - 1
    return np.where(wanted - sorted_values[left] <= sorted_values[right] - wanted, left, right)


def plan_frames(pts: Sequence[int], keyframe: Sequence[bool], shown: Sequence[bool], wanted: np.ndarray) -> FramePlan:
    """Plans which groups of pictures to decode.

    A group is a keyframe and what follows it in the file; it is decoded as far as frames of it are wanted. A picture
    that is shown before its group's keyframe (an open group's leading picture) needs all of the group before, too.

    Args:
        pts: Presentation times of the packets, in file order.
        keyframe: Whether a decoder can start at the packet.
        shown: Whether the packet's picture is displayed (edit lists hide some).
        wanted: Times of the frames wanted (M,), in the units of ``pts``.

    Returns:
        The plan; empty where no packet is shown.
    """
    times = np.asarray(pts, dtype=np.int64)
    visible = np.sort(times[np.asarray(shown, dtype=bool)])
    if not len(visible):
        return FramePlan([], frozenset())
    needed = frozenset(visible[nearest(visible, wanted)].tolist())
    starts = [i for i, key in enumerate(keyframe) if key or i == 0]
    groups = [range(a, b) for a, b in zip(starts, [*starts[1:], len(times)], strict=True)]
    # Group -> where its decoding may stop.
    wanted_groups: dict[int, int] = {}
    for g, group in enumerate(groups):
        hits = [i for i in group if shown[i] and int(times[i]) in needed]
        if hits:
            wanted_groups[g] = min(hits[-1] + 1 + FIELDS, group.stop)
            if g and min(times[hits]) < times[group.start]:
                wanted_groups[g - 1] = groups[g - 1].stop
    runs: list[range] = []
    for g, stop in sorted(wanted_groups.items()):
        if runs and runs[-1].stop == groups[g].start:
            runs[-1] = range(runs[-1].start, stop)
        else:
            runs.append(range(groups[g].start, stop))
    return FramePlan(runs, needed)
