"""How sure an accuracy is that was measured on few clips."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np


def accuracy_interval(right: float, clips: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of an accuracy (Wilson 1927, "Probable Inference, the Law of Succession, and Statistical
    Inference"), which stays within 0 and 1 and is right for few clips, too.

    Args:
        right: Clips that are right.
        clips: All clips. Where several come from one recording, they are not independent: give the number of
            recordings, and the share that is right times it.
        confidence: Share of such intervals that hold the true accuracy.

    Returns:
        Its lower and upper end; 0 and 1 for no clips.

    >>> [round(end, 3) for end in accuracy_interval(9, 10)]
    [0.596, 0.982]
    """
    if not clips:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = right / clips
    middle = share + z * z / (2 * clips)
    half = z * (share * (1 - share) / clips + z * z / (4 * clips * clips)) ** 0.5
    whole = 1 + z * z / clips
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def difference_interval(
    won: int, lost: int, clips: int, *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Where 95 % of the differences of two accuracies on the same clips lie when the clips are drawn again with
    replacement: percentiles of a paired bootstrap (Efron & Tibshirani 1993, "An Introduction to the Bootstrap").

    Args:
        won: Clips that only the first gets right.
        lost: Clips that only the second gets right.
        clips: All clips.
        resamples: How often they are drawn.
        seed: Of the draws.

    Returns:
        Lower and upper end of first minus second; -1 and 1 for no clips.

    >>> low, high = difference_interval(30, 10, 100)
    >>> low < 0.2 < high and low > 0
    True
    """
    if not clips:
        return -1.0, 1.0
    # a resample matters only by how many of its clips are won and lost, and those counts are multinomial
    drawn = np.random.default_rng(seed).multinomial(clips, np.array([won, lost, clips - won - lost]) / clips, resamples)
    low, high = np.percentile((drawn[:, 0] - drawn[:, 1]) / clips, [2.5, 97.5])
    return float(low), float(high)


def sign_test(won: int, lost: int) -> float:
    """How likely it is by chance alone that two models differ in so many clips so unevenly: the exact two-sided test of
    McNemar (1947, "Note on the Sampling Error of the Difference Between Correlated Proportions or Percentages"), which
    is the sign test. Unlike the bootstrap it is right where a few clips all differ in the same direction.

    Args:
        won: Clips that only the first gets right.
        lost: Clips that only the second gets right.

    Returns:
        The probability, 1 where they differ in none.

    >>> round(sign_test(3, 0), 3), round(sign_test(6, 0), 3)
    (0.25, 0.031)
    """
    clips = won + lost
    steps = np.arange(1, min(won, lost) + 1)
    # log of the binomial coefficients, each from the one before it: of many clips they are beyond a float
    logs = np.concatenate(([0.0], np.cumsum(np.log(clips + 1 - steps) - np.log(steps))))
    return min(1.0, 2 * float(np.exp(logs - clips * np.log(2)).sum()))
