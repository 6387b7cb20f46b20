from __future__ import annotations

import pytest

from mmav.datasets import AVDataset
from mmav.errors import ManifestError
from mmav.preparation.annotations import read_labels
from mmav.preparation.kinetics_sounds import read_kinetics_sounds
from mmav.preparation.manifests import prepare
from tests.clips import make_clip

HEADER = 'label,youtube_id,time_start,time_end,split,is_cc\n'
VAL = (
    HEADER
    + """\
abseiling,0wR5jVB-WPk,417,427,val,0
playing drums,-36abcdefgh,36,46,val,0
strumming guitar,3yaoNwz99xM,62,72,val,1
tap dancing,abcdefgh_ij,0,10,val,0
"""
)
TRAIN = """\
split,time_end,youtube_id,label,time_start
train,20,tttttttttt1,singing,10
train,20,tttttttttt2,playing drums,10
train,46,-36abcdefgh,playing drums,36
"""


@pytest.fixture
def write(tmp_path):
    def write_text(text, name='val.csv'):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write_text


def rows(annotation):
    return [(clip.split, clip.line, clip.id, clip.start, clip.end, clip.label) for clip in annotation.clips]


def test_takes_the_rows_of_its_classes(write):
    annotation = read_kinetics_sounds(write(TRAIN, 'train.csv'), write(VAL))
    assert rows(annotation) == [
        ('train', 2, 'tttttttttt1', 10, 20, 'singing'),
        ('train', 3, 'tttttttttt2', 10, 20, 'playing drums'),
        ('test', 3, '-36abcdefgh', 36, 46, 'playing drums'),
        ('test', 4, '3yaoNwz99xM', 62, 72, 'strumming guitar'),
        ('test', 5, 'abcdefgh_ij', 0, 10, 'tap dancing'),
    ]
    assert annotation.left_out == dict(train=1)  # a test clip is not trained on
    assert annotation.notes == ['val.csv: 1 rows of other classes are skipped']
    assert len(annotation.classes['label']) == 32


def test_31_classes(write):
    annotation = read_kinetics_sounds(test=write(VAL), num_classes=31)
    assert annotation.classes['label'] == tuple(x for x in read_labels('kinetics_sounds') if x != 'strumming guitar')
    assert [clip.line for clip in annotation.clips] == [3, 5]
    assert annotation.notes == ['no train list is given (--train)', 'val.csv: 2 rows of other classes are skipped']
    with pytest.raises(ValueError, match='num_classes must be 31 or 32, got 30'):
        read_kinetics_sounds(num_classes=30)


def test_bad_rows_are_left_out(write):
    bad = """\
singing,#NAME?,0,10,val,0
singing,abcdefgh_ij,x,10,val,0
singing,abcdefgh_ij,10,10,val,0
singing,abcdefgh_ij
singing,abcdefgh_iJ,0,10,train,0
"""
    annotation = read_kinetics_sounds(test=write(VAL + bad))
    assert [problem.text for problem in annotation.problems] == [
        "val.csv: line 6: '#NAME?' is not a YouTube id (11 letters, digits, - and _)",
        "val.csv: line 7: 'x' is not a time in whole seconds",
        'val.csv: line 8: end 10 s is not after start 10 s',
        'val.csv: line 9: 2 cells, at least 5 are needed',
        "val.csv: line 10: split 'train' in the list given with --test",
    ]


def test_lists_that_are_none(write):
    with pytest.raises(ManifestError, match=r"none of its 3 rows .*, line 2: split 'train' in the list given with"):
        read_kinetics_sounds(test=write(TRAIN))
    with pytest.raises(ManifestError, match=r"no column 'youtube_id', only 'label', 'id'"):
        read_kinetics_sounds(test=write('label,id\n'))
    with pytest.raises(ManifestError, match=r'none of its 1 rows .*; 1 are of other classes'):
        read_kinetics_sounds(test=write(HEADER + 'abseiling,0wR5jVB-WPk,417,427,val,0\n'))


@pytest.mark.parametrize(
    'name',
    [
        'val/-36abcdefgh_000036_000046.mp4',
        'playing drums/-36abcdefgh_36_46.mkv',
        'playing_drums/-36abcdefgh_000036.mp4',
        '-36abcdefgh.MP4',
    ],
)
def test_customary_names(write, tmp_path, name):
    (tmp_path / 'clips' / name).parent.mkdir(parents=True)
    (tmp_path / 'clips' / name).write_bytes(b'x')
    text = prepare(read_kinetics_sounds(test=write(VAL)), str(tmp_path / 'clips'), str(tmp_path))
    assert (tmp_path / 'test.csv').read_text() == f'path,label\nclips/{name},playing drums\n'
    assert 'folder of another class' not in text and 'train.csv is not written' in text


def test_a_folder_of_any_class_of_kinetics_is_a_conflict(write, tmp_path):
    (tmp_path / 'clips' / 'abseiling').mkdir(parents=True)
    (tmp_path / 'clips' / 'abseiling' / '-36abcdefgh.mp4').write_bytes(b'x')
    text = prepare(read_kinetics_sounds(test=write(VAL)), str(tmp_path / 'clips'), str(tmp_path))
    assert 'folder of another class: 1, the annotation is followed' in text
    assert "abseiling/-36abcdefgh.mp4 is in 'abseiling', labelled 'playing drums'" in text


def test_clips_are_read_from_the_manifest(write, tmp_path):
    (tmp_path / 'playing_drums').mkdir()
    make_clip(tmp_path / 'playing_drums' / '-36abcdefgh_000036_000046.mp4', seconds=1)
    prepare(read_kinetics_sounds(test=write(VAL)), str(tmp_path), str(tmp_path))
    pipeline = [dict(type='LoadClip', num_frames=2, short_side=32, mode='uniform')]
    item = AVDataset('test.csv', pipeline, data_root=str(tmp_path), test_mode=True)[0]
    assert item['broken'] is None and item['label'] == dict(label=read_labels('kinetics_sounds').index('playing drums'))
