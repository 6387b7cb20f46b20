from __future__ import annotations

import hashlib
import json

import pytest

from mmav.datasets import AVDataset
from mmav.errors import ManifestError, MmavError
from mmav.preparation.manifests import prepare
from mmav.preparation.music21 import cut_times, read_music21
from tests.clips import make_clip


def ids(letter, number):
    return [f'{letter}{k:02d}abcdefgh' for k in range(number)]


@pytest.fixture
def write(tmp_path):
    def write_list(name, videos):
        (tmp_path / name).write_text(json.dumps(dict(version=1.0, videos=videos), indent=4))
        return str(tmp_path / name)

    return write_list


@pytest.fixture
def solo(write):
    return write('MUSIC21_solo_videos.json', dict(violin=ids('v', 10), acoustic_guitar=ids('g', 5)))


def parts(annotation):
    return {clip.id: clip.split for clip in annotation.clips}


def test_each_class_is_split_by_a_checksum(solo):
    found = parts(read_music21([solo], shares=(0.1, 0.4)))
    for group, val, test in ((ids('v', 10), 1, 4), (ids('g', 5), 1, 2)):
        ordered = sorted(group, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        expected = dict.fromkeys(group, 'train')
        expected.update(dict.fromkeys(ordered[test : test + val], 'val'), **dict.fromkeys(ordered[:test], 'test'))
        assert {name: found[name] for name in group} == expected


def test_the_split_does_not_depend_on_the_order(solo, write):
    turned = write('turned.json', dict(acoustic_guitar=ids('g', 5)[::-1], violin=ids('v', 10)[::-1]))
    one, other = read_music21([solo]), read_music21([turned])
    assert parts(one) == parts(other) and one.classes == other.classes == dict(label=('acoustic_guitar', 'violin'))


def test_a_class_keeps_a_video_for_training(write):
    path = write('few.json', dict(erhu=ids('e', 2), pipa=ids('p', 1), violin=ids('v', 3)))
    found = parts(read_music21([path], shares=(0.4, 0.4)))
    assert sorted(found[name] for name in ids('e', 2)) == ['test', 'train'] and found[ids('p', 1)[0]] == 'train'
    assert sorted(found[name] for name in ids('v', 3)) == ['test', 'train', 'val']
    assert read_music21([path], shares=(0, 0)).splits == ('train',)


def test_duets_have_two_labels(solo, write):
    duet = write('duet.json', {'violin acoustic_guitar': ids('d', 5), 'flute violin': ids('v', 1)})
    annotation = read_music21([solo], [duet])
    labels = {clip.id: clip.label for clip in annotation.clips}
    assert labels[ids('d', 1)[0]] == 'acoustic_guitar|violin' and labels[ids('v', 1)[0]] == 'violin'
    assert annotation.classes['label'] == ('acoustic_guitar', 'flute', 'violin')
    (problem,) = annotation.problems
    assert problem.text.startswith('duet.json: video 6: v00abcdefgh is there already in MUSIC21_solo_videos.json, as ')
    assert problem.text.endswith(', as violin and not flute and violin')
    assert 'clips have one or several labels: give the dataset multi_label=True' in annotation.notes


def test_two_labels_are_read_from_the_manifest(write, tmp_path):
    duet = write('duet.json', {'violin acoustic_guitar': ids('d', 1), 'flute violin': ids('f', 1)})
    for name in (*ids('d', 1), *ids('f', 1)):
        make_clip(tmp_path / f'{name}.mp4', seconds=0.5)
    prepare(read_music21([], [duet]), str(tmp_path), str(tmp_path))
    assert (tmp_path / 'train.csv').read_text().split('\n')[1] == 'd00abcdefgh.mp4,acoustic_guitar|violin'
    pipeline = [dict(type='LoadClip', num_frames=2, short_side=32, mode='uniform')]
    dataset = AVDataset('train.csv', pipeline, data_root=str(tmp_path), test_mode=True, multi_label=True)
    assert [dataset[k]['label']['label'] for k in range(2)] == [(0, 2), (1, 2)]


def test_what_is_refused(solo, write, tmp_path):
    duet = write('duet.json', {'flute violin': ids('d', 2)})
    for arguments, message in [
        (dict(solo=[duet]), "'flute violin' is not one instrument: give the list with --duet"),
        (dict(solo=[], duet=[solo]), "'violin' is one instrument: give the list with --solo"),
        (dict(solo=[solo], shares=(0.5, 0.5)), 'shares 0.5 and 0.5 for val and test'),
        (dict(solo=[solo], seconds=0.0), '--seconds 0 is not above 0'),
        (dict(solo=[solo], most=3), '--most 3 has no effect on whole videos'),
        (dict(solo=[solo], seconds=3.0, most=0), '--most 0 is below 1'),
    ]:
        with pytest.raises(MmavError, match=message):
            read_music21(**arguments)
    (tmp_path / 'bad.json').write_text('{"videos": [}')
    with pytest.raises(ManifestError, match=r'line 1: not JSON'):
        read_music21([str(tmp_path / 'bad.json')])
    (tmp_path / 'bad.json').write_text('["a"]')
    with pytest.raises(ManifestError, match='no "videos" with a list of ids'):
        read_music21([str(tmp_path / 'bad.json')])
    with pytest.raises(ManifestError, match='none of the videos can be used'):
        read_music21([write('ids.json', dict(violin=['x']))])


@pytest.mark.parametrize(('duration', 'most'), [(10.0, None), (47.3, None), (47.3, 3), (47.3, 1), (29.999999, 9)])
def test_parts_lie_within_a_video_and_do_not_overlap(duration, most):
    found = cut_times(duration, 5.0, most)
    assert len(found) == min(most or 99, int(duration / 5 + 1e-6))
    before = 0.0
    for start, end in found:
        assert before <= start and end == start + 5 and end <= duration + 1e-5
        before = end
    if most == 1:
        assert found == [(20.0, 25.0)]


def test_videos_become_clips(solo, tmp_path):
    (tmp_path / 'videos' / 'violin').mkdir(parents=True)
    split = parts(read_music21([solo]))
    first = [next(name for name in ids('v', 10) if split[name] == part) for part in ('train', 'val', 'test')]
    for name, seconds in zip(first, (3.5, 1.0, 2.0), strict=True):
        make_clip(tmp_path / 'videos' / 'violin' / f'{name}.mp4', seconds=seconds, audio='aac')
    torn = next(name for name in ids('g', 5) if split[name] == 'train')
    (tmp_path / 'videos' / f'{torn}.mp4').write_bytes(b'torn')
    text = prepare(read_music21([solo], seconds=1.5, jobs=1), str(tmp_path / 'videos'), str(tmp_path))
    lines = {part: (tmp_path / f'{part}.csv').read_text().split('\n')[:-1] for part in ('train', 'val', 'test')}
    name = f'videos/violin/{first[0]}.mp4'
    assert lines['train'] == ['path,start,end,label', f'{name},0,1.5,violin', f'{name},1.5,3,violin']
    assert [len(rows) for rows in lines.values()] == [3, 2, 2] and lines['val'][1].startswith('videos/violin/')
    assert 'file that cannot be read: 1, left out' in text and '1 videos are shorter than 1.5 s and stay whole' in text
    assert ['train', '10', '1', '8', '1', '10.00%'] in [line.split() for line in text.split('\n')]
    pipeline = [dict(type='LoadClip', num_frames=2, short_side=32, mode='uniform')]
    item = AVDataset('train.csv', pipeline, data_root=str(tmp_path), test_mode=True)[1]
    assert item['broken'] is None and (item['start'], item['end']) == (1.5, 3.0) and item['label'] == dict(label=1)
