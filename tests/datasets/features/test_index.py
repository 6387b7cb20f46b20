"""The index of a folder of features."""

import json

import pytest

from mmav.datasets.features import FeatureIndex, StoredModality, read_index
from mmav.datasets.features.index import parse_index
from mmav.errors import FeatureError


@pytest.fixture
def index():
    return FeatureIndex(
        made_by=dict(config='a.py'),
        encoders=dict(video='abc'),
        modalities=dict(video=StoredModality(8, (1, 2, 3), 2), audio=StoredModality(4)),
        dtype='float16',
        classes=dict(verb=['open'], noun=['door', 'box']),
        labels=dict(verb=[0, 0], noun=[1, 0]),
        paths=['a.mp4', 'b.mp4'],
        starts=[None, 1.5],
        ends=[None, 2.5],
        lines=[2, 3],
        spans=[(None, None), (1.5, 2.5)],
        broken={0: 'empty'},
        absent=dict(audio=[0]),
        complete=True,
    )


def test_round_trip(index):
    again = parse_index(index.to_json(), 'index.json')
    assert again.modalities == index.modalities
    assert again.modalities['video'].num_tokens == 6
    assert again.modalities['audio'].num_tokens == 0
    assert again.broken == {0: 'empty'}
    assert again.starts == [None, 1.5]
    assert again.to_json() == index.to_json()


def test_a_folder_without_is_refused(tmp_path):
    with pytest.raises(FeatureError, match=r'no features in .* make them with `mmav extract-features`'):
        read_index(tmp_path)


def test_a_folder_of_several_sets_asks_for_one(index, tmp_path):
    for name in ('train', 'test'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'index.json').write_text(index.to_json())
    with pytest.raises(FeatureError, match='holds features of test, train: name one'):
        read_index(tmp_path)
    assert read_index(tmp_path / 'test').dtype == 'float16'


def test_an_unfinished_one_is_refused(index, tmp_path):
    index.complete = False
    (tmp_path / 'index.json').write_text(index.to_json())
    with pytest.raises(FeatureError, match='are not complete: repeat the command'):
        read_index(tmp_path)
    assert not read_index(tmp_path, unfinished_ok=True).complete


@pytest.mark.parametrize('text', ['', '[]', '{}', '{"mmav_features"'])
def test_another_file_is_refused(text):
    with pytest.raises(FeatureError, match=r"'a.json' is not an index of features"):
        parse_index(text, 'a.json')


def test_another_version_is_refused(index):
    text = index.to_json().replace('"mmav_features": 1', '"mmav_features": 99')
    with pytest.raises(FeatureError, match='has version 99 of the format, this mmav reads 1'):
        parse_index(text, 'a.json')


@pytest.mark.parametrize(
    ('name', 'value', 'why'),
    [
        ('lines', [2], '2 paths and 1 lines'),
        ('labels', dict(verb=[0], noun=[0, 1]), '2 paths and 1 labels of verb'),
        ('dtype', 'int8', "dtype 'int8' is unknown"),
        ('modalities', dict(video=dict(width=1)), 'grid'),
        ('shards', [dict(file='a', clips=3, bytes=1)], 'another number of clips than 2'),
    ],
)
def test_a_damaged_one_is_refused(index, name, value, why):
    content = json.loads(index.to_json())
    content[name] = value
    with pytest.raises(FeatureError, match=why):
        parse_index(json.dumps(content), 'a.json')
