import numpy as np
import pytest

from mmav.errors import ConfigError, MmavError
from mmav.evaluation.comparing import Measured, MeasuredBy


def test_the_figure_of_a_seed_is_the_mean_of_its_clips():
    measured = Measured('row', np.array([[1, 0, 1, 1], [0, 0, 1, 0]]), [3, 7])
    assert measured.figures().tolist() == [0.75, 0.25]
    assert measured.clips == 4 and measured.binary and measured.seeds == (3, 7)
    assert measured.of_seeds([7]).figures().tolist() == [0.25]


def test_a_figure_of_drawn_clips_keeps_its_seeds():
    values = np.array([[1.0, 0, 0.5], [0.25, 0, 0]])
    measured = MeasuredBy('row', lambda seed, drawn: values[seed, drawn].max(), 3, (0, 4))
    assert measured.figures().tolist() == [1.0, 0.25]
    assert measured.figures(np.array([1, 2, 2])).tolist() == [0.5, 0.0]
    assert measured.of_seeds([4]).figures().tolist() == [0.25]
    assert measured.of_seeds([4, 0]).figures().tolist() == [0.25, 1.0]


@pytest.mark.parametrize(
    ('values', 'seeds', 'told'),
    [
        (np.zeros((2, 3)), (0,), r'row: values \(2, 3\) of 1 seeds'),
        (np.zeros((2, 0)), (0, 1), r'values \(2, 0\)'),
        (np.zeros((2, 3)), (1, 1), r'seeds \[1, 1\]: each may be there once'),
        (np.zeros((0, 3)), (), 'no seed'),
        (np.array([[0, np.nan]]), (5,), 'seed 5 has nan for clip 1'),
    ],
)
def test_what_cannot_be_compared_is_refused(values, seeds, told):
    with pytest.raises(ConfigError, match=told):
        Measured('row', values, seeds)


def test_a_figure_needs_clips():
    with pytest.raises(ConfigError, match='0 clips'):
        MeasuredBy('row', lambda seed, drawn: 0.0, 0, (0,))


def test_a_figure_that_is_not_finite_is_refused_also_on_drawn_clips():
    measured = MeasuredBy('row', lambda seed, drawn: np.inf if seed else 1.0, 3, (4, 7))
    with pytest.raises(MmavError, match='row: the figure of seed 7 on its clips is inf: compare by another metric'):
        measured.figures()
    perfect = MeasuredBy('row', lambda seed, drawn: np.nan if set(drawn) == {0} else 1.0, 2, (4,))
    assert perfect.figures().tolist() == [1.0]
    with pytest.raises(MmavError, match='seed 4 on clips drawn from its own is nan'):
        perfect.resampled(40)
