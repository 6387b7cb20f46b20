"""What may be said of comparisons that were stated before a run: each holds, is reversed, or cannot be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mmav.errors import MmavError
from mmav.evaluation.comparing.bootstrap import bootstrap_interval
from mmav.evaluation.comparing.intervals import Interval, difference_interval, half_width, p_value
from mmav.evaluation.comparing.mcnemar import Mcnemar, mcnemar_by_seed, mcnemar_of_all
from mmav.evaluation.comparing.measured import AnyMeasured
from mmav.evaluation.comparing.pooling import Prior
from mmav.evaluation.comparing.power import LEVEL, POWER, smallest_difference

VerdictName = Literal['holds', 'reversed', 'the same', 'cannot be told', 'no conclusion']
# with less nothing is concluded
LEAST_SEEDS, LEAST_CLIPS = 2, 50


@dataclass(frozen=True)
class Judged:
    """A comparison of two rows, the first being expected to be better.

    Attributes:
        better: Name of the first.
        than: Name of the second.
        verdict: One of ``holds``, ``reversed``, ``the same``, ``cannot be told`` and ``no conclusion``.
        seeds: The common seeds.
        clips: Number of test clips.
        difference: First minus second with its interval; None where the rows cannot be compared.
        together: Ends of the interval that holds with all others at once, for all comparisons (Bonferroni).
        bootstrap: Ends of the interval of a bootstrap over seeds and clips.
        p_value: Two-sided, of this comparison alone.
        corrected: The same, corrected for all comparisons (Holm).
        mcnemar: Seed -> McNemar's test; empty where clips are not right or wrong.
        mcnemar_all: Of all seeds together, or None.
        smallest: The smallest difference that this run could have seen with a power of 80 %, or None.
        margin: Within which rows count as the same, or None.
        same_p: Corrected p value of the two one-sided tests of equivalence, or None.
        why_not: Why nothing is concluded; empty otherwise.
    """

    better: str
    than: str
    verdict: VerdictName = 'no conclusion'
    seeds: tuple[int, ...] = ()
    clips: int = 0
    difference: Interval | None = None
    together: tuple[float, float] | None = None
    bootstrap: tuple[float, float] | None = None
    p_value: float | None = None
    corrected: float | None = None
    mcnemar: dict[int, Mcnemar] | None = None
    mcnemar_all: Mcnemar | None = None
    smallest: float | None = None
    margin: float | None = None
    same_p: float | None = None
    why_not: str = ''


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p values for their number (Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure"): at
    most a share alpha of all tables has any comparison with a corrected p value below alpha that does not hold, however
    the comparisons depend on each other.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind='stable')
    steps = np.array(p_values, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return [float(p) for p in corrected]


def judge(
    pairs: Sequence[tuple[AnyMeasured | None, AnyMeasured | None]],
    names: Sequence[tuple[str, str]],
    *,
    margin: float | None = None,
    level: float = LEVEL,
    prior: Prior | None = None,
) -> list[Judged]:
    """Judges comparisons that belong together: the corrected p values are of all of them.

    A comparison that nothing may be concluded from (rows that have not run, one seed, few clips) takes no part in the
    correction, as it can claim nothing.

    Args:
        pairs: The rows that are expected to be better, and those that they are compared with; None for one without
            figures.
        names: Their names.
        margin: Rows count as the same if two one-sided tests (Schuirmann 1987, "A Comparison of the Two One-Sided Tests
            Procedure and the Power Approach for Assessing the Equivalence of Average Bioavailability") say that they
            differ by less; 0.01 is one point. Not asked if None.
        level: Of all comparisons together.
        prior: What all rows say of the spread over seeds, see :func:`mmav.evaluation.comparing.pooling.prior_of`.
    """
    judged = [_compared(*pair, *name, margin, prior) for pair, name in zip(pairs, names, strict=True)]
    valid = [place for place, each in enumerate(judged) if not each.why_not]
    corrected = holm([judged[place].p_value or 0.0 for place in valid])
    same = holm([1.0 if judged[place].same_p is None else judged[place].same_p or 0.0 for place in valid])
    for place, p, p_same in zip(valid, corrected, same, strict=True):
        judged[place] = _with_verdict(judged[place], p, p_same, level, len(valid))
    return judged


def _compared(
    one: AnyMeasured | None, two: AnyMeasured | None, better: str, than: str, margin: float | None, prior: Prior | None
) -> Judged:
    """All but what depends on the other comparisons."""
    missing = [name for measured, name in ((one, better), (two, than)) if measured is None]
    if one is None or two is None:
        return Judged(better, than, why_not=f'no figures of {" and ".join(missing)}')
    try:
        difference = difference_interval(one, two, prior=prior)
    except MmavError as error:
        return Judged(better, than, why_not=str(error))
    found = difference.components
    seeds = tuple(seed for seed in one.seeds if seed in two.seeds)
    why_not = ''
    if found.num_seeds < LEAST_SEEDS:
        why_not = 'one seed: what another would give is not known'
    if found.num_clips < LEAST_CLIPS:
        why_not = f'{found.num_clips} clips are too few for an interval'
    binary = one.binary and two.binary
    same = None
    if margin is not None:
        # two one-sided tests: the farther end of the margin decides
        inside = abs(found.mean) < margin
        same = max(p_value(found, difference=end) for end in (-margin, margin)) / 2
        same = same if inside else 1 - same
    return Judged(
        better,
        than,
        seeds=seeds,
        clips=found.num_clips,
        difference=difference,
        bootstrap=bootstrap_interval(one, two),
        p_value=p_value(found),
        mcnemar=mcnemar_by_seed(one, two) if binary else {},
        mcnemar_all=mcnemar_of_all(one, two) if binary else None,
        margin=margin,
        same_p=same,
        why_not=why_not,
    )


def _with_verdict(judged: Judged, corrected: float, same: float, level: float, comparisons: int) -> Judged:
    assert judged.difference is not None
    found = judged.difference.components
    half = half_width(found, confidence=1 - level / comparisons)
    verdict: VerdictName = 'cannot be told'
    if corrected <= level and found.mean:
        verdict = 'holds' if found.mean > 0 else 'reversed'
    elif judged.margin is not None and same <= level:
        verdict = 'the same'
    return replace(
        judged,
        verdict=verdict,
        corrected=corrected,
        together=(found.mean - half, found.mean + half),
        smallest=smallest_difference(found, power=POWER, level=level, comparisons=comparisons),
        same_p=None if judged.margin is None else same,
    )
