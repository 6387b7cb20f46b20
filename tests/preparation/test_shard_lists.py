"""Shards of others: index and manifest from what webdataset writes, and one line where it is not clear."""

from __future__ import annotations

import tarfile

import pytest
import webdataset

from mmav.datasets import AVDataset
from mmav.datasets.shards.shard_set import open_shards
from mmav.errors import ConfigError, MmavError
from mmav.preparation.shard_lists import expand, find_shards, index_others
from tests.datasets.shards.conftest import PIPELINE


def write(path, samples) -> None:
    path.parent.mkdir(exist_ok=True)
    with webdataset.TarWriter(str(path)) as writer:
        for key, fields in samples:
            writer.write({'__key__': key, **fields})


@pytest.fixture
def theirs(tmp_path, clip):
    """Two shards, with a key that comes in both, and a sample without a clip."""
    data = clip.read_bytes()
    folder = tmp_path / 'theirs'
    write(folder / 't-00.tar', [('a/0', dict(mp4=data, cls=1)), ('a/1', dict(mp4=data, cls=0))])
    write(folder / 't-01.tar', [('a/0', {'MP4': data, 'cls': 3}), ('x', dict(txt='none'))])
    return folder


def test_webdatasets_shards_are_read_with_their_labels(theirs, tmp_path, clip):
    found = index_others(str(theirs / 't-{00..01}.tar'), tmp_path / 'ours', label_field='cls', jobs=1)
    assert (found.shards, found.clips, found.place) == (2, 3, 'shards/train')
    assert '1 samples have no clip and are left out' in found.notes
    manifest = found.manifest.read_text()
    assert manifest == 'path,label\nt-00/a/0.mp4,1\nt-00/a/1.mp4,0\nt-01/a/0.mp4,3\n'
    assert (tmp_path / 'ours/classes.txt').read_text() == '0\n1\n2\n3\n'
    data = AVDataset('train.csv', PIPELINE, data_root=str(tmp_path / 'ours'), shards=found.place)
    assert [data.get_data_info(k)['label'] for k in range(3)] == [dict(label=1), dict(label=0), dict(label=3)]
    assert data.get_data_info(2)['path'].read() == clip.read_bytes()
    assert data[2]['inputs']['video'].shape == (1, 3, 2, 16, 16)
    # another list of the same classes, from the folder as it is
    other = index_others(str(theirs), tmp_path / 'ours', name='val', label_field='cls', jobs=1)
    assert other.clips == 3 and any('the classes are those of' in note for note in other.notes)


def test_labels_in_json_and_several_of_them(tmp_path):
    samples = [
        ('0', dict(wav=b'x', json=dict(label=['dog', 'cat'], more=1))),
        ('1', dict(wav=b'y', json=dict(label='cat'))),
    ]
    write(tmp_path / 't/0.tar', samples)
    found = index_others(str(tmp_path / 't/0.tar'), tmp_path / 'out', jobs=1)
    assert found.manifest.read_text() == 'path,label\n0/0.wav,dog|cat\n0/1.wav,cat\n'
    assert (tmp_path / 'out/classes.txt').read_text() == 'cat\ndog\n'


@pytest.mark.parametrize(
    ('labels', 'classes'),
    [
        ([' dog ', ['dog', 'cat'], []], 'cat\ndog\n'),  # spaces and clips of no class
        (['99999999999', '7'], '7\n99999999999\n'),  # ids, of which there is no list up to the largest
        (['٣', '1'], '1\n٣\n'),
    ],
)
def test_the_list_of_classes_is_one_that_the_manifest_is_read_with(tmp_path, labels, classes):
    write(tmp_path / 't/0.tar', [(str(k), dict(mp4=b'x', json=dict(label=each))) for k, each in enumerate(labels)])
    found = index_others(str(tmp_path / 't'), tmp_path / 'out', jobs=1)
    assert (tmp_path / 'out/classes.txt').read_text() == classes
    data = AVDataset('train.csv', PIPELINE, data_root=str(tmp_path / 'out'), shards=found.place, multi_label=True)
    assert len(data) == len(labels)


def test_without_labels_it_is_for_testing(tmp_path):
    write(tmp_path / 't/0.tar', [('0', dict(mp4=b'x'))])
    found = index_others(str(tmp_path / 't'), tmp_path / 'out', jobs=1)
    assert found.manifest.read_text() == 'path\n0/0.mp4\n' and 'labelled=False' in found.notes[0]


