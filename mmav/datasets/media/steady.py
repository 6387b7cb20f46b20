"""Times of sound frames that follow each other as their samples do, where time stamps waver."""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np

from .waveform import GAP

# A gap lasts; time stamps that were taken as packets arrived (recordings of calls, of phones) come back within this
# many seconds.
LASTING = 0.2

Frames = list[tuple[float, av.AudioFrame]]


def steady(frames: Sequence[tuple[float, av.AudioFrame]], *, gap: float = GAP) -> Frames:
    """Dates frames by the samples before them, as a player that has begun to play does.

    Only where time stamps stay away from that is there a gap, or an overlap.

    Args:
        frames: Pairs of the time of the frame's first sample in seconds and the frame, in order of the file.
        gap: Seconds by which time stamps must stay away.

    Returns:
        The same frames with their times in seconds.
    """
    lengths = np.array([frame.samples / frame.sample_rate for _, frame in frames])
    places = np.cumsum(lengths) - lengths
    apart = np.array([time for time, _ in frames]) - places
    begins, ends = (np.searchsorted(places, places + seconds) for seconds in (-LASTING, LASTING))
    offset, since = 0.0, -1
    dated: Frames = []
    for k, (_, frame) in enumerate(frames):
        window = apart[k : max(ends[k], k + 1)] - offset
        # What has wavered so far will go on to; one frame alone may be damaged.
        wavered = np.sort(np.abs(apart[max(begins[k], since, 0) : k] - offset))[-2:-1].max(initial=0.0)
        if since < 0 or (window > gap + wavered).all() or (window < -gap - wavered).all():
            offset, since = _settled(window + offset), k
        dated.append((float(places[k] + offset), frame))
    return dated


def _settled(apart: np.ndarray) -> float:
    """The offset of frames from the first of some on: its own, unless it wavers; losses only add up."""
    steps = np.diff(apart)
    wavers = (steps > GAP).any() and (steps < -GAP).any()
    return float(np.median(apart) if wavers else apart[0])
