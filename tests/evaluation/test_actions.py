import numpy as np
import pytest

from mmav.errors import MmavError
from mmav.evaluation.actions import as_actions
from tests.evaluation.test_predictions import label_sets, rows


def test_one_part_stays():
    actions, names = as_actions(rows([[0.5, 0.5]]), dict(label=['a', 'b']))
    assert names == ['a', 'b'] and actions[0]['label'] == dict(label=0)
    sets, _ = as_actions(label_sets([(0, 2), ()]))
    assert [row['label'] for row in sets] == [dict(label=(0, 2)), dict(label=())]
    bare, _ = as_actions(label_sets([None]))
    assert bare[0]['label'] == {} and bare[0]['scores']['label'].shape == (4,)


def test_verb_and_noun_are_an_action():
    scores = dict(verb=np.float32([0.9, 0.1]), noun=np.float32([0.2, 0.3, 0.5]))
    row = dict(rows([[0]])[0], label=dict(verb=1, noun=2), scores=scores)
    (action,), names = as_actions([row], dict(verb=['cut', 'wash'], noun=['onion', 'cup', 'pan']))
    assert names[action['label']['label']] == 'wash pan'
    assert action['scores']['label'] == pytest.approx(np.outer(scores['verb'], scores['noun']).ravel())
    bare, _ = as_actions([dict(row, label={})])
    assert bare[0]['label'] == {} and bare[0]['scores']['label'].shape == (6,)
    with pytest.raises(MmavError, match='several verbs or nouns have no action'):
        as_actions([dict(row, label=dict(verb=(0, 1), noun=(2,)))])
