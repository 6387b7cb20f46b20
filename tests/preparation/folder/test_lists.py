"""From a folder's clips to its lists: what is held out, cut into windows, left out and written where."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from mmav.datasets.manifest import read_manifest
from mmav.errors import MmavError
from mmav.preparation.folder.listing import list_folder
from mmav.preparation.folder.lists import divide
from mmav.preparation.folder.survey import Survey
from tests.preparation.folder.test_survey import BLIND, BROKEN, WHOLE


@pytest.fixture
def survey(tmp_path):
    """A folder of files that nothing reads, with made-up measures; ``changed``: path -> measures."""

    def make(*, number=10, files=None, changed=None, copies=()):
        root = tmp_path / 'clips'
        names = [f'{label}/{label}_{k}.mp4' for label in ('x', 'y') for k in range(number)]
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        for name, text in (files or {}).items():
            (root / name).write_text(text)
        listing = list_folder(root)
        probes = {clip.path: (changed or {}).get(clip.path, WHOLE) for clip in listing.clips}
        return Survey(listing, probes, [list(group) for group in copies])

    return make


def read(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def lists(survey, out, **options):
    return divide(survey, out, **{**dict(modalities=('video', 'audio'), window=2.0), **options})


def test_two_parts_are_held_out_and_written_elsewhere(survey, tmp_path):
    found = lists(survey(), tmp_path / 'out')
    assert {part: len(clips) for part, clips in found.clips.items()} == dict(train=12, val=4, test=4)
    rows = {part: {row['path'] for row in read(path)} for part, path in found.files.items()}
    assert {path.name for path in (tmp_path / 'out').glob('[!.]*')} == {
        'classes.txt',
        *(f'{part}.csv' for part in rows),
    }
    assert (
        not rows['train'] & rows['val'] and not rows['train'] & rows['test'] and len(set().union(*rows.values())) == 20
    )
    assert len(read_manifest(str(found.files['val']), ('x', 'y'))) == 4
    assert found.classes.read_text() == 'x\ny\n' and not list((tmp_path / 'clips').glob('*.*'))
    assert len(found.told) == 1 and found.told[0].startswith('held out: 20% of each class for test and 20% for val, ')
    again = lists(survey(), tmp_path / 'other')
    assert again.clips == found.clips != lists(survey(), tmp_path / 'third', seed=1).clips


def test_a_long_file_becomes_windows_on_one_side(survey, tmp_path):
    long = replace(WHOLE, duration=100.0, promised=100.0)
    found = lists(survey(changed={'x/x_3.mp4': long, 'y/y_0.mp4': replace(long, duration=3.9)}), tmp_path / 'out')
    own = {part: [clip for clip in clips if clip.path == 'x/x_3.mp4'] for part, clips in found.clips.items()}
    (windows,) = [clips for clips in own.values() if clips]
    # 200 clips of a class, 10 files: 20 of each
    assert len(windows) == 20
    assert windows[0][3:] == (0.0, 2.0) and windows[-1][3:] == (98.0, 100.0)
    assert found.told[0] == ('1 file of 4 s or more became 20 clips of 2 s; those of one file are on one side')
    header = found.files['train'].read_text().splitlines()[0]
    assert header == 'path,start,end,label'


def test_broken_files_and_copies_are_left_out(survey, tmp_path):
    made = survey(changed={'x/x_1.mp4': BROKEN, 'y/y_2.mp4': BLIND}, copies=[('x/x_4.mp4', 'x/x_5.mp4', 'y/y_6.mp4')])
    found = lists(made, tmp_path / 'out', modalities=('video',))
    assert found.left_out == {
        'x/x_1.mp4': 'Invalid data', 'y/y_2.mp4': 'has no video', 'x/x_5.mp4': 'a copy of x/x_4.mp4',
    }  # fmt: skip
    sides = {clip.path: part for part, clips in found.clips.items() for clip in clips}
    assert len(sides) == 17 and sides['x/x_4.mp4'] == sides['y/y_6.mp4']


TRAIN = 'path,label\n' + ''.join(f'{label}/{label}_{k}.mp4,{label}\n' for label in 'xy' for k in range(8))
TEST = 'path,label\nx/x_8.mp4,x\nx/x_9.mp4,x\ny/y_8.mp4,y\n'


def test_a_users_lists_stand(survey, tmp_path):
    files = {'train.csv': TRAIN, 'test.csv': TEST, 'classes.txt': 'y\nx\n'}
    found = lists(survey(files=files), tmp_path / 'out')
    assert found.files['test'] == tmp_path / 'clips/test.csv' and found.classes == tmp_path / 'clips/classes.txt'
    assert {path.name for path in (tmp_path / 'out').glob('[!.]*')} == {'train.csv', 'val.csv'}
    assert {part: len(clips) for part, clips in found.clips.items()} == dict(train=12, val=4, test=3)
    assert (tmp_path / 'clips/train.csv').read_text() == TRAIN


def test_lists_of_pairs_stay_pairs(survey, tmp_path):
    rows = [f'{label}/{k}.npy,{label}/{k}.wav,29.97002997,,{label}' for label in 'xy' for k in range(8)]
    text = '\n'.join(['video,audio,fps,sample_rate,label', *rows, '']).replace('x/3.npy', '')
    found = lists(survey(files={'train.csv': text}), tmp_path / 'out')
    written = [tuple(row.values()) for path in found.files.values() for row in read(path)]
    assert sorted(written) == sorted(tuple(row.split(',')) for row in text.splitlines()[1:])


def test_times_are_written_to_the_millisecond(survey, tmp_path):
    text = TRAIN.replace('path,label', 'path,start,end,label').replace('.mp4,', '.mp4,12345.678,100000.5,')
    long = replace(WHOLE, duration=2e5, promised=2e5)
    names = {f'{label}/{label}_{k}.mp4': long for label in 'xy' for k in range(10)}
    found = lists(survey(files={'train.csv': text}, changed=names), tmp_path / 'out')
    assert {(row['start'], row['end']) for row in read(found.files['train'])} == {('12345.678', '100000.5')}


def test_nothing_stands_in_for_a_users_test_list(survey, tmp_path):
    files = {'train.csv': TRAIN, 'test.csv': TEST}
    gone = dict.fromkeys(['x/x_8.mp4', 'x/x_9.mp4', 'y/y_8.mp4'], BROKEN)
    with pytest.raises(MmavError, match=r'none of the 3 clips for test can be used, such as x/x_8\.mp4: Invalid data;'):
        lists(survey(files=files, changed=gone), tmp_path / 'out')


def test_a_class_needs_clips_to_train_on(survey, tmp_path):
    files = {'train.csv': TRAIN, 'test.csv': TEST + ''.join(f'y/y_{k}.mp4,z\n' for k in range(6))}
    with pytest.raises(MmavError, match=r"class 'z' has clips for test but none for training"):
        lists(survey(files=files), tmp_path / 'out')


def test_with_all_lists_nothing_is_written(survey, tmp_path):
    files = {'train.csv': TRAIN, 'test.csv': TEST, 'val.csv': TEST, 'classes.txt': 'x\ny\n'}
    # a long file of a user's list stays one clip, and an unreadable one stays in the test
    changed = {'x/x_0.mp4': replace(WHOLE, duration=100.0), 'x/x_8.mp4': BROKEN}
    files['val.csv'] = 'path,label\nx/x_9.mp4,x\ny/y_9.mp4,y\n'
    found = lists(survey(files=files, changed=changed), tmp_path / 'out')
    assert {path.parent.name for path in found.files.values()} == {'clips'} and not (tmp_path / 'out').exists()
    assert len(found.clips['train']) == 16


def test_an_unreadable_file_leaves_the_training_list(survey, tmp_path):
    files = {'train.csv': TRAIN, 'test.csv': TEST, 'val.csv': TEST}
    found = lists(survey(files=files, changed={'x/x_0.mp4': BROKEN}), tmp_path / 'out')
    assert [path.parent.name for path in found.files.values()] == ['out', 'clips', 'clips']
    assert len(read(found.files['train'])) == 15


def test_recordings_on_both_sides_of_a_users_lists_are_told(survey, tmp_path):
    files = {'train.csv': TRAIN, 'test.csv': TEST + 'x/x_3.mp4,x\n'}
    found = lists(survey(files=files, copies=[('y/y_0.mp4', 'y/y_8.mp4')]), tmp_path / 'out')
    assert found.told[-1].startswith('2 of 4 clips of test come from recordings that are in training, too, such as')


def test_too_few_clips_are_refused(survey, tmp_path):
    with pytest.raises(MmavError, match=r"class 'x' has 4 usable clips \(1 other class"):
        lists(survey(number=4), tmp_path / 'out')
    changed = {f'y/y_{k}.mp4': BROKEN for k in range(9)}
    with pytest.raises(MmavError, match=r"class 'y' has 1 usable clip: 5 or more are needed"):
        lists(survey(changed=changed), tmp_path / 'out')
