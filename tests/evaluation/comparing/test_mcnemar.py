import numpy as np
import pytest
from scipy.stats import binomtest

from mmav.errors import MmavError
from mmav.evaluation.comparing import Measured
from mmav.evaluation.comparing.mcnemar import mcnemar_by_seed, mcnemar_of_all


def rows():
    rng = np.random.default_rng(0)
    one, two = (rng.random((2, 3, 40)) < np.array([0.7, 0.55])[:, None, None]).astype(float)
    return Measured('a', one, (0, 1, 2)), Measured('b', two, (0, 1, 2))


def test_each_seed_is_the_binomial_test_of_the_clips_on_which_the_models_differ():
    one, two = rows()
    found = mcnemar_by_seed(one, two)
    assert list(found) == [0, 1, 2]
    for seed, each in found.items():
        won = sum(a > b for a, b in zip(one.values[seed], two.values[seed], strict=True))
        lost = sum(a < b for a, b in zip(one.values[seed], two.values[seed], strict=True))
        assert (each.won, each.lost) == (won, lost)
        assert each.p_value == pytest.approx(binomtest(won, won + lost).pvalue)


def test_of_all_seeds_a_clip_is_won_by_the_row_that_more_seeds_get_right():
    one, two = rows()
    found, won, lost = mcnemar_of_all(one, two), 0, 0
    for clip in range(40):
        first, second = sum(one.values[:, clip]), sum(two.values[:, clip])
        won, lost = won + (first > second), lost + (first < second)
    assert (found.won, found.lost) == (won, lost)
    assert found.p_value == pytest.approx(binomtest(won, won + lost).pvalue)
    single = [measured.of_seeds([1]) for measured in rows()]
    assert mcnemar_of_all(*single) == mcnemar_by_seed(*single)[1]


def test_models_that_agree_do_not_differ():
    one, _ = rows()
    assert mcnemar_of_all(one, one).p_value == 1


def test_clips_that_are_neither_right_nor_wrong_are_refused():
    one, two = rows()
    with pytest.raises(MmavError, match='half: McNemar'):
        mcnemar_by_seed(one, Measured('half', two.values / 2, (0, 1, 2)))
