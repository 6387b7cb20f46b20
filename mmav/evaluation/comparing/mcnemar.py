"""McNemar's exact test of two models on the same clips, seed by seed and of all seeds together.

It speaks of the models that were trained, on other clips; not of what other seeds would give, which
:mod:`mmav.evaluation.comparing.intervals` does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmav.errors import MmavError
from mmav.evaluation.comparing.components import paired
from mmav.evaluation.comparing.measured import AnyMeasured, Measured
from mmav.evaluation.intervals import sign_test


@dataclass(frozen=True)
class Mcnemar:
    """Clips that only one of two models gets right.

    Attributes:
        won: Those that only the first gets right.
        lost: Those that only the second gets right.
        p_value: Of the exact test, two-sided.
    """

    won: int
    lost: int
    p_value: float


def mcnemar_by_seed(one: AnyMeasured, two: AnyMeasured) -> dict[int, Mcnemar]:
    """Seed -> the exact test of McNemar (1947, "Note on the Sampling Error of the Difference Between Correlated
    Proportions or Percentages") of the two models that were trained with it.

    Raises:
        MmavError: See :func:`mmav.evaluation.comparing.components.paired`, or clips are not right or wrong.
    """
    return {seed: _test(gains) for seed, gains in _gains(one, two).items()}


def mcnemar_of_all(one: AnyMeasured, two: AnyMeasured) -> Mcnemar:
    """The same of all seeds together: a clip is won where more seeds of the first row get it right than of the second.

    The outcomes of several seeds on one clip are not independent, so they are not added up; clips are.

    Raises:
        MmavError: See :func:`mcnemar_by_seed`.
    """
    return _test(np.sum(list(_gains(one, two).values()), axis=0))


def _gains(one: AnyMeasured, two: AnyMeasured) -> dict[int, np.ndarray]:
    first, second = paired(one, two)
    for measured in (first, second):
        if not measured.binary:
            raise MmavError(f"{measured.name}: McNemar's test is of clips that are right or wrong")
    assert isinstance(first, Measured) and isinstance(second, Measured)
    return dict(zip(first.seeds, first.values - second.values, strict=True))


def _test(gains: np.ndarray) -> Mcnemar:
    won, lost = int((gains > 0).sum()), int((gains < 0).sum())
    return Mcnemar(won, lost, sign_test(won, lost))
