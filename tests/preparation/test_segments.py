from __future__ import annotations

import json
import re

import pytest

from mmav.datasets import AVDataset
from mmav.errors import ManifestError
from mmav.preparation.manifests import prepare
from mmav.preparation.segments import read_segments, seconds_of
from tests.clips import make_clip
from tests.preparation.test_segment_lists import ACTIVITYNET, HOWTO100M

HEADER = 'video_id,start,end,label\n'


@pytest.fixture
def write(tmp_path):
    def write_list(content, name='list.csv'):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write_list


def rows(annotation):
    return [(clip.split, clip.video, clip.start, clip.end, clip.label) for clip in annotation.clips]


def test_a_list_with_subsets(write):
    annotation = read_segments([write(ACTIVITYNET, 'anet.json')])
    assert rows(annotation) == [('train', 'aaa', 1.5, 20, 'cutting grass'), ('test', 'bbb', 0, 5, 'swimming')]
    assert annotation.classes['label'] == ('cutting grass', 'swimming')
    assert annotation.rows == dict(train=1, test=1) and not annotation.problems


def test_lists_of_the_splits(write):
    train, test = write(HEADER + 'a,0:01.5,1:02,x\nb,0,2,"y, z"\n', 'a.csv'), write(HEADER + 'c,1,2,x\n', 'b.csv')
    annotation = read_segments(train=[train], test=[test])
    assert rows(annotation) == [
        ('train', 'a', 1.5, 62, 'x'), ('train', 'b', 0, 2, 'y, z'), ('test', 'c', 1, 2, 'x')
    ]  # fmt: skip
    with pytest.raises(ManifestError, match=r'a.csv: it does not say what is for training; .* --subset, or .* --train'):
        read_segments([train])
    with pytest.raises(ManifestError, match=r"it is given with --train and has the subset 'validation'; give a list"):
        read_segments(train=[write(ACTIVITYNET, 'anet.json')])


def test_which_subset_is_for_testing(write):
    lines = [f'v{i},0,2,x,{name}' for i, name in enumerate(('train', 'val', 'test', 'other'))]
    path = write('video_id,start,end,label,subset\n' + '\n'.join(lines))
    with pytest.raises(ManifestError, match=r"several of .*'val' \(1\), 'test' \(1\).* may be for test; say which"):
        read_segments([path])
    annotation = read_segments([path], subsets=dict(test='val'))
    assert [row[:2] for row in rows(annotation)] == [('train', 'v0'), ('test', 'v1')]
    assert annotation.notes == ["list.csv: 2 segments of 'other', 'test' are skipped"]
    # THUMOS trains on validation
    annotation = read_segments([path], subsets=dict(train='val', test='test'))
    assert [row[:2] for row in rows(annotation)] == [('train', 'v1'), ('test', 'v2')]
    with pytest.raises(ManifestError, match=r"no subset 'dev' \(--test-subset\), only 'train' \(1\)"):
        read_segments([path], subsets=dict(test='dev'))


def test_segments_that_are_left_out(write, tmp_path):
    path = write(HEADER + 'a,5,5,x\na,one,2,x\na,0,2,\na,0,2,exx\n,0,1,x\na,0,9,x\n')
    (tmp_path / 'classes.txt').write_text('x\nexxo\n')
    annotation = read_segments(train=[path], classes=str(tmp_path / 'classes.txt'))
    assert rows(annotation) == [('train', 'a', 0, 9, 'x')] and annotation.left_out == dict(train=5)
    assert annotation.classes['label'] == ('x', 'exxo')
    assert [problem.text for problem in annotation.problems] == [
        'list.csv: 2: end 5 s is not after start 5 s',
        "list.csv: 3: 'one' is not a time in seconds",
        'list.csv: 4: no label',
        "list.csv: 5: label 'exx' is not in the class list, did you mean 'exxo'?",
        'list.csv: 6: no video',
    ]
    with pytest.raises(ManifestError, match='none of its 1 segments can be used; the first, 2: end 5 s is not after'):
        read_segments(train=[write(HEADER + 'a,5,5,x\n')])


