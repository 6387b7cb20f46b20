r"""The spread over seeds, estimated from all rows of a table together.

Three or five seeds say little of a spread, and a comparison that is corrected for many others needs to know it well.
Rows of one table are alike: as in the analysis of many genes with few samples each (Smyth 2004, "Linear Models and
Empirical Bayes Methods for Assessing Differential Expression in Microarray Experiments") the variances
:math:`s_r^2` of the rows' figures over seeds are taken as draws around a common one :math:`s_0^2`, known as well as
from :math:`d_0` further degrees of freedom, which follow from how much the rows' variances differ:

.. math:: \tilde s^2 = \frac{d_0 s_0^2 + d\,s^2}{d_0 + d}

Three things are more careful than there, as one row may spread far more than others: :math:`d_0` is at most twice the
d = S - 1 of the seeds, an estimate never becomes smaller than its own :math:`s^2`, and a row or difference whose
:math:`s^2` is larger than the common one by more than chance would have it (an F test at 5 %) knows its own seeds only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from mmav.evaluation.comparing.components import Components
from mmav.evaluation.comparing.measured import AnyMeasured

LEAST_ROWS, LEAST_SEEDS = 6, 3
_MOST = 2  # d_0 / d


@dataclass(frozen=True)
class Prior:
    """What all rows say of the spread over seeds.

    Attributes:
        variance: Common variance over seeds of a figure on the test clips.
        freedom: Degrees of freedom that it counts for; infinite where rows differ no more than by chance.
        rows: How many rows it is from.
    """

    variance: float
    freedom: float
    rows: int


def prior_of(measured: Iterable[AnyMeasured | None]) -> Prior | None:
    """The common spread of rows; None of fewer than six with three seeds each.

    Args:
        measured: The rows; those with fewer seeds, or seeds that have runs in common, and None, are left out.
    """
    spreads = [
        (each.figures().var(ddof=1), len(each.seeds) - 1)
        for each in measured
        if each is not None and len(each.seeds) >= LEAST_SEEDS and each.shared is None
    ]
    if len(spreads) < LEAST_ROWS:
        return None
    variances, freedoms = np.array(spreads).T
    if not variances.max() > 0:
        return None
    return Prior(*_fitted(variances, freedoms), rows=len(spreads))


def _fitted(variances: np.ndarray, freedoms: np.ndarray) -> tuple[float, float]:
    """Common variance and its degrees of freedom, from mean and variance of the logs (Smyth 2004, section 6.2)."""
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    least = 1e-5 * np.median(variances[variances > 0])  # a row whose seeds are all equal
    logs = np.log(np.maximum(variances, least)) - digamma(freedoms / 2) + np.log(freedoms / 2)
    excess = logs.var(ddof=1) - polygamma(1, freedoms / 2).mean()
    if excess <= 1e-4:
        return float(np.exp(logs.mean())), float('inf')
    half = brentq(lambda half: polygamma(1, half) - excess, 1e-4, 2e4)
    return float(np.exp(logs.mean() + digamma(half) - np.log(half))), 2 * half


def with_prior(found: Components, prior: Prior | None, *, rows: int) -> Components:
    """Components whose part of the seeds also knows what other rows say of it.

    Args:
        found: Of a row, or of a difference of rows.
        prior: See :func:`prior_of`; None changes nothing, nor does one that the components are far above.
        rows: How many rows it is of, 1 or 2: variances of both add up.
    """
    if prior is None or found.num_seeds < 2:
        return found
    extra = extra_freedom(found.num_seeds, prior.freedom)
    common = rows * prior.variance / found.num_seeds
    if found.seeds > common * _most_alike(found.own_freedom, extra):
        return found
    return replace(found, seeds=shrunk(found.seeds, common, found.own_freedom, extra), extra_freedom=extra)


@lru_cache
def _most_alike(freedom: float, extra: float) -> float:
    """What the ratio of two mean squares that estimate the same exceeds in 5 % of cases."""
    from scipy.stats import f

    return float(f.ppf(0.95, freedom, extra))


def extra_freedom(num_seeds: int, freedom: float = float('inf')) -> float:
    """The degrees of freedom that other rows add, at most."""
    return min(freedom, _MOST * (num_seeds - 1))


def shrunk(own: float, common: float, freedom: float, extra: float) -> float:
    """A mean square drawn towards the common one, not below its own value."""
    return float(max(own, (freedom * own + extra * common) / (freedom + extra)))
