"""The cells of label columns; those of one label are tested with the whole manifest, in test_manifest.py."""

import pickle

import pytest

from mmav.datasets.columns import say_once
from mmav.datasets.label_cells import LabelReader
from mmav.datasets.manifest import read_manifest
from mmav.errors import ManifestError

CLASSES = ('dog barking', 'people eating, noodle', '7')


def several(cell, classes=CLASSES):
    return LabelReader('train.csv', 'label', classes, several=True).cell('train.csv: row 2', cell)


@pytest.mark.parametrize(
    ('cell', 'labels'),
    [
        ('dog barking', (0,)),
        ('7|dog barking', (0, 2)),  # sorted
        ('people eating, noodle | 0 |7', (0, 1, 2)),  # names and indices
        ('1|people eating, noodle', (1,)),  # the same class
        ('', ()),
    ],
)
def test_any_number_of_labels(cell, labels):
    assert several(cell) == labels


@pytest.mark.parametrize(
    ('cell', 'message'),
    [
        ('dog barking|', r"row 2: label 'dog barking\|' has a '\|' without a name on both sides"),
        ('|', 'without a name on both sides'),
        ('0||1', 'without a name on both sides'),
        ('dog barking|dog barkin', "label 'dog barkin' is not in the class list, did you mean 'dog barking'"),
        ('dog barking; 7', r"is not in the class list; write 'dog barking\|7' if it is several labels"),
        ('dog barking; cat', 'is not in the class list, did you mean'),
        ('0|3', 'label 3 is out of range: the class list has 3 classes, 0 to 2'),
    ],
)
def test_what_is_refused(cell, message):
    with pytest.raises(ManifestError, match=message):
        several(cell)


def test_a_separator_in_a_class_name():
    with pytest.raises(ManifestError, match="the class 'a|b' has one in its name: rename it in the class list"):
        several('c', ('a|b', 'c'))
    assert LabelReader('train.csv', 'label', ('a|b', 'c')).cell('', 'a|b') == 0  # with one label it is a name
    with pytest.raises(ManifestError, match="'a|c' is not in the class list; if it is several .* multi_label=True"):
        LabelReader('train.csv', 'label', ('a|b', 'c')).cell('row 2', 'a|c')


def test_empty_cells_are_counted_once(tmp_path, monkeypatch):
    path = tmp_path / 'train.csv'
    path.write_text('path,label\n' + ''.join(f'{k}.mp4,{"0|1" if k % 3 else ""}\n' for k in range(9)))
    told = []
    say_once.cache_clear()
    monkeypatch.setattr('mmav.datasets.columns.print_log', lambda text, *_, **__: told.append(text))
    for _ in range(2):
        read_manifest(str(path), CLASSES, multi_label=True)
    assert told == [f'{path}: 3 of 9 clips have an empty label: they have none of the classes']


def test_a_manifest_of_many_labels_is_a_few_arrays(tmp_path):
    path = tmp_path / 'train.csv'
    path.write_text('path,verb,noun\n' + ''.join(f'{k}.mp4,{k % 2}|2,{k % 3}\n' for k in range(2000)))
    manifest = read_manifest(str(path), dict(verb=CLASSES, noun=CLASSES), multi_label=True)
    packed = pickle.dumps(manifest)
    assert len(packed) < 2000 * 80
    again = pickle.loads(packed)
    for k in (0, 1, 2, 1999):
        assert manifest[k] == again[k] and manifest[k].label == dict(verb=(k % 2, 2), noun=(k % 3,))
