"""The smallest difference that a run can see: stated before the run, from what is known or assumed about it."""

from __future__ import annotations

import numpy as np

from mmav.errors import ConfigError
from mmav.evaluation.comparing.components import Components
from mmav.evaluation.comparing.intervals import half_widths
from mmav.evaluation.comparing.pooling import LEAST_ROWS, LEAST_SEEDS, extra_freedom, shrunk

POWER = 0.8
LEVEL = 0.05
_NODES = 48
# as long as nothing is known: share of the disagreement of two rows that comes back with every seed
REPEATED = 0.5


def expected_components(
    *, clips: int, seeds: int, disagreement: float, seed_spread: float, repeated: float = REPEATED, rows: int = 2
) -> Components:
    """What the components of a difference of two rows will be.

    Args:
        clips: Number of test clips.
        seeds: Number of seeds, the same for both rows.
        disagreement: Share of the clips of which one row's model is right and the other's is wrong.
        seed_spread: Standard deviation over seeds of the figure of one row, 0.01 is one point; not that which a choice
            of test clips adds. Twice its square is the variance of a difference.
        repeated: Share of the disagreement that is the same for all seeds, from 0 to 1.
        rows: Of the table, which share what they say of the spread over seeds, see
            :mod:`mmav.evaluation.comparing.pooling`.

    Raises:
        ConfigError: A number is out of its range.
    """
    for name, value, least, most in (
        ('clips', clips, 2, None),
        ('seeds', seeds, 1, None),
        ('disagreement', disagreement, 0.0, 1.0),
        ('seed_spread', seed_spread, 0.0, 1.0),
        ('repeated', repeated, 0.0, 1.0),
    ):
        if value < least or (most is not None and value > most):
            end = '' if most is None else f' to {most:g}'
            raise ConfigError(f'{name}={value:g}: give a number from {least:g}{end}')
    residual = (1 - repeated) * disagreement / (seeds * clips)
    by_clip = repeated * disagreement / clips + residual
    by_seed = 2 * seed_spread**2 / seeds + residual
    several = seeds > 1
    return Components(
        0.0,
        by_seed if several else 0.0,
        by_clip,
        residual if several else 0.0,
        seeds,
        clips,
        freedom=clips - 1,
        extra_freedom=extra_freedom(seeds) if rows >= LEAST_ROWS and seeds >= LEAST_SEEDS else 0.0,
    )


def resized(found: Components, *, clips: int, seeds: int) -> Components:
    """The components that a run of another size would have, such as the run that a pilot was made for.

    Args:
        found: Of the pilot.
        clips: Test clips of the run.
        seeds: Its seeds.

    Raises:
        ConfigError: The pilot has one seed, and the run has more.
    """
    if found.num_seeds == 1:
        if seeds > 1:
            raise ConfigError('a pilot of one seed says nothing of the spread over seeds: give one of two at least')
        return Components(0.0, 0.0, found.clips * found.num_clips / clips, 0.0, 1, clips, freedom=clips - 1)
    residual = found.residual * found.num_seeds * found.num_clips / (seeds * clips)
    of_seed = max(found.seeds - found.residual, 0.0) * found.num_seeds / seeds
    of_clip = max(found.clips - found.residual, 0.0) * found.num_clips / clips
    several = seeds > 1
    by_seed, left = (of_seed + residual, residual) if several else (0.0, 0.0)
    return Components(0.0, by_seed, of_clip + residual, left, seeds, clips, freedom=max(clips - 1, 1))


def smallest_difference(
    expected: Components, *, power: float = POWER, level: float = LEVEL, comparisons: int = 1
) -> float:
    """The difference that a run sees with this power: its p value is below the corrected level that often.

    Args:
        expected: Components of the difference, see :func:`expected_components` and :func:`resized`.
        power: Share of runs that see it.
        level: Of all comparisons together.
        comparisons: How many are made; each is held to ``level / comparisons``, the strictest step of Holm's method.

    Returns:
        The difference, 0.01 for one point. For one seed that of these models on other clips.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, norm

    seeds = expected.num_seeds
    if seeds == 1:
        drawn, weights = np.zeros(1), np.ones(1)
    else:
        # the mean square of few seeds is what chance makes of it: over its ranks
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        weights = weights / 2
        own = expected.seeds * chi2.ppf((nodes + 1) / 2, expected.own_freedom) / expected.own_freedom
        drawn = np.array([shrunk(each, expected.seeds, expected.own_freedom, expected.extra_freedom) for each in own])
    same = np.full(len(drawn), 1.0)
    needed = half_widths(
        drawn,
        same * expected.clips,
        same * expected.residual,
        expected.seed_freedom,
        expected.freedom,
        level=level / comparisons,
    )
    spread = max(expected.variance, 1e-300) ** 0.5

    def missing(difference: float) -> float:
        seen = norm.sf((needed - difference) / spread) + norm.cdf((-needed - difference) / spread)
        return float(seen @ weights) - power

    most = float(needed.max()) + 10 * spread
    return float(brentq(missing, 0.0, most, xtol=1e-6)) if missing(0.0) < 0 else 0.0
