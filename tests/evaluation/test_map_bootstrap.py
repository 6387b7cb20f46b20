import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mmav.errors import MmavError
from mmav.evaluation.label_sets import read_label_sets
from mmav.evaluation.map_bootstrap import _draw, _Ranking, compare_map
from mmav.evaluation.predictions import save_predictions
from tests.evaluation.sets import NAMES, random_sets, set_rows, write_sets


@pytest.fixture
def pair(tmp_path):
    return [read_label_sets(write_sets(tmp_path / f'{s}.pkl', seed=s, noise=s)) for s in (1, 3)]


def test_weighted_precision_is_that_of_the_drawn_clips(tmp_path):
    scores, truth = random_sets()
    scores = np.round(scores * 8) / 8  # with ties
    save_predictions(tmp_path / 'p.pkl', set_rows(scores, truth, {5, 6}), NAMES)
    sets = read_label_sets(tmp_path / 'p.pkl')
    weights = _draw(np.random.default_rng(0), 80, 20)
    assert (weights.sum(axis=0) == 80).all() and weights.max() > 1
    for index in range(5):
        found = _Ranking(sets, index).precision(weights)
        for draw in range(20):
            times = np.where(sets.broken, 0, weights[:, draw]).astype(int)
            clips = np.repeat(np.arange(80), times)
            expected = average_precision_score(truth[clips, index], scores[clips, index])
            all_of_them = weights[truth[:, index], draw].sum()
            assert found[draw] == pytest.approx(expected * truth[clips, index].sum() / all_of_them)
    assert np.isnan(_Ranking(sets, 0).precision(np.zeros((80, 1))))


def test_a_clear_lead_and_none(pair):
    found = compare_map(*pair, resamples=200)
    assert found['difference'] == pytest.approx(found['mAP_first'] - found['mAP_second']) and found['clips'] == 80
    expected = average_precision_score(pair[0].labels, pair[0].scores)
    assert found['mAP_first'] == pytest.approx(expected)
    low, high = found['interval']
    assert 0 < low < found['difference'] < high and found['p_value'] == pytest.approx(2 / 201)
    assert found == compare_map(*pair, resamples=200)  # the seed is fixed
    back = compare_map(*reversed(pair), resamples=200)
    assert back['difference'] == -found['difference'] and back['interval'] == pytest.approx([-high, -low])
    same = compare_map(pair[0], pair[0], resamples=100)
    assert same['interval'] == [0, 0] and same['p_value'] == 1


def test_only_the_same_clips_are_compared(tmp_path, pair):
    scores, truth = random_sets(seed=3, noise=3)
    save_predictions(tmp_path / 'b.pkl', set_rows(scores, truth)[:20:-1], NAMES)
    found = compare_map(pair[0], read_label_sets(tmp_path / 'b.pkl'), resamples=100)
    assert [found[name] for name in ('clips', 'only_in_first', 'only_in_second')] == [59, 21, 0]
    assert found['mAP_second'] == pytest.approx(average_precision_score(truth[21:], scores[21:]))


def test_what_cannot_be_compared(tmp_path, pair):
    with pytest.raises(MmavError, match='10 resamples are too few'):
        compare_map(*pair, resamples=10)
    other = read_label_sets(write_sets(tmp_path / 'c.pkl', classes=('a', 'b', 'c', 'd', 'e')))
    with pytest.raises(MmavError, match='are of different classes'):
        compare_map(pair[0], other)
    save_predictions(tmp_path / 'd.pkl', set_rows(np.ones((3, 5)), np.zeros((3, 5))), NAMES)
    bare = read_label_sets(tmp_path / 'd.pkl')
    with pytest.raises(MmavError, match='share no class that some of the clips have'):
        compare_map(bare, bare)
