"""How far a share measured on some clips may be from the share on all clips."""

from __future__ import annotations

import math

from mmav.errors import MmavError

_Z = 1.959964  # of a normal distribution, 95 % is within this many standard deviations


def wilson_interval(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, such as an accuracy.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference"; it stays within [0, 1] and is
    sound for few clips and for shares near 0 or 1. The clips are taken as independent.

    Args:
        hits: Clips that are right.
        trials: Clips.

    Returns:
        Lower and upper end.

    Raises:
        MmavError: There is no clip, or more hits than clips.

    >>> [round(end, 3) for end in wilson_interval(90, 100)]
    [0.826, 0.945]
    """
    if not 0 <= hits <= trials or not trials:
        raise MmavError(f'{hits} of {trials} clips have no confidence interval')
    share, spread = hits / trials, _Z**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