@pytest.mark.parametrize(
    ('samples', 'options', 'match'),
    [
        ([('0', dict(mp4=b'x', wav=b'y'))], dict(), '0 has several media files, mp4 and wav: .*--media mp4'),
        ([('0', dict(mp4=b'x', cls=1, txt='dog'))], dict(), 'labels could be in cls or txt: say where'),
        ([('0', dict(mp4=b'x', json=dict(kind=1)))], dict(), "json has no 'label', but kind: name one"),
        ([('0', dict(mp4=b'x', json=dict(kind={})))], dict(label_field='kind'), r"0 has the label {} in 'kind'"),
        ([('0', dict(mp4=b'x'))], dict(label_field='cls'), "0 has no label in 'cls'"),
        ([('0', dict(mp4=b'x', txt='a\nb'))], dict(), 'is a text, not the name of a class'),
        ([('0', dict(mp4=b'x', cls=1)), ('0', dict(mp4=b'y', cls=2))], dict(), "0: has two files 'cls'; each sample"),
        ([('0', dict(mp4=b'x', json=dict(label=' ')))], dict(), "0 has the label ' ' in 'label'"),
        ([('0', dict(mp4=b'x', json=dict(label=[])))], dict(), 'all lists of labels are empty'),
        ([('0', dict(jpg=b'x'))], dict(), 'has video or audio: they are empty, or have other files'),
        ([('0', dict(jpg=b'x', cls=1))], dict(), 'no sample of .* has video or audio'),
        ([('0', dict(mp4=b'x', cls=1))], dict(media='webm'), 'no sample of .* has a file webm'),
        ([('0', dict(mp4=b'x')), ('1', dict(mp4=b'x')), ('0', dict(mp4=b'x'))], dict(), 'two clips .* named .0/0.mp4'),
    ],
)
def test_what_is_not_clear_is_refused_in_a_line(tmp_path, samples, options, match):
    write(tmp_path / 't/0.tar', samples)
    with pytest.raises(MmavError, match=match) as caught:
        index_others(str(tmp_path / 't'), tmp_path / 'out', jobs=1, **options)
    assert '\n' not in str(caught.value) and not (tmp_path / 'out/train.csv').exists()


def test_chosen_media_and_classes_that_are_there(tmp_path):
    write(tmp_path / 't/0.tar', [('0', dict(mp4=b'x', wav=b'yy', cls=1))])
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/classes.txt').write_text('dog\ncat\n')
    found = index_others(str(tmp_path / 't'), tmp_path / 'out', media='.WAV', jobs=1)
    assert open_shards(found.place, str(tmp_path / 'out')).member('0/0.wav').read() == b'yy'
    (tmp_path / 'out/classes.txt').write_text('dog\n')
    with pytest.raises(MmavError, match="classes.txt has no class '1', as a sample has"):
        index_others(str(tmp_path / 't'), tmp_path / 'out', name='val', media='wav', jobs=1)


def test_torn_and_missing_shards(theirs, tmp_path):
    with pytest.raises(MmavError, match='t-02.tar: no such file'):
        index_others(str(theirs / 't-{00..02}.tar'), tmp_path / 'out', jobs=1)
    path = theirs / 't-01.tar'
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(MmavError, match='t-01.tar: .*fetch it again'):
        index_others(str(theirs), tmp_path / 'out', label_field='cls', jobs=1)
    with tarfile.open(theirs / 't-02.tar', 'w:gz') as tar:
        tar.addfile(tarfile.TarInfo('a'))
    with pytest.raises(MmavError, match='compressed'):
        index_others(str(theirs / 't-02.tar'), tmp_path / 'out', jobs=1)


def test_patterns(tmp_path):
    assert expand('{a,b}-{9..11}.tar') == [f'{name}-{k}.tar' for name in 'ab' for k in (9, 10, 11)]
    assert find_shards('s3://b/x/{00..01}.tar') == ('s3://b/x', ['00.tar', '01.tar'])
    assert find_shards('pipe:curl -s http://h/x-{0..1}.tar | cat') == (
        'pipe:curl -s http://h/{} | cat',
        ['x-0.tar', 'x-1.tar'],
    )
    for pattern, match in (
        ('{a,b}/x.tar', 'in several folders'),
        ('x/*.tar', 'write braces in place of the star'),
        ('x/{5..1}.tar', 'stands for no shard: a range goes upwards'),
        ('pipe:cat x', 'give one name of shards with braces'),
        (str(tmp_path), 'no shard, '),
    ):
        with pytest.raises(ConfigError, match=match):
            find_shards(pattern)
