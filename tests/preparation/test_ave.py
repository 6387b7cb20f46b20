from __future__ import annotations

import pytest

from mmav.datasets import AVDataset
from mmav.errors import MmavError
from mmav.preparation.annotations import read_labels
from mmav.preparation.ave import HEADER, read_ave
from mmav.preparation.manifests import dry_run, prepare
from tests.clips import make_clip

# in the form of the official lists; Mandolin's row has no event, -bcdefghijk has two classes, and so has Abcdefghijk,
# which is in training and in test
TRAIN = (
    'Church bell&RUhOCu3LNXM&good&0&10\nBaby cry, infant cry&-bcdefghijk&good&3&7\nGoat&-bcdefghijk&good&0&10\n'
    'Horse&Abcdefghijk&good&0&10\nMandolin&0bcdefghijk&good&0&0\n'
)
VAL = 'Frying (food)&1bcdefghijk&good&5&10\n'
TEST = 'Goat&Abcdefghijk&good&2&6\n'


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'lists'
    root.mkdir()
    for name, text in (('train', TRAIN), ('val', VAL), ('test', TEST)):
        (root / f'{name}Set.txt').write_text(text)
    return root


def rows(annotation):
    return [(clip.split, clip.id, clip.label) for clip in annotation.clips]


def test_lists(folder):
    annotation = read_ave(str(folder))
    assert rows(annotation) == [
        ('train', 'RUhOCu3LNXM', 'Church bell'),
        ('train', '-bcdefghijk', 'Baby cry, infant cry'),
        ('train', '-bcdefghijk', 'Goat'),
        ('train', '0bcdefghijk', 'Mandolin'),
        ('val', '1bcdefghijk', 'Frying (food)'),
        ('test', 'Abcdefghijk', 'Goat'),
    ]
    assert [tuple(problem) for problem in annotation.problems] == [
        (
            'duplicate row',
            "trainSet.txt: line 4: Abcdefghijk is in testSet.txt, line 1, too, as 'Goat' and not 'Horse'",
        ),
        (
            'clip of several classes',
            '-bcdefghijk: trainSet.txt line 2, trainSet.txt line 3: Baby cry, infant cry and Goat',
        ),
    ]
    text = dry_run(annotation)
    assert 'clip of several classes: 1, each of its rows is kept' in text and '--official keeps them' in text
    assert '\nval       1         0      1        1\n' in text
    assert len(read_labels('ave')) == 28


def test_the_official_lists_have_clips_in_two_splits(folder):
    annotation = read_ave(str(folder), official=True)
    assert ('train', 'Abcdefghijk', 'Horse') in rows(annotation) and not annotation.left_out
    (note,) = annotation.notes
    assert note.startswith('1 rows are of clips that are also in a later split, with another class; they are kept')


def test_events(folder):
    annotation = read_ave(str(folder), events=True)
    assert [(clip.start, clip.end) for clip in annotation.clips] == [(0, 10), (3, 7), (0, 10), (5, 10), (2, 6)]
    assert annotation.problems[0].text == 'trainSet.txt: line 5: end 0 s is not after start 0 s'
    with pytest.raises(MmavError, match='--events cuts a clip to the event of one class'):
        read_ave(str(folder), events=True, multi_label=True)


def test_several_labels(folder):
    annotation = read_ave(str(folder), multi_label=True)
    assert ('train', '-bcdefghijk', 'Baby cry, infant cry|Goat') in rows(annotation) and len(annotation.clips) == 5
    assert annotation.rows == dict(train=4, val=1, test=1)
    assert '\ntrain     4         1      3        4\n' in dry_run(annotation)


def test_rows_that_cannot_be_right(folder):
    bad = 'Goat&short&good&0&10\nGoat&2bcdefghijk&good&0&11\nGoats&2bcdefghijk&good&0&10\nGoat&2bcdefghijk\n'
    (folder / 'valSet.txt').write_text(HEADER + '\n' + VAL + bad + VAL)
    assert [problem.text for problem in read_ave(str(folder)).problems[:5]] == [
        "valSet.txt: line 3: 'short' is not a YouTube id (11 letters, digits, - and _)",
        "valSet.txt: line 4: '11' is not a second of the clip, 0 to 10",
        "valSet.txt: line 5: label 'Goats' is not in the class list, did you mean 'Goat'?",
        'valSet.txt: line 6: 2 cells between &, 5 are right: Category&VideoID&Quality&StartTime&EndTime',
        "trainSet.txt: line 4: Abcdefghijk is in testSet.txt, line 1, too, as 'Goat' and not 'Horse'",
    ]
    assert any(
        problem.text.endswith('1bcdefghijk is there already in line 2') for problem in read_ave(str(folder)).problems
    )


def test_lists_are_compared_with_all_annotations(folder):
    (folder / 'Annotations.txt').write_text(HEADER + '\n' + TRAIN + VAL + TEST + 'Clock&3bcdefghijk&good&0&10\n')
    found = [problem for problem in read_ave(str(folder)).problems if problem.kind == 'annotation in no list']
    assert [problem.text for problem in found] == ['Annotations.txt: Clock&3bcdefghijk&good&0&10']


def test_a_list_may_be_missing(folder):
    (folder / 'trainSet.txt').unlink()
    annotation = read_ave(str(folder))
    assert {clip.split for clip in annotation.clips} == {
        'val',
        'test',
    } and 'there is no train split' in annotation.notes[0]
    for name in ('valSet.txt', 'testSet.txt'):
        (folder / name).unlink()
    with pytest.raises(MmavError, match='none of trainSet.txt, valSet.txt, testSet.txt is in'):
        read_ave(str(folder))


@pytest.mark.parametrize('events', [False, True])
def test_clips_are_read_from_the_manifest(folder, tmp_path, events):
    (tmp_path / 'AVE').mkdir()
    for name in ('-bcdefghijk', '1bcdefghijk', 'Abcdefghijk', 'xbcdefghijk'):
        make_clip(tmp_path / 'AVE' / f'{name}.mp4', seconds=6)
    text = prepare(read_ave(str(folder), events=events), str(tmp_path / 'AVE'), str(tmp_path))
    assert 'file that no row names: 1, not used\n  xbcdefghijk.mp4' in text
    cells = 'path,start,end,label\nAVE/-bcdefghijk.mp4,3,7,' if events else 'path,label\nAVE/-bcdefghijk.mp4,'
    second = 'AVE/-bcdefghijk.mp4,0,10,Goat\n' if events else 'AVE/-bcdefghijk.mp4,Goat\n'
    assert (tmp_path / 'train.csv').read_text() == f'{cells}"Baby cry, infant cry"\n{second}'
    pipeline = [dict(type='LoadClip', num_frames=2, short_side=32, mode='uniform')]
    item = AVDataset('test.csv', pipeline, data_root=str(tmp_path), test_mode=True)[0]
    assert item['broken'] is None and item['label'] == dict(label=read_labels('ave').index('Goat'))
    assert (item['start'], item['end']) == ((2.0, 6.0) if events else (0.0, pytest.approx(6.0, abs=0.1)))
