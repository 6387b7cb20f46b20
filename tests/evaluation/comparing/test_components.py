import numpy as np
import pytest

from mmav.errors import MmavError
from mmav.evaluation.comparing import Measured, MeasuredBy
from mmav.evaluation.comparing.components import components_of, difference_of, paired


def outcomes(seeds, clips, seed=0):
    rng = np.random.default_rng(seed)
    right = rng.beta(2, 1, clips) + rng.normal(0, 0.05, (seeds, 1)) > rng.random((seeds, clips))
    return right.astype(float)


def by_mean(values, name='row'):
    return MeasuredBy(name, lambda seed, drawn: values[seed, drawn].mean(), values.shape[1], range(len(values)))


def test_mean_squares_are_those_of_the_textbook():
    values = outcomes(3, 40)
    found = components_of(Measured('row', values, range(3)))
    mean = sum(map(sum, values)) / 120
    of_seed = [sum(row) / 40 for row in values]
    of_clip = [sum(values[seed, clip] for seed in range(3)) / 3 for clip in range(40)]
    by_seed = 40 * sum((each - mean) ** 2 for each in of_seed) / 2
    by_clip = 3 * sum((each - mean) ** 2 for each in of_clip) / 39
    left = sum(
        (values[seed, clip] - of_seed[seed] - of_clip[clip] + mean) ** 2 for seed in range(3) for clip in range(40)
    ) / (2 * 39)
    assert found.mean == pytest.approx(mean)
    assert [found.seeds, found.clips, found.residual] == pytest.approx(np.array([by_seed, by_clip, left]) / 120)
    assert found.variance == pytest.approx((max(by_seed - left, 0) + by_clip) / 120)
    assert (found.num_seeds, found.num_clips, found.freedom) == (3, 40, 39)


def test_known_components_are_found():
    rng = np.random.default_rng(1)
    of_seeds, of_clips = rng.normal(0, 0.2, (400, 6, 1)), rng.normal(0, 1, (400, 1, 30))
    values = of_seeds + of_clips + rng.normal(0, 0.5, (400, 6, 30))
    found = [components_of(Measured('row', each, range(6))) for each in values]
    left = 0.5**2 / 180
    assert np.mean([each.seeds for each in found]) == pytest.approx(0.2**2 / 6 + left, rel=0.1)
    assert np.mean([each.clips for each in found]) == pytest.approx(1 / 30 + left, rel=0.1)
    assert np.mean([each.residual for each in found]) == pytest.approx(left, rel=0.05)
    assert np.mean([each.variance for each in found]) == pytest.approx(np.var(values.mean((1, 2))), rel=0.15)


def test_a_mean_that_is_computed_from_draws_has_the_same_components():
    values = outcomes(4, 200)
    exact, drawn = components_of(Measured('row', values, range(4))), components_of(by_mean(values))
    assert drawn.mean == pytest.approx(exact.mean) and drawn.seeds == pytest.approx(exact.seeds)
    assert drawn.clips == pytest.approx(exact.clips, rel=0.15)
    assert drawn.residual == pytest.approx(exact.residual, rel=0.15)


def test_a_difference_is_paired_over_common_seeds_and_clips():
    one, two = outcomes(3, 60), outcomes(3, 60, seed=1)
    found = difference_of(Measured('a', one, (0, 1, 2)), Measured('b', two, (2, 1, 5)))
    wanted = components_of(Measured('a - b', np.stack([one[1] - two[1], one[2] - two[0]]), (1, 2)))
    assert found == wanted
    drawn = difference_of(by_mean(one), by_mean(two))
    exact = difference_of(Measured('a', one, range(3)), Measured('b', two, range(3)))
    assert drawn.mean == pytest.approx(exact.mean) and drawn.clips == pytest.approx(exact.clips, rel=0.15)


def test_one_seed_has_the_clips_only():
    values = outcomes(1, 50)
    found = components_of(Measured('row', values, [4]))
    assert found.seeds == found.residual == 0 and found.clips == pytest.approx(values.var(ddof=1) / 50)
    assert components_of(by_mean(values)).seeds == 0


def test_clips_that_are_all_right_leave_room_for_one_that_is_not():
    found = components_of(Measured('row', np.ones((2, 50)), range(2)))
    assert found.clips == 1 / 50**2
    assert components_of(Measured('row', np.ones((1, 1)), [0])).clips == float('inf')


@pytest.mark.parametrize(
    ('other', 'told'),
    [
        (Measured('b', np.zeros((2, 4)), range(2)), 'a has 3 clips, b 4: test both on the same clips'),
        (Measured('b', np.zeros((1, 3)), [7]), r'a has seeds \[0, 1\], b \[7\]: none in common'),
        (MeasuredBy('b', lambda seed, drawn: 0.0, 3, range(2)), 'a and b: one is a mean over clips, the other is not'),
    ],
)
def test_what_does_not_go_together_is_refused(other, told):
    with pytest.raises(MmavError, match=told):
        paired(Measured('a', np.zeros((2, 3)), range(2)), other)
