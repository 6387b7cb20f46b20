"""Wilson's interval, beside scipy's."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from mmav.evaluation.intervals import accuracy_interval, sign_test


@pytest.mark.parametrize(('right', 'clips'), [(0, 1), (0, 20), (7, 9), (45, 50), (300, 300)])
@pytest.mark.parametrize('confidence', [0.8, 0.95])
def test_it_is_scipys(right, clips, confidence):
    theirs = binomtest(right, clips).proportion_ci(confidence, method='wilson')
    assert accuracy_interval(right, clips, confidence=confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_of_no_clips_nothing_is_known():
    assert accuracy_interval(0, 0) == (0.0, 1.0)


def test_sign_test():
    """Equal to SciPy's exact binomial test, of few clips and of many."""
    for won, lost in ((1, 0), (6, 0), (4, 10), (5, 5), (900, 1100)):
        wanted = binomtest(won, won + lost, 0.5).pvalue
        assert sign_test(won, lost) == pytest.approx(wanted, rel=1e-9)
    assert sign_test(0, 0) == 1 and 0.04 < sign_test(50_000, 49_380) < 0.06
