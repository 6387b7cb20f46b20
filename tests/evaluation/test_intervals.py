import pytest
from scipy.stats import binomtest

from mmav.errors import MmavError
from mmav.evaluation.intervals import wilson_interval


@pytest.mark.parametrize(('hits', 'trials'), [(0, 7), (1, 1), (3, 10), (267, 300), (300, 300)])
def test_equals_scipy(hits, trials):
    expected = binomtest(hits, trials).proportion_ci(method='wilson')
    assert wilson_interval(hits, trials) == pytest.approx(tuple(expected), abs=1e-7)


@pytest.mark.parametrize(('hits', 'trials'), [(0, 0), (3, 2), (-1, 2)])
def test_what_has_no_interval(hits, trials):
    with pytest.raises(MmavError, match=f'{hits} of {trials} clips have no confidence interval'):
        wilson_interval(hits, trials)
