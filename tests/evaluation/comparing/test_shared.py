import numpy as np
import pytest

from mmav.evaluation.comparing import (
    Measured,
    MeasuredBy,
    SharedRuns,
    difference_interval,
    interval_of,
    judge,
    prior_of,
)
from mmav.evaluation.comparing.components import components_of, difference_of

CIRCLE = SharedRuns('own', tuple((seed, (seed + 1) % 5) for seed in range(5)))
SEEDS = tuple(range(5))


def test_the_variance_over_seeds_is_multiplied_to_be_that_of_their_mean():
    runs = np.random.default_rng(0).normal(size=(40_000, 5))
    averages = (runs + np.roll(runs, -1, axis=1)) / 2
    told = averages.var(axis=1, ddof=1).mean() / 5 * CIRCLE.inflation
    assert told == pytest.approx(averages.mean(axis=1).var(), rel=0.03) == pytest.approx(1 / 5, rel=0.03)
    # a chi-square of so many degrees of freedom varies as much
    spread = averages.var(axis=1, ddof=1)
    assert 2 * spread.mean() ** 2 / spread.var() == pytest.approx(CIRCLE.freedom, rel=0.05)


def test_runs_that_are_not_shared_change_nothing_and_those_that_all_share_tell_nothing():
    apart = SharedRuns('own', ((0,), (1,), (2,)))
    assert apart.inflation == pytest.approx(1) and apart.freedom == pytest.approx(2)
    assert SharedRuns('own', ((0, 1), (1, 2))).inflation == pytest.approx(3)
    assert CIRCLE.of_seeds([0, 2]).inflation == pytest.approx(1)
    assert SharedRuns('own', ((0, 1), (1, 0))).inflation == SharedRuns('own', ((0, 1),)).inflation == float('inf')


def rows(shared):
    rng = np.random.default_rng(1)
    odds = rng.random(300)
    own = (rng.random((5, 300)) < odds + rng.normal(0, 0.08, (5, 1))).astype(float)
    other = (rng.random((5, 300)) < odds + rng.normal(0, 0.08, (5, 1))).astype(float)
    averaged = Measured('two', ((own + np.roll(own, -1, axis=0)) / 2 > 0.6).astype(float), SEEDS, shared)
    return averaged, Measured('own', own, SEEDS), Measured('other', other, SEEDS)


def test_intervals_of_averages_are_wider_but_not_those_of_what_they_add_to_their_own_row():
    averaged, own, other = rows(CIRCLE)
    plain, *_ = rows(None)
    assert components_of(averaged).seeds == pytest.approx(CIRCLE.inflation * components_of(plain).seeds)
    assert interval_of(averaged).half_width > interval_of(plain).half_width
    assert difference_of(averaged, own) == difference_of(plain, own)
    for pair, before in (((averaged, other), (plain, other)), ((other, averaged), (other, plain))):
        assert difference_interval(*pair).half_width > difference_interval(*before).half_width
    assert averaged.of_clips(np.arange(100)).shared == CIRCLE
    assert averaged.of_seeds([3, 1]).shared == SharedRuns('own', ((3, 4), (1, 2)))


def test_averages_of_the_same_runs_are_one_seed_and_say_nothing_of_the_spread_of_others():
    averaged, own, other = rows(SharedRuns('own', ((0, 1),) * 5))
    assert components_of(averaged).num_seeds == 1 and interval_of(averaged).over == 'clips'
    assert judge([(averaged, other)], [('two', 'other')])[0].why_not.startswith('one seed')
    many = [Measured(f'{place}', np.roll(own.values, place, axis=1), SEEDS) for place in range(6)]
    assert prior_of([*many[:5], averaged]) is None and prior_of(many).rows == 6


def test_figures_that_are_no_mean_over_clips_keep_what_they_share():
    measured = MeasuredBy('two', lambda seed, drawn: seed + drawn.mean(), 60, SEEDS, shared=CIRCLE)
    plain = MeasuredBy('two', measured.figure, 60, SEEDS)
    assert components_of(measured).seeds == pytest.approx(CIRCLE.inflation * components_of(plain).seeds)
    assert measured.of_seeds([1, 0]).shared == SharedRuns('own', ((1, 2), (0, 1)))
    assert measured.of_clips(np.arange(9)).shared == CIRCLE
