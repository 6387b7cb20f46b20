"""A dataset that keeps prepared clips gives the same items as one without, and runs the random steps alone."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from mmcv.transforms import BaseTransform
from torch.utils.data import DataLoader

from mmav.datasets import AVDataset, RepeatDataset, av_collate, cache_folder, prepared_cache
from mmav.datasets.prepared_cache import FULL
from mmav.datasets.transforms import LoadClip, LogMel
from mmav.errors import ConfigError, TooManyBrokenClips

TRAIN = [
    dict(type='LoadClip', num_frames=2, short_side=16, window=2.5, mode='uniform'),
    dict(type='RandomResizedCrop', size=16),
    dict(type='RandomFlip'),
    dict(type='LogMel', num_mel_bins=16, target_frames=20),
    dict(type='SpecAugment', freq_mask=4, time_mask=4),
    dict(type='PackAVInputs'),
]
TEST = [TRAIN[0], dict(type='CenterCrop', size=16), TRAIN[3], TRAIN[5]]


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """Stands in for /dev/shm."""
    (tmp_path / 'shm').mkdir()
    monkeypatch.setattr(cache_folder, 'SHARED_MEMORY', str(tmp_path / 'shm'))
    return tmp_path / 'shm'


@pytest.fixture
def folder(clips_of_all_kinds):
    """Clips of all kinds, of which one is missing, and a segment."""
    rows = ['a.mp4,a,,', 'silent.mp4,a,,', 'blind.m4a,a,,', 'damaged.mp4,a,,', 'b.mp4,a,,', 'gone.mp4,a,,']
    rows = '\n'.join(['path,label,start,end', *rows, 'long.mp4,a,1.2,2.3'])
    (clips_of_all_kinds / 'train.csv').write_text(rows)
    (clips_of_all_kinds / 'one.csv').write_text('path,label\na.mp4,a\nsilent.mp4,a\n')
    return clips_of_all_kinds


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(prepared_cache, 'print_log', lambda line, *args, **kwargs: lines.append(line))
    return lines


@pytest.fixture
def loads(monkeypatch):
    """How often a clip is loaded."""
    calls, transform = [], LoadClip.transform
    monkeypatch.setattr(
        LoadClip, 'transform', lambda self, clip: (calls.append(clip['path']), transform(self, clip))[1]
    )
    return calls


def dataset(folder, cache='prepared', ann_file='train.csv', pipeline=None, **options):
    steps = pipeline or (TEST if options.get('test_mode') else TRAIN)
    share = dict(max_broken_share=0.5)
    return AVDataset(ann_file, steps, classes=['a'], data_root=str(folder), cache=cache, **share, **options)


def read(data, **options):
    loader = DataLoader(data, batch_size=3, collate_fn=av_collate, **options)
    batches = list(loader)
    tensors = [batch[kind][name] for batch in batches for kind in ('inputs', 'masks') for name in batch[kind]]
    samples = [(s.path, s.start, s.end, s.sample_idx, s.broken) for batch in batches for s in batch['data_samples']]
    return tensors, samples


def assert_same(one, other):
    assert one[1] == other[1]
    for a, b in zip(one[0], other[0], strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize('options', [dict(), dict(test_mode=True), dict(modality_dropout=dict(audio=0.4, video=0.4))])
def test_epochs_are_the_same(folder, options, log):
    plain, cached = dataset(folder, None, **options), dataset(folder, **options)
    for epoch in range(4):
        plain.set_epoch(epoch)
        cached.set_epoch(epoch)
        assert_same(read(cached), read(plain))
    assert cached.broken_count() == plain.broken_count() == 2 and cached.damaged_count() == plain.damaged_count() == 1
    kept = cached.prepared.kept[:7]
    assert (kept[[0, 1, 2, 3, 6]] > 0).all() and (kept[[4, 5]] == 0).all()
    assert log[0].startswith(f'cache: 7 prepared clips of {folder / "train.csv"}, about 1 MB of ')
    where = f'cache: 5 clips of {folder / "train.csv"} are kept prepared in memory, 1 MB'
    assert where in log or options.get('modality_dropout')


def test_an_epoch_resumed_with_a_filled_cache_is_the_same(folder):
    whole, resumed = dataset(folder, None), dataset(folder)
    resumed.prepared.fill(progress=False)
    for data in (whole, resumed):
        data.set_epoch(3)
    assert_same(read(RepeatDataset(resumed, 2)), read(RepeatDataset(whole, 2)))


def test_only_the_random_steps_run_again(folder, loads, monkeypatch):
    data = dataset(folder, ann_file='one.csv')
    data.prepared.fill(progress=False)
    loads.clear()
    monkeypatch.setattr(LogMel, 'transform', None)
    batches = []
    for epoch in (1, 2):
        data.set_epoch(epoch)
        batches.append(read(data)[0][0])
    assert not loads and not torch.equal(*batches)


def test_processes_share_it(folder, loads):
    cached, plain = dataset(folder, indices=[0, 1, 2]), read(dataset(folder, None, indices=[0, 1, 2]))
    assert_same(read(cached, num_workers=2, multiprocessing_context='fork'), plain)
    loads.clear()
    assert_same(read(cached), plain)
    assert_same(read(pickle.loads(pickle.dumps(cached))), plain)  # as a spawned worker gets it
    assert_same(read(dataset(folder, indices=[0, 1, 2])), plain)  # another run
    assert not loads


def test_a_forked_run_finds_what_its_parent_has_filled(folder, loads):
    dataset(folder, ann_file='one.csv').prepared.fill(progress=False)
    parent = dataset(folder, ann_file='one.csv')
    loads.clear()
    if (child := os.fork()) == 0:
        again = dataset(folder, ann_file='one.csv')
        read(again)
        again.prepared._items.put(0, 5, b'of the child')
        os._exit(len(loads) + len(again) - 2)
    assert os.waitpid(child, 0)[1] == 0
    assert parent.prepared._items.get(0, 5).tobytes() == b'of the child'
    assert len(os.listdir(parent.prepared._folder.path)) == 3  # with the lock


def test_a_folder_is_used_again_unless_something_has_changed(folder, loads):
    def count(change=None, step=0, **options):
        """How many clips are loaded."""
        steps = [dict(each, **(change or {})) if k == step else each for k, each in enumerate(TRAIN)]
        plain = read(dataset(folder, None, 'one.csv', steps, **options))
        loads.clear()
        assert_same(read(dataset(folder, f'prepared:{folder / "disk"}', 'one.csv', steps, **options)), plain)
        return len(loads)

    assert [count(), count(), count(dict(scale=(0.5, 1.0)), 1)] == [2, 0, 0]
    assert [count(dict(num_frames=3)), count(dict(num_frames=3))] == [2, 0]
    assert [count(dict(target_frames=21), 3), count(modalities=['video']), count(indices=[0])] == [2, 2, 1]
    os.utime(folder / 'a.mp4', (1, 1))
    assert [count(), count()] == [1, 0]
    for file in (folder / 'disk').glob('*.items'):
        file.write_bytes(file.read_bytes()[:-1] + b'?')
    assert [count(), count()] == [1, 0]


def test_what_does_not_fit_is_refused(folder, monkeypatch, log):
    room = cache_folder.Room(3_000_000, 2_000, 'memory')
    monkeypatch.setattr(cache_folder.CacheFolder, 'room', lambda self: room)
    with pytest.raises(ConfigError) as error:
        dataset(folder, ann_file='one.csv')
    assert str(error.value) == (
        f"cache='prepared': 2 prepared clips of {folder / 'one.csv'}, about 1 MB do not fit into 3 MB of free memory; "
        "give a folder on disk (cache='prepared:DIR')"
    )


def test_where_there_is_no_room_left_clips_are_prepared_each_time(folder, monkeypatch, log):
    monkeypatch.setattr(prepared_cache, 'TRIED', 1)
    data = dataset(folder, ann_file='one.csv')

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(prepared_cache.ItemFile, 'put', full)
    assert_same(read(data), read(dataset(folder, None, 'one.csv')))
    assert data.prepared.kept[0] > 0 and data.prepared.kept[1] == FULL
    assert 'no more clips are kept in memory (No space left on device)' in log[1]
    assert '1 for which there is no room are prepared each time' in log[2]


def test_random_steps_are_refused(folder):
    steps = [dict(TRAIN[0], mode='random'), *TRAIN[1:]]
    with pytest.raises(ConfigError, match=r"LoadClip\(mode='random'\) reads other frames each time: set its mode='un"):
        dataset(folder, pipeline=steps)
    with pytest.raises(ConfigError, match='but RandomFlip is random, or does not say otherwise'):
        dataset(folder, pipeline=TRAIN[2:3])
    with pytest.raises(ConfigError, match=r"cache='prepared' has no effect: the pipeline is empty"):
        AVDataset('one.csv', [], classes=['a'], data_root=str(folder), cache='prepared')


class Drawing(BaseTransform):
    """Says that it is deterministic."""

    deterministic = True

    def transform(self, results):
        results['drawn'] = results['rng'].random()
        return results


class Lasting(BaseTransform):
    """Gives what cannot be stored."""

    deterministic = True

    def transform(self, results):
        results['sets'] = {1}
        return results


def test_a_step_that_breaks_its_word_is_named(folder):
    with pytest.raises(ConfigError, match='one of LoadClip, Drawing, LogMel says that it is deterministic, but draws'):
        dataset(folder, ann_file='one.csv', pipeline=[TRAIN[0], Drawing(), *TRAIN[1:]])
    with pytest.raises(ConfigError, match=r"LoadClip, Lasting, LogMel give cannot be stored: 'sets' is or holds a set"):
        dataset(folder, ann_file='one.csv', pipeline=[TRAIN[0], Lasting(), *TRAIN[1:]])


def test_objects_in_a_pipeline_are_not_known_in_a_later_run(folder):
    steps = [LoadClip(num_frames=2, mode='uniform'), *TRAIN[1:]]
    assert_same(read(dataset(folder, pipeline=steps)), read(dataset(folder, None, pipeline=steps)))
    with pytest.raises(ConfigError, match=r"as a dict, .* but LoadClip is an object: give its config, or cache='prep"):
        dataset(folder, f'prepared:{folder / "disk"}', pipeline=steps)


def test_too_many_broken_clips_end_the_run_as_before(folder):
    (folder / 'bad.csv').write_text('path,label\n' + 'b.mp4,a\n' * 3)
    with pytest.raises(TooManyBrokenClips, match='none of the 3 clips'):
        read(dataset(folder, ann_file='bad.csv'))


def test_a_step_that_skips_a_clip(folder):
    class Skipping(BaseTransform):
        deterministic = True

        def transform(self, results):
            return None

    assert dataset(folder, ann_file='one.csv', pipeline=[TRAIN[0], Skipping()], test_mode=True)[0] is None
