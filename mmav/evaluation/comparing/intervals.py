r"""Intervals and p values of figures over seeds and test clips.

The variance of a mean over seeds and clips, see :mod:`mmav.evaluation.comparing.components`, is a sum whose part of the
seeds is known from as many figures as there are seeds, often three or five. A t quantile with the degrees of freedom of
Satterthwaite (1946, "An Approximate Distribution of Estimates of Variance Components") takes the estimate of that part
for granted when it chooses the quantile, and covers too little with three seeds, the less the higher the confidence. A
generalized interval (Weerahandi 1993, "Generalized Confidence Intervals") averages over what the part may be instead:
with :math:`W = (S-1)/\chi^2_{S-1}` and the mean squares :math:`A, B, E` of seeds, clips and residual

.. math:: p(d) = \mathrm{E}_W\, 2\,T_{N-1}\bigl(-|d| \big/ \sqrt{\max(W A - E, 0) + B}\bigr)

is the p value of a difference d, and the interval holds all d with :math:`p(d) > 1 - confidence`. It is the t test over
clips for one seed, and the t test over seeds where clips add nothing. ``benchmarks/interval_coverage.py`` measures how
often such intervals hold the truth, and how often others do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mmav.evaluation.comparing.components import Components, components_of, difference_of
from mmav.evaluation.comparing.measured import AnyMeasured
from mmav.evaluation.comparing.pooling import Prior, with_prior

CONFIDENCE = 0.95
_NODES = 96


@dataclass(frozen=True)
class Interval:
    """A figure with its interval.

    Attributes:
        mean: The figure.
        low: Lower end.
        high: Upper end.
        components: Where its uncertainty comes from.
    """

    mean: float
    low: float
    high: float
    components: Components

    @property
    def half_width(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2

    @property
    def over(self) -> str:
        """What the interval is over: ``seeds and clips``, or ``clips`` where there is one seed."""
        return 'seeds and clips' if self.components.num_seeds > 1 else 'clips'


def interval_of(measured: AnyMeasured, *, confidence: float = CONFIDENCE, prior: Prior | None = None) -> Interval:
    """The interval of a row's figure over seeds and clips; of one seed over clips only.

    That of a share has the form of Wilson's (see :func:`mmav.evaluation.intervals.accuracy_interval`), for as
    many clips as would give it this width, and stays within 0 and 1.

    Args:
        measured: The row.
        confidence: Share of such intervals that hold the true figure.
        prior: What other rows say of the spread over seeds, see :func:`mmav.evaluation.comparing.pooling.prior_of`.
    """
    found = with_prior(components_of(measured), prior, rows=1)
    half = half_width(found, confidence=confidence)
    if not measured.share:
        return Interval(found.mean, found.mean - half, found.mean + half, found)
    spread = found.mean * (1 - found.mean)
    # z^2 / n of Wilson's formula
    ratio = half**2 / spread if spread > 0 else half**2 * found.num_clips
    middle = (found.mean + ratio / 2) / (1 + ratio)
    half = (ratio * spread + ratio**2 / 4) ** 0.5 / (1 + ratio)
    return Interval(found.mean, max(0.0, middle - half), min(1.0, middle + half), found)


def difference_interval(
    one: AnyMeasured, two: AnyMeasured, *, confidence: float = CONFIDENCE, prior: Prior | None = None
) -> Interval:
    """The interval of the difference of two rows, first minus second, paired over common seeds and clips.

    Args:
        one: The first row.
        two: The second.
        confidence: Share of such intervals that hold the true difference.
        prior: What other rows say of the spread over seeds, see :func:`mmav.evaluation.comparing.pooling.prior_of`.

    Raises:
        MmavError: See :func:`mmav.evaluation.comparing.components.paired`.
    """
    found = with_prior(difference_of(one, two), prior, rows=2)
    half = half_width(found, confidence=confidence)
    return Interval(found.mean, found.mean - half, found.mean + half, found)


def p_value(found: Components, *, difference: float = 0.0) -> float:
    """How often a figure as far from ``difference`` comes about by the choice of seeds and clips alone, two-sided."""
    return float(tails(np.array([abs(found.mean - difference)]), *_parts(found))[0])


def half_width(found: Components, *, confidence: float = CONFIDENCE) -> float:
    """Half the width of the interval around a mean."""
    return float(half_widths(*_parts(found), level=1 - confidence)[0])


def half_widths(
    seeds: np.ndarray, clips: np.ndarray, residual: np.ndarray, seed_freedom: float, freedom: int, *, level: float
) -> np.ndarray:
    """:func:`half_width` of R experiments of one size at once.

    Args:
        seeds: As in :class:`Components`, here and below (R,).
        clips: (R,).
        residual: (R,).
        seed_freedom: Degrees of freedom of ``seeds``; 0 for one seed.
        freedom: Those of ``clips``.
        level: 1 - confidence.

    Returns:
        (R,), infinite where a component is, 0 where all are.
    """
    parts = (seeds, clips, residual, seed_freedom, freedom)
    low, high = np.zeros(len(seeds)), np.sqrt(np.maximum(seeds, clips))
    with np.errstate(invalid='ignore'):
        # nothing varies where high is 0
        while (short := np.isfinite(high) & (high > 0) & (tails(high, *parts) > level)).any():
            high = np.where(short, 2 * high, high)
    for _ in range(50):
        middle = (low + high) / 2
        short = tails(middle, *parts) > level
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return high


def tails(
    distance: np.ndarray, seeds: np.ndarray, clips: np.ndarray, residual: np.ndarray, seed_freedom: float, freedom: int
) -> np.ndarray:
    """p values (R,) of means that are ``distance`` (R,) away from the truth; the rest as in :func:`half_widths`."""
    from scipy.stats import t  # imported here: most of a second

    if not seed_freedom:
        variance, weights = clips[:, None], np.ones(1)
    else:
        factors, weights = _seed_factors(seed_freedom)
        variance = np.maximum(seeds[:, None] * factors - residual[:, None], 0) + clips[:, None]
    with np.errstate(divide='ignore', invalid='ignore'):
        ratio = np.where(distance[:, None] > 0, distance[:, None] / np.sqrt(variance), 0.0)
    return 2 * t.sf(ratio, freedom) @ weights


@lru_cache
def _seed_factors(freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """Values of W and their weights, dense where W is large: Gauss-Legendre nodes in the cube root of its rank."""
    from scipy.stats import chi2

    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    rank = (nodes + 1) / 2
    return freedom / chi2.ppf(rank**3, freedom), weights / 2 * 3 * rank**2


def _parts(found: Components) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, int]:
    seeds, clips, residual = (np.array([value]) for value in (found.seeds, found.clips, found.residual))
    return seeds, clips, residual, found.seed_freedom, found.freedom
