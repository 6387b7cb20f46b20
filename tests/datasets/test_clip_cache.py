"""A dataset with a cache gives the same items as one without, from fewer decodings."""

from __future__ import annotations

import os
import shutil

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mmav.datasets import AVDataset, av_collate, cache_folder, clip_cache
from mmav.datasets.clip_cache import FULL, REFUSED, ClipCache
from mmav.datasets.media.reader import PyAVReader
from mmav.datasets.transforms import LoadClip
from mmav.errors import ConfigError, TooManyBrokenClips
from tests.clips import rotate_by_metadata

TRAIN = [
    dict(type='LoadClip', num_frames=2, short_side=16, window=2.5),
    dict(type='RandomResizedCrop', size=16),
    dict(type='LogMel', num_mel_bins=16, target_frames=20),
    dict(type='PackAVInputs'),
]
TEST = [
    dict(type='LoadClip', num_frames=2, short_side=16, num_views=2, mode='uniform'),
    dict(type='CenterCrop', size=16),
    *TRAIN[2:],
]


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """Stands in for /dev/shm."""
    (tmp_path / 'shm').mkdir()
    monkeypatch.setattr(cache_folder, 'SHARED_MEMORY', str(tmp_path / 'shm'))
    return tmp_path / 'shm'


@pytest.fixture
def folder(clips_of_all_kinds):
    """Clips of all kinds, of which one is upright and one missing, and segments."""
    folder = clips_of_all_kinds
    rotate_by_metadata(shutil.move(folder / 'a.mp4', folder / 'tall.mp4'))
    rows = ['tall.mp4,a,,', 'silent.mp4,a,,', 'blind.m4a,a,,', 'long.mp4,a,,', 'b.mp4,a,,', 'damaged.mp4,a,,']
    rows += ['gone.mp4,a,,', 'long.mp4,a,1.2,2.3', 'blind.m4a,a,0.5,1.5']
    (folder / 'train.csv').write_text('\n'.join(['path,label,start,end', *rows]))
    (folder / 'one.csv').write_text('path,label\ntall.mp4,a\n')
    return folder


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(clip_cache, 'print_log', lambda line, *args, **kwargs: lines.append(line))
    return lines


@pytest.fixture
def opened(monkeypatch):
    """Files that are opened for decoding."""
    paths, start = [], PyAVReader.__init__
    monkeypatch.setattr(PyAVReader, '__init__', lambda self, path, **o: (paths.append(path), start(self, path, **o))[1])
    return paths


def dataset(folder, cache=None, ann_file='train.csv', **options):
    steps = TEST if options.get('test_mode') else TRAIN
    share = dict(max_broken_share=0.5)
    return AVDataset(ann_file, steps, classes=['a'], data_root=str(folder), cache=cache, **share, **options)


def read(data, **options):
    loader = DataLoader(data, batch_size=3, collate_fn=av_collate, **options)
    batches = list(loader)
    tensors = [batch[kind][name] for batch in batches for kind in ('inputs', 'masks') for name in batch[kind]]
    broken = [sample.get('broken') for batch in batches for sample in batch['data_samples']]
    return tensors, broken


