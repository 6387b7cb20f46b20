import numpy as np
import pytest
from scipy import stats

from mmav.evaluation.comparing import Components, Measured, MeasuredBy, difference_interval, interval_of
from mmav.evaluation.comparing.components import components_of
from mmav.evaluation.comparing.intervals import half_width, half_widths, p_value, tails
from mmav.evaluation.intervals import accuracy_interval


@pytest.mark.parametrize('seeds', [2, 3, 5, 10])
def test_where_clips_add_nothing_it_is_the_t_test_over_seeds(seeds):
    figures = np.random.default_rng(seeds).normal(0.03, 0.02, seeds)
    found = Components(figures.mean(), figures.var(ddof=1) / seeds, 0.0, 0.0, seeds, 10**6, freedom=10**6)
    for null in (0.0, 0.02):
        assert p_value(found, difference=null) == pytest.approx(stats.ttest_1samp(figures, null).pvalue, rel=0.01)
    for confidence in (0.95, 0.999):
        low, high = stats.ttest_1samp(figures, 0).confidence_interval(confidence)
        assert half_width(found, confidence=confidence) == pytest.approx((high - low) / 2, rel=0.005)


def test_of_one_seed_it_is_the_t_test_over_clips():
    values = np.random.default_rng(0).normal(0.2, 1, (1, 60))
    measured = Measured('row', values, [0])
    wanted = stats.ttest_1samp(values[0], 0)
    assert p_value(components_of(measured)) == pytest.approx(wanted.pvalue)
    found = interval_of(measured)
    assert (found.low, found.high) == pytest.approx(tuple(wanted.confidence_interval()))
    assert found.over == 'clips'


def test_the_expectation_over_the_mean_square_of_seeds_is_that_of_many_draws():
    found = Components(0.02, 2e-4, 1e-4, 0.5e-4, 3, 500, freedom=499)
    factors = 2 / np.random.default_rng(0).chisquare(2, 400_000)
    spread = np.sqrt(np.maximum(2e-4 * factors - 0.5e-4, 0) + 1e-4)
    assert p_value(found) == pytest.approx(np.mean(2 * stats.t.sf(0.02 / spread, 499)), rel=0.01)


def test_the_interval_holds_what_the_test_does_not_reject():
    found = Components(0.02, 2e-4, 1e-4, 0.5e-4, 3, 500, freedom=499)
    for confidence in (0.9, 0.95, 0.995):
        half = half_width(found, confidence=confidence)
        assert p_value(found, difference=0.02 + half) == pytest.approx(1 - confidence)
    several = half_widths(np.full(2, 2e-4), np.full(2, 1e-4), np.full(2, 0.5e-4), 2, 499, level=0.05)
    assert several == pytest.approx(half_width(found))


@pytest.mark.parametrize('right', [0, 3, 50, 60])
def test_of_one_seed_the_interval_of_a_share_is_wilsons(right):
    values = (np.arange(60) < right).astype(float)[None]
    found = interval_of(Measured('row', values, [0]))
    assert (found.low, found.high) == pytest.approx(accuracy_interval(right, 60), abs=0.01)
    assert 0 <= found.low <= found.mean <= found.high <= 1


def test_a_difference_that_all_seeds_and_clips_share_is_surer_than_its_rows():
    rng = np.random.default_rng(0)
    one = (rng.random((3, 400)) < 0.6).astype(float)
    two = one.copy()
    two[:, :8] = 0
    found = difference_interval(Measured('a', one, range(3)), Measured('b', two, range(3)))
    row = interval_of(Measured('a', one, range(3)))
    assert found.mean == pytest.approx((one - two).mean())
    assert found.high - found.low < (row.high - row.low) / 2
    assert found.over == 'seeds and clips'


def test_a_figure_that_is_no_mean_has_an_interval_too():
    values = np.random.default_rng(0).random((3, 100))
    median = MeasuredBy('row', lambda seed, drawn: float(np.median(values[seed, drawn])), 100, range(3))
    found = interval_of(median)
    assert found.low < found.mean == np.median(values, axis=1).mean() < found.high


@pytest.mark.parametrize('seeds', [3, 5])
def test_an_interval_of_95_percent_holds_the_truth_so_often(seeds):
    rng = np.random.default_rng(seeds)
    runs, clips, spread = 400, 300, 0.05
    chance = rng.beta(2, 1, (runs, 1, clips)) * 0.8 + 0.1 + rng.normal(0, spread, (runs, seeds, 1))
    right = rng.random((runs, seeds, clips)) < chance
    found = [components_of(Measured('row', each, range(seeds))) for each in right]
    parts = (np.array([getattr(each, name) for each in found]) for name in ('seeds', 'clips', 'residual'))
    truth = 0.1 + 0.8 * 2 / 3
    held = tails(abs(np.array([each.mean for each in found]) - truth), *parts, seeds - 1, clips - 1) > 0.05
    assert 0.92 < held.mean() < 0.99


def test_the_interval_of_a_share_that_is_no_mean_over_clips_stays_within_0_and_1():
    values = np.random.default_rng(0).random(60) < 0.97
    share = MeasuredBy('row', lambda seed, drawn: values[drawn].mean(), 60, (0,), True)
    plain = MeasuredBy('row', share.figure, 60, (0,))
    assert interval_of(plain).high > 1 >= interval_of(share).high
    assert interval_of(share).low == pytest.approx(interval_of(Measured('row', values[None], (0,))).low, abs=0.02)
    assert share.of_seeds([0]).share and share.of_clips(np.arange(9)).share


@pytest.mark.parametrize('share', [True, False])
def test_a_figure_that_no_draw_of_clips_changes_has_an_interval(share):
    measured = MeasuredBy('row', lambda seed, drawn: 1.0, 40, (0, 1), share)
    found = interval_of(measured)
    assert found.high == 1 and found.low == pytest.approx(0.91 if share else 1, abs=0.02)
    difference = difference_interval(measured, measured)
    assert difference.mean == 0 and p_value(difference.components) == pytest.approx(1)
    assert difference.high == (pytest.approx(2 / 40, abs=0.01) if share else 0)