def test_several_labels_of_a_segment(write):
    path = write(HEADER + 'a,0,2,x\na,0,2,y\na,1,2,z | x|x\nb,0,2,y\n')
    annotation = read_segments(train=[path], multi_label=True)
    assert [row[4] for row in rows(annotation)] == ['x|y', 'z|x', 'y']
    assert annotation.classes['label'] == ('x', 'y', 'z')
    # without the option a segment has one, and the user is told
    annotation = read_segments(train=[path])
    assert [row[4] for row in rows(annotation)] == ['x', 'z | x|x', 'y']
    assert annotation.notes == [
        '1 segments have several labels, of which the first stays; --multi-label keeps them all',
        "1 classes, such as 'z | x|x', have a | in their name: if these are several labels, give --multi-label",
    ]
    assert "labelled 'x' and not 'y'" in annotation.problems[0].text


def test_sentences_are_no_classes(write):
    lines = [f'v{i},0,2,step {i} of it' for i in range(30)]
    path = write('video_id,start,end,text\n' + '\n'.join(lines))
    with pytest.raises(ManifestError, match=r"30 different labels of 30 segments, such as 'step 0 of it', look like"):
        read_segments(train=[path], names=dict(label='text'))


def test_labels_of_videos(write):
    howto, videos = write(HOWTO100M, 'caption.json'), write('video_id,category_1\naaa,Garden\n', 'videos.csv')
    annotation = read_segments(train=[howto], video_labels=videos, names=dict(label='category_1'))
    assert rows(annotation) == [('train', 'aaa', 1.5, 20, 'Garden'), ('train', 'aaa', 25, 30.5, 'Garden')]
    assert [problem.text for problem in annotation.problems] == ["caption.json: 3: video 'bbb' has no label"]


def test_a_video_in_both_splits_is_told(write):
    path = write('video_id,start,end,label,subset\na,0,2,x,train\na,3,4,x,val\nb,0,1,x,train\nb,0,1,x,val\n')
    annotation = read_segments([path])
    assert rows(annotation) == [('train', 'a', 0, 2, 'x'), ('test', 'a', 3, 4, 'x'), ('test', 'b', 0, 1, 'x')]
    assert annotation.notes == ["2 videos, such as 'a', have segments in both splits: scores on them say less"]


def test_segments_share_their_file(write, tmp_path):
    clips = tmp_path / 'clips'
    clips.mkdir()
    make_clip(clips / 'v_aaa.mp4', seconds=3)
    path = write(HEADER + 'aaa,0,1,x\naaa,0.5,2.5,y\nbbb,0,1,x\n')
    text = prepare(read_segments(train=[path]), str(clips), str(tmp_path))
    assert (tmp_path / 'train.csv').read_text() == (
        'path,start,end,label\nclips/v_aaa.mp4,0,1,x\nclips/v_aaa.mp4,0.5,2.5,y\n'
    )
    assert re.search('bbb +1 +1', text)
    pipeline = [dict(type='LoadClip', num_frames=2, short_side=32, mode='uniform')]
    dataset = AVDataset('train.csv', pipeline, data_root=str(tmp_path), test_mode=True)
    assert [dataset[i]['broken'] for i in range(2)] == [None, None] and dataset[1]['label'] == dict(label=1)


def test_segments_of_sound_alone(write, tmp_path):
    clips = tmp_path / 'clips'
    clips.mkdir()
    for name in ('aaa.wav', 'bbb.flac', 'bbb.mkv'):
        (clips / name).write_bytes(b'x')
    prepare(read_segments(train=[write(HEADER + 'aaa,0,1,x\nbbb,0,1,y\n')]), str(clips), str(tmp_path))
    # of two files, the one with a picture
    assert (tmp_path / 'train.csv').read_text() == 'path,start,end,label\nclips/aaa.wav,0,1,x\nclips/bbb.mkv,0,1,y\n'


def test_segments_that_are_cut_out(write, tmp_path):
    clips = tmp_path / 'clips'
    clips.mkdir()
    for name in ('aaa_000000_000001.mp4', 'aaa_0.500_2.500.mp4', 'aaa.mp4'):
        (clips / name).write_bytes(b'x')
    path = write(HEADER + 'aaa,0,1,x\naaa,0.5,2.5,y\n')
    prepare(read_segments(train=[path], trimmed=True), str(clips), str(tmp_path))
    assert (tmp_path / 'train.csv').read_text() == (
        'path,label\nclips/aaa_000000_000001.mp4,x\nclips/aaa_0.500_2.500.mp4,y\n'
    )


def test_times_that_are_none():
    from mmav.preparation.annotations import BadRow

    for text in ('', '-1', 'nan', 'inf', '1:70', '0x1', '1:2:3:4'):
        with pytest.raises(BadRow, match='is not a time in seconds'):
            seconds_of(text)
