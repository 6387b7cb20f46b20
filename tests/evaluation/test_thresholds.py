import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mmav.errors import MmavError
from mmav.evaluation.class_scores import answers_of
from mmav.evaluation.thresholds import find_thresholds, read_thresholds
from tests.evaluation.test_class_scores import draw

NAMES = [f'class {k}' for k in range(7)]


def written(tmp_path, content):
    (tmp_path / 't.json').write_text(json.dumps(content))
    return tmp_path / 't.json'


def test_what_is_found_is_what_is_read(tmp_path):
    scores, truth = draw(0)
    truth[:, 3] = False
    answers = answers_of(scores, truth)
    content, without = find_thresholds(answers, NAMES)
    common = read_thresholds(written(tmp_path, content)).of(NAMES)
    assert content == dict(threshold=common) and without == []
    kept = [k for k in range(7) if k != 3]
    best = max(f1_score(truth[:, kept], scores[:, kept] >= t, average='macro') for t in np.unique(scores))
    assert f1_score(truth[:, kept], scores[:, kept] >= common, average='macro') == pytest.approx(best)
    content, without = find_thresholds(answers, NAMES, per_class=True)
    each = read_thresholds(written(tmp_path, content)).of(NAMES)
    assert without == ['class 3'] and each[3] == common
    assert f1_score(truth[:, kept], (scores >= each)[:, kept], average='macro') > best
    # by name, whatever the order of the classes
    assert read_thresholds(tmp_path / 't.json').of(NAMES[::-1]).tolist() == each[::-1].tolist()


def test_numbers():
    assert read_thresholds(0.25).of(None) == 0.25 and read_thresholds('1').of(NAMES) == 1.0


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (dict(threshold=2), '2 is no threshold: give a number from 0 to 1'),
        (dict(threshold=None), 'None is no threshold'),
        (dict(classes={'class 0': 'high'}), "class 0: 'high' is no threshold"),
        (dict(thresholds=0.5), 'is no file of thresholds: write {"threshold": 0.5} or'),
        ([0.5], 'is no file of thresholds'),
    ],
)
def test_files_that_are_wrong(tmp_path, content, message):
    with pytest.raises(MmavError, match=message):
        read_thresholds(written(tmp_path, content))


@pytest.mark.parametrize(
    ('names', 'classes', 'message'),
    [
        (NAMES[:-1], NAMES, "it has none of 'class 6'"),
        ([*NAMES, 'clas 7'], [*NAMES], "there is no class 'clas 7'"),
        (NAMES, None, 'the classes have none: give one number for all'),
    ],
)
def test_thresholds_of_other_classes(tmp_path, names, classes, message):
    found = read_thresholds(written(tmp_path, dict(classes=dict.fromkeys(names, 0.5))))
    with pytest.raises(MmavError, match=message):
        found.of(classes)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(MmavError, match=r"no file 'none\.json': give a number from 0 to 1, or"):
        read_thresholds('none.json')
    (tmp_path / 't.json').write_text('{')
    with pytest.raises(MmavError, match='cannot be read as thresholds'):
        read_thresholds(tmp_path / 't.json')
