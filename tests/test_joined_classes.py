"""Class lists of several datasets: equal, joined by name, or refused with what differs."""

from __future__ import annotations

import pytest

from mmav.errors import ConfigError, ManifestError
from mmav.joined_classes import join, names_in_config, read_whole

A, B = dict(label=('dog', 'cat')), dict(label=('cat', 'cow', 'hound'))
WHO = ('a.csv', 'b.csv')


def test_equal_lists_stay_as_they_are():
    assert join([A, A], WHO) == (A, [dict(label=[0, 1])] * 2)


def test_different_lists_are_refused_without_a_list_of_the_whole():
    with pytest.raises(ConfigError, match="only a.csv has 'dog'; only b.csv has 'cow', 'hound'.*classes='union'"):
        join([A, B], WHO)
    with pytest.raises(ConfigError, match="class 0 is 'dog' in a.csv and 'cat' in b.csv"):
        join([A, dict(label=('cat', 'dog'))], WHO)


def test_names_find_their_place():
    whole = dict(label=('cow', 'hound', 'cat', 'dog', 'pig'))
    assert join([A, B], WHO, classes=whole) == (whole, [dict(label=[3, 2]), dict(label=[2, 0, 1])])
    union = dict(label=('dog', 'cat', 'cow', 'hound'))
    assert join([A, B], WHO, classes='union') == (union, [dict(label=[0, 1]), dict(label=[1, 2, 3])])


@pytest.mark.parametrize('class_map', [[None, dict(hound='dog')], dict(hound='dog')])
def test_a_class_with_another_name_is_mapped(class_map):
    names, places = join([A, B], WHO, classes='union', class_map=class_map)
    assert names == dict(label=('dog', 'cat', 'cow')) and places == [dict(label=[0, 1]), dict(label=[1, 2, 0])]


def test_a_map_is_of_its_own_list():
    """The same name means two things."""
    lists = [dict(label=('jaguar',)), dict(label=('jaguar', 'car'))]
    _, places = join(lists, WHO, classes=dict(label=('car', 'cat')), class_map=[dict(jaguar='cat'), dict(jaguar='car')])
    assert places == [dict(label=[1]), dict(label=[0, 0])]


def test_a_misspelt_union_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="classes='unoin' is no file, did you mean 'union'"):
        read_whole('unoin', str(tmp_path))
    with pytest.raises(ManifestError, match='no class list at .*all.txt'):
        read_whole('all.txt', str(tmp_path))
    (tmp_path / 'unoin').write_text('dog\ncat\n')
    assert read_whole('unoin', str(tmp_path)) == A and read_whole('union', '') == 'union'


def test_parts():
    one, other = (dict(verb=verbs, noun=('cup', 'pan')) for verbs in (('cut', 'wash'), ('slice',)))
    names, places = join([one, other], WHO, classes='union', class_map=dict(verb=dict(slice='cut')))
    assert names == one and places[1] == dict(verb=[0], noun=[0, 1])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(classes=dict(label=('dog', 'cat', 'cows'))), "class 'cow' of b.csv is not among the 3 classes"),
        (dict(classes=dict(label=('dog', 'cat', 'cows'))), "did you mean 'cows'"),
        (dict(classes='union', class_map=dict(hund='dog')), "no class is called 'hund', did you mean 'hound'"),
        (dict(classes='union', class_map=[dict(cow='dog'), None]), "class_map: no class is called 'cow'"),
        (dict(classes=A, class_map=dict(hound='puppy', cow='cat')), "'hound', which class_map calls 'puppy', of b"),
        (dict(classes=dict(label=('dog', 'cat', 'cow', 'hound', 'cat'))), "classes has 'cat' more than once"),
        (dict(classes='union', class_map=[None]), 'class_map has 1 entries for 2 datasets'),
        (dict(classes='union', class_map='hound=dog'), "class_map='hound=dog': give dict"),
        (dict(class_map=dict(hound='dog')), 'class_map has no effect without classes'),
        (dict(classes=dict(verb=('a',), noun=('b',))), 'classes are of verb and noun, the datasets have label'),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_refused(options, message):
    with pytest.raises(ConfigError, match=message) as error:
        join([A, B], WHO, **options)
    assert '\n' not in str(error.value)


def test_labels_of_other_parts_are_refused():
    with pytest.raises(ConfigError, match=r'a\.csv has labels of label, b\.csv of verb and noun'):
        join([A, dict(verb=('a',), noun=('b',))], WHO, classes='union')
    with pytest.raises(ConfigError, match="class_map has 'verbs', but the label has the parts verb and noun.*'verb'"):
        join([dict(verb=('a',), noun=('b',))], ['x'], classes='union', class_map=dict(verbs={}))


def test_names_of_a_config(tmp_path):
    (tmp_path / 'b.txt').write_text('cat\ncow\n')
    (tmp_path / 'all.txt').write_text('cow\ncat\ndog\n')
    one = dict(type='AVDataset', ann_file='a.csv', classes=['dog', 'cat'])
    other = dict(type='AVDataset', ann_file='b.csv', classes='b.txt', data_root=str(tmp_path))
    joined = dict(type='ConcatDataset', datasets=[one, dict(type='RepeatDataset', dataset=other, times=2)])
    assert names_in_config(dict(type='RepeatDataset', dataset=one)) == dict(label=('dog', 'cat'))
    assert names_in_config(dict(joined, classes='union')) == dict(label=('dog', 'cat', 'cow'))
    of_file = dict(joined, classes='all.txt', data_root=str(tmp_path))
    assert names_in_config(of_file) == dict(label=('cow', 'cat', 'dog'))
    assert names_in_config(dict(joined, classes='union', class_map=dict(cow='dog'))) == dict(label=('dog', 'cat'))
    with pytest.raises(ConfigError, match='different class lists'):
        names_in_config(joined)
    # what is not there yet is not judged
    (tmp_path / 'b.txt').unlink()
    assert names_in_config(joined) is names_in_config(dict(joined, classes='union')) is None
    assert names_in_config(of_file) == dict(label=('cow', 'cat', 'dog'))
    assert names_in_config(dict(of_file, classes='none.txt')) is None
    with pytest.raises(ManifestError, match='b.txt'):
        names_in_config(dict(joined, classes='union'), missing_ok=False)
