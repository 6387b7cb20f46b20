import numpy as np
import pytest

from mmav.errors import MmavError
from mmav.evaluation.label_sets import read_label_sets
from mmav.evaluation.predictions import save_predictions
from tests.evaluation.sets import NAMES, random_sets, set_rows, write_sets


def test_a_dump_as_arrays(tmp_path):
    scores, truth = random_sets()
    scores[7, 1] = np.nan
    save_predictions(tmp_path / 'p.pkl', set_rows(scores, truth, {3}), NAMES)
    sets = read_label_sets(tmp_path / 'p.pkl')
    assert np.array_equal(sets.labels, truth) and np.array_equal(sets.scores, scores, equal_nan=True)
    assert np.flatnonzero(~sets.answered).tolist() == [3, 7] and sets.broken.tolist().count(True) == 1
    assert sets.classes == list(NAMES) and sets.named and sets.sizes == (5,) and sets.answers.broken == 1
    some = sets.of(np.array([3, 9]))
    assert [key[0] for key in some.keys] == [3, 9] and some.broken.tolist() == [True, False]
    save_predictions(tmp_path / 'p.pkl', set_rows(scores, truth))
    assert read_label_sets(tmp_path / 'p.pkl').classes == list('01234')


def test_in_the_order_of_another_dump(tmp_path):
    first = read_label_sets(write_sets(tmp_path / 'a.pkl'))
    scores, truth = random_sets()
    order = [3, 1, 4, 0, 2]
    save_predictions(tmp_path / 'b.pkl', set_rows(scores[:, order], truth[:, order]), [NAMES[k] for k in order])
    second = read_label_sets(tmp_path / 'b.pkl', like=first.lists)
    assert second.classes == first.classes
    assert np.array_equal(first.labels, second.labels) and np.array_equal(first.scores, second.scores)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda rows: [dict(row, label=0) for row in rows], 'has clips with one label each: give predictions of'),
        (lambda rows: [dict(row, label={}) for row in rows], 'is of clips without labels'),
        (lambda rows: [*rows, rows[0]], r'has a clip twice: 0\.mp4'),
        (lambda rows: [*rows[:-1], dict(rows[-1], scores=np.ones(4))], 'different numbers of classes'),
        (lambda rows: [dict(row, scores=5 * row['scores']) for row in rows], 'not probabilities'),
        (lambda rows: [dict(row, label=(0, 5)) for row in rows], 'the label 5, but the model tells 5 classes apart'),
    ],
)
def test_dumps_that_are_wrong(tmp_path, change, message):
    save_predictions(tmp_path / 'p.pkl', change(set_rows(*random_sets(clips=6))))
    with pytest.raises(MmavError, match=message):
        read_label_sets(tmp_path / 'p.pkl')
