from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mmav.evaluation.comparing import Components, Measured, prior_of
from mmav.evaluation.comparing.pooling import Prior, extra_freedom, with_prior


def rows(figures):
    """Rows with these figures (R, S) over seeds."""
    return [Measured(str(place), each[:, None].repeat(3, 1), range(len(each))) for place, each in enumerate(figures)]


def test_the_common_spread_and_how_well_it_is_known_are_found():
    rng = np.random.default_rng(0)
    # variances that are drawn as the model says: scaled inverse chi-square with 8 degrees of freedom around 0.02^2
    spread = 0.02 * np.sqrt(8 / stats.chi2.rvs(8, size=(2000, 1), random_state=rng))
    found = prior_of(rows(rng.normal(0.6, 1, (2000, 5)) * spread))
    assert found.variance == pytest.approx(0.02**2, rel=0.05) and found.freedom == pytest.approx(8, rel=0.2)
    assert found.rows == 2000


def test_rows_that_spread_alike_are_known_as_one():
    figures = np.random.default_rng(1).normal(0.6, 0.02, (8, 5))
    figures = (figures - figures.mean(1, keepdims=True)) / figures.std(1, ddof=1, keepdims=True) * 0.02
    found = prior_of(rows(figures))
    assert found.freedom == float('inf')
    # log of a variance lies below that of its expectation, which the estimate makes up for
    assert 0.02**2 < found.variance < 1.5 * 0.02**2


def test_few_rows_or_seeds_say_nothing_together():
    figures = np.random.default_rng(0).normal(0.6, 0.02, (8, 5))
    assert prior_of(rows(figures[:5])) is None and prior_of(rows(figures[:, :2])) is None
    assert prior_of([*rows(figures[:6]), None]).rows == 6
    assert prior_of(rows(np.full((8, 5), 0.6))) is None


def test_an_estimate_is_drawn_up_to_the_common_one_and_never_down():
    prior = Prior(4e-4, 6.0, rows=10)
    low = Components(0.0, 1e-5, 1e-4, 0.0, 4, 100, freedom=99)
    found = with_prior(low, prior, rows=2)
    assert found.seeds == pytest.approx((3 * 1e-5 + 6 * 2e-4) / 9) and found.seed_freedom == 9
    assert with_prior(low, prior, rows=1).seeds == pytest.approx((3 * 1e-5 + 6 * 1e-4) / 9)
    high = replace(low, seeds=4e-4)
    assert with_prior(high, prior, rows=2) == replace(high, extra_freedom=6.0)
    # above the 95 % quantile of F with 3 and 6 degrees of freedom, 4.76
    assert with_prior(replace(low, seeds=4.75 * 2e-4), prior, rows=2).extra_freedom == 6
    for odd in (4.77 * 2e-4, 1e-2):
        assert with_prior(replace(low, seeds=odd), prior, rows=2) == replace(low, seeds=odd)
    assert with_prior(low, None, rows=2) == low
    single = Components(0.0, 0.0, 1e-4, 0.0, 1, 100, freedom=99)
    assert with_prior(single, prior, rows=2) == single


def test_other_rows_add_twice_the_freedom_of_the_own_seeds_at_most():
    assert extra_freedom(5) == 8 and extra_freedom(5, 3.0) == 3


def test_hardly_any_table_of_equal_rows_claims_a_difference():
    """As if all clips were tested: seven rows, of which one spreads three times as much, against the first."""
    rng = np.random.default_rng(0)
    claims, alone = 0, 0
    for _ in range(60):
        figures = rng.normal(0, 0.01, (7, 5)) * np.array([1, 3, 1, 1, 1, 1, 1])[:, None]
        prior = prior_of(rows(figures))
        gains = figures[1:] - figures[0]
        found = [Components(each.mean(), each.var(ddof=1) / 5, 0.0, 0.0, 5, 10**6, freedom=10**6) for each in gains]
        both = [with_prior(each, prior, rows=2) for each in found]
        freedom = [each.seed_freedom for each in both]
        t = [each.mean / each.seeds**0.5 for each in both]
        claims += min(2 * stats.t.sf(np.abs(t), freedom)) <= 0.05 / 6
        # a difference of three spreads is seen far more often than by its own seeds
        alone += np.mean([2 * stats.t.sf(0.03 / each.seeds**0.5, each.seed_freedom) <= 0.05 / 6 for each in both])
        alone -= np.mean([2 * stats.t.sf(0.03 / each.seeds**0.5, 4) <= 0.05 / 6 for each in found])
    assert claims <= 7 and alone > 12