def assert_same(one, other):
    assert one[1] == other[1]
    for a, b in zip(one[0], other[0], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize('test_mode', [False, True])
@pytest.mark.parametrize('place', ['ram', 'disk'])
def test_epochs_are_the_same(folder, log, place, test_mode):
    plain = dataset(folder, test_mode=test_mode)
    cached = dataset(folder, 'ram' if place == 'ram' else str(folder / 'disk'), test_mode=test_mode)
    for epoch in range(3):
        plain.set_epoch(epoch)
        cached.set_epoch(epoch)
        assert_same(read(cached), read(plain))
    assert cached.broken_count() == plain.broken_count() == 2
    assert cached.damaged_count() == plain.damaged_count()
    kept = cached._cache.kept
    assert (kept[[0, 1, 3, 7]] > 0).all() and (kept[[4, 6]] == 0).all()
    assert kept[5] > 0 if test_mode else kept[5] == REFUSED
    where = 'in memory' if place == 'ram' else f'in {folder / "disk"}'
    number = 7 if test_mode else 6
    assert log[0].startswith(f'cache: 9 clips of {folder / "train.csv"}, 1 MB of ')
    assert f'cache: {number} clips of {folder / "train.csv"} are kept {where}, 1 MB' in log[-1]
    assert test_mode or log[-1].endswith('; 1 of a kind that is read from their files')


@pytest.mark.parametrize('context', ['fork', 'spawn'])
def test_workers_share_it(folder, opened, context):
    cached = dataset(folder, 'ram', 'one.csv')
    assert_same(read(cached, num_workers=1, multiprocessing_context=context), read(dataset(folder, None, 'one.csv')))
    assert cached._cache.kept[0] > 0 and len(os.listdir(cached._cache._folder.path)) == 2
    opened.clear()
    read(cached)
    read(dataset(folder, 'ram', 'one.csv'))
    assert not opened


def test_a_folder_is_used_again_unless_something_has_changed(folder, opened, log, monkeypatch):
    def count(load=None, **options):
        """How many files reading with a cache opens."""
        with monkeypatch.context() as patch:
            for name, value in (load or {}).items():
                for step in TRAIN[:3:2] if name == 'sample_rate' else TRAIN[:1]:
                    patch.setitem(step, name, value)
            data = dataset(folder, str(folder / 'disk'), 'one.csv', **options)
            opened.clear()
            items = read(data)
            number = len(opened)
            assert_same(items, read(dataset(folder, None, 'one.csv', **options)))
        return number

    assert [count(), count(), count(dict(num_frames=3))] == [1, 0, 0]
    assert '1 MB of them there already' in log[-2]
    for change in (dict(short_side=20), dict(sample_rate=8000), dict(window=3.0), dict(limits=dict(seconds=100))):
        assert [count(change), count(change)] == [1, 0], change
    assert [count(modalities=['video']), count(test_mode=True), count(test_mode=True)] == [1, 1, 0]
    os.utime(folder / 'tall.mp4', (1, 1))
    assert [count(), count()] == [1, 0]
    shutil.copy(folder / 'silent.mp4', folder / 'tall.mp4')
    assert count() == 1
    for entry in (folder / 'disk').iterdir():
        entry.write_bytes(entry.read_bytes()[:-1])
    assert [count(), count()] == [1, 0]


def test_withheld_modalities_are_stored_as_well(folder, opened):
    options = dict(modality_dropout=dict(audio=0.6, video=0.4), ann_file='one.csv')
    plain, cached = dataset(folder, **options), dataset(folder, 'ram', **options)
    opened.clear()
    for epoch in range(4):
        plain.set_epoch(epoch)
        cached.set_epoch(epoch)
        assert_same(read(cached), read(plain))
    assert cached._cache.kept[0] > 0 and len(opened) == 1 + 4


def test_what_does_not_fit_is_refused_before_anything_is_read(folder, monkeypatch):
    room = cache_folder.Room(3_000_000, 2_000, 'memory')
    monkeypatch.setattr(cache_folder.CacheFolder, 'room', lambda self: room)
    with pytest.raises(ConfigError) as error:
        dataset(folder, 'ram', 'one.csv')
    assert str(error.value) == (
        f"cache='ram': 1 clip of {folder / 'one.csv'}, 1 MB do not fit into 3 MB of free memory; give a folder on "
        "disk (cache='DIR'), or a short_side of LoadClip below 16"
    )
    # One that fits alone, and another beside it.
    room = cache_folder.Room(3_000_000, 200_000, 'memory')
    one = dataset(folder, 'ram', 'one.csv')
    with pytest.raises(ConfigError, match=r'free memory, of which another dataset takes 1 MB; give a folder'):
        dataset(folder, 'ram', 'train.csv')
    assert one._cache.need < 200_000


def test_the_size_is_that_of_the_headers(folder):
    for options in (dict(), dict(test_mode=True)):
        data = dataset(folder, 'ram', indices=[0, 1, 3, 7], **options)
        read(data)
        stored = int(data._cache.kept.sum())
        assert stored < data._cache.need * 1.05 and data._cache.need < stored * 1.2


def test_a_full_disk_ends_the_storing(folder, monkeypatch, log):
    data = dataset(folder, str(folder / 'disk'))

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('mmav.datasets.media.stored_clip.ClipWriter.finish', full)
    assert_same(read(data), read(dataset(folder)))
    assert data._cache.kept.tolist() == [FULL] * 4 + [0, FULL, 0, FULL, FULL]
    assert len(log) == 3 and 'tall.mp4 is read from its file' in log[1]
    assert 'cannot be stored (No space left on device)' in log[1] and not os.listdir(folder / 'disk')
    assert '7 for which there is no room are read from their files' in log[2]


def test_too_many_broken_clips_end_the_run_as_before(folder):
    (folder / 'bad.csv').write_text('path,label\n' + 'b.mp4,a\n' * 3)
    with pytest.raises(TooManyBrokenClips, match='none of the 3 clips'):
        read(dataset(folder, 'ram', 'bad.csv'))


def test_settings_without_effect_are_refused(folder):
    with pytest.raises(ConfigError, match=r"cache='ram' has no effect: the pipeline has no LoadClip"):
        AVDataset('one.csv', [], classes=['a'], data_root=str(folder), cache='ram')
    with pytest.raises(ConfigError, match=r"cache='' is no place"):
        AVDataset('one.csv', TRAIN, classes=['a'], data_root=str(folder), cache='')
    steps = [dict(TRAIN[0], backend='decord')]
    with pytest.raises(ConfigError, match=r"cache='ram' needs LoadClip with backend='pyav', not 'decord'"):
        AVDataset('one.csv', steps, classes=['a'], data_root=str(folder), cache='ram')


def test_a_sample_of_many_headers(folder, monkeypatch, log):
    (folder / 'many.csv').write_text('path,label\n' + 'tall.mp4,a\n' * 50)
    monkeypatch.setattr(clip_cache, 'HEADERS', 8)
    looked = []
    size = ClipCache._size
    monkeypatch.setattr(ClipCache, '_size', lambda self, clip: (looked.append(clip), size(self, clip))[1])
    data = dataset(folder, 'ram', 'many.csv')
    assert len(looked) == 8 and 'many.csv, about 8 MB of ' in log[0]
    monkeypatch.setattr(clip_cache, 'SHOWN', 50)
    read(data)
    assert [line.split(' are kept')[0].removeprefix('cache: ') for line in log[1:]] == [
        *(f'{number} of 50 clips of {folder / "many.csv"}' for number in (13, 25, 38)),
        f'50 clips of {folder / "many.csv"}',
    ]
    assert np.isclose(data._cache.need, 50 * dataset(folder, 'ram', 'one.csv')._cache.need, rtol=0.05)


@pytest.mark.parametrize('test_mode', [False, True])
def test_clips_of_two_files(folder, clip, flashes, opened, test_mode):
    (folder / 'frames').mkdir()
    for k in range(8):
        cv2.imwrite(str(folder / f'frames/{k}.png'), np.full((20, 30, 3), 30 * k, np.uint8))
    np.save(folder / 'wave.npy', np.linspace(-1, 1, 20_000, dtype=np.float32))
    rows = ['silent.mp4,blind.m4a,,', 'frames,blind.m4a,4,', 'frames,,8,', 'long.mp4,wave.npy,,16000', ',long.mp4,,']
    (folder / 'pairs.csv').write_text('\n'.join(['video,audio,fps,sample_rate,label', *(f'{row},a' for row in rows)]))
    plain, cached = (dataset(folder, place, 'pairs.csv', test_mode=test_mode) for place in (None, 'ram'))
    for epoch in range(3):
        plain.set_epoch(epoch)
        cached.set_epoch(epoch)
        assert_same(read(cached), read(plain))
    kept = cached._cache.kept.tolist()
    assert min(kept[:4]) > 0 and (kept[4] > 0) == test_mode  # 4 s of audio, in windows of 2.5 s
    os.utime(folder / 'frames' / '3.png', (1, 1))
    opened.clear()
    read(dataset(folder, 'ram', 'pairs.csv', test_mode=test_mode, indices=[1]))
    assert opened == [str(folder / 'blind.m4a')] * 2  # its header, and the clip


def test_several_windows_are_refused(tmp_path):
    load = LoadClip(num_frames=2, mode='uniform', num_windows=2, window=1.0)
    with pytest.raises(ConfigError, match='keeps one window of a clip, not num_windows=2: leave it out'):
        ClipCache(str(tmp_path), load, lambda index: {}, number=1, name='clips')
