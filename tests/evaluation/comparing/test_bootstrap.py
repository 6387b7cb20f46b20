import numpy as np
import pytest

from mmav.evaluation.comparing import Measured, MeasuredBy
from mmav.evaluation.comparing.bootstrap import bootstrap_interval


def values(seed):
    rng = np.random.default_rng(seed)
    return (rng.random((3, 80)) < 0.6 + rng.normal(0, 0.05, (3, 1))).astype(float)


def slow(table, resamples=1500):
    rng = np.random.default_rng(5)
    means = []
    for _ in range(resamples):
        seeds, clips = rng.integers(0, 3, 3), rng.integers(0, 80, 80)
        means.append(np.mean([[table[seed, clip] for clip in clips] for seed in seeds]))
    return np.quantile(means, [0.025, 0.975])


def test_seeds_and_clips_are_drawn_as_in_a_loop():
    one, two = values(0), values(1)
    wanted = slow(one - two, 600)
    found = bootstrap_interval(Measured('a', one, range(3)), Measured('b', two, range(3)))
    assert found == pytest.approx(tuple(wanted), abs=0.03)
    row = bootstrap_interval(Measured('a', one, range(3)))
    assert row[0] < one.mean() < row[1]
    assert bootstrap_interval(Measured('a', one, range(3))) == row


def test_one_seed_is_not_drawn():
    one = values(0)[:1]
    low, high = bootstrap_interval(Measured('a', one, [0]))
    assert high - low == pytest.approx(2 * 1.96 * (one.var() / 80) ** 0.5, rel=0.1)


def test_a_figure_that_is_no_mean_is_drawn_alike():
    one, two = values(0), values(1)
    rows = [
        MeasuredBy('row', lambda seed, drawn, table=table: table[seed, drawn].mean(), 80, range(3))
        for table in (one, two)
    ]
    exact = bootstrap_interval(Measured('a', one, range(3)), Measured('b', two, range(3)))
    assert bootstrap_interval(*rows) == pytest.approx(exact, abs=0.03)
