from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform

from benchmarks.clips import build_collate, build_dataset
from benchmarks.data import (
    PARTS,
    ClipTimes,
    Measurement,
    loader_text,
    measure_loader,
    measure_prepared,
    measure_steps,
    one_thread,
    steps_text,
    time_clip,
)
from benchmarks.machine import resident_memory
from mmav.datasets import av_collate
from mmav.datasets.transforms import LoadClip
from mmav.errors import ConfigError, MediaError, MmavError

PIPELINE = [
    dict(type='LoadClip', num_frames=2, short_side=24),
    dict(type='RandomResizedCrop', size=16),
    dict(type='LogMel', num_mel_bins=16, target_frames=20),
    dict(type='PackAVInputs'),
]
LOADER = dict(
    batch_size=2,
    collate_fn=dict(type='av_collate'),
    dataset=dict(type='AVDataset', ann_file='train.csv', data_root='nowhere', pipeline=PIPELINE),
)


class Slow(BaseTransform):
    def transform(self, results):
        time.sleep(0.02)
        return results


@pytest.fixture
def dataset(clip, tmp_path):
    return build_dataset(LOADER, clip=clip, folder=tmp_path)


def test_steps_add_up_to_the_time_from_row_to_batch(dataset):
    steps = [
        dataset.pipeline.transforms[0],
        Slow(),
        *dataset.pipeline.transforms[1:],
    ]
    begin = time.perf_counter()
    times = time_clip(steps, av_collate, {**dataset.get_data_info(0), 'rng': np.random.default_rng(0)})
    passed = time.perf_counter() - begin
    assert list(times.steps) == ['LoadClip', 'Slow', 'RandomResizedCrop', 'LogMel', 'PackAVInputs', 'collate']
    assert times.steps['Slow'] >= 0.019 and min(times.steps.values()) >= 0
    assert times.total == sum(times.steps.values())
    # What is neither ours nor bare decoding is the bookkeeping between them.
    assert 0 <= passed - times.total - times.bare < 0.02


def test_steps_of_one_name_are_told_apart(dataset):
    steps = dataset.pipeline.transforms
    steps = [steps[0], Slow(), Slow(), *steps[1:]]
    times = time_clip(steps, av_collate, {**dataset.get_data_info(0), 'rng': np.random.default_rng(0)})
    assert list(times.steps)[:3] == ['LoadClip', 'Slow', 'Slow 2']
    with pytest.raises(ConfigError, match='no LoadClip'):
        time_clip([Slow()], lambda clips: clips, {**dataset.get_data_info(0), 'rng': np.random.default_rng(0)})


def test_measures_as_many_clips_as_asked_for(dataset):
    result = measure_steps(dataset, build_collate(LOADER), clips=3, warm_up=1, progress=False)
    assert len(result.clips) == 3 and result.broken == 0
    assert all(clip.bare > 0 for clip in result.clips)
    assert set(result.summary()['parts_ms']) == {'decode', 'video transforms', 'audio front end', 'pack', 'collate'}


def test_any_clock(dataset):
    ticks = iter(range(1000))
    (clip,) = measure_steps(dataset, av_collate, clips=1, warm_up=0, clock=lambda: next(ticks), progress=False).clips
    assert clip == ClipTimes(
        dict.fromkeys(('LoadClip', 'RandomResizedCrop', 'LogMel', 'PackAVInputs', 'collate'), 1), 1
    )


def test_broken_clips_are_counted_and_passed_over(clip, broken, tmp_path):
    (tmp_path / 'train.csv').write_text(f'path,label\n{clip},0\n{broken["text"]},0\n')
    loader = dict(dataset=dict(LOADER['dataset'], ann_file=str(tmp_path / 'train.csv'), classes=('a',), data_root=''))
    result = measure_steps(build_dataset(loader), av_collate, clips=4, warm_up=1, progress=False)
    assert (len(result.clips), result.broken) == (2, 2)
    (tmp_path / 'train.csv').write_text(f'path,label\n{broken["text"]},0\n')
    with pytest.raises(MmavError, match=r'none of 2 clips can be read; the last: .*text.mp4'):
        measure_steps(build_dataset(loader), av_collate, clips=2, progress=False)


def test_a_clip_without_sound(silent, tmp_path):
    result = measure_steps(build_dataset(LOADER, clip=silent, folder=tmp_path), av_collate, clips=1, progress=False)
    assert len(result.clips) == 1


@pytest.mark.parametrize('modality', ['video', 'audio'])
def test_one_modality(clip, tmp_path, modality):
    loader = dict(dataset=dict(LOADER['dataset'], modalities=(modality,)))
    result = measure_steps(build_dataset(loader, clip=clip, folder=tmp_path), av_collate, clips=1, progress=False)
    assert result.summary()['data_path_to_bare'] > 0


def test_a_clip_that_bare_decoding_cannot_read(dataset, monkeypatch):
    def fail(*args, **options):
        raise ValueError('no frame')

    monkeypatch.setattr('benchmarks.data.bare_decode', fail)
    with pytest.raises(MediaError, match='bare decoding fails on it: no frame'):
        time_clip(
            dataset.pipeline.transforms, av_collate, {**dataset.get_data_info(0), 'rng': np.random.default_rng(0)}
        )


def test_a_loader_with_workers(dataset):
    result = measure_loader(dataset, av_collate, workers=1, batch_size=2, clips=3, progress=False)
    assert (result['workers'], result['batch_size'], result['clips'], result['broken']) == (1, 2, 4, 0)
    assert result['clips_per_second'] > 0
    if resident_memory():
        assert min(size for memory in result['memory_bytes'].values() for size in memory.values()) > 2**20
        assert 'memory of workers' in loader_text(result)


def test_prepared_clips_are_timed_without_the_steps_before(clip, tmp_path, monkeypatch):
    monkeypatch.setitem(LOADER, 'dataset', dict(LOADER['dataset'], cache=f'prepared:{tmp_path / "disk"}'))
    monkeypatch.setitem(PIPELINE[0], 'mode', 'uniform')
    ticks = iter(range(0, 1000, 4))
    dataset = build_dataset(LOADER, clip=clip, folder=tmp_path)
    dataset.prepared.fill(progress=False)
    monkeypatch.setattr(LoadClip, 'transform', None)
    result = measure_prepared(dataset, av_collate, batch_size=2, clips=3, clock=lambda: next(ticks))
    assert result == dict(prepared_ms=1000.0, clips=4)


def test_threads_are_put_back():
    before = torch.get_num_threads(), cv2.getNumThreads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before


def test_figures_of_known_times():
    clips = [
        ClipTimes(dict(LoadClip=4.0, RandomFlip=1.0, LogMel=1.0, Slow=1.0, PackAVInputs=1.0, collate=2.0), 5.0),
        ClipTimes(dict(LoadClip=6.0, RandomFlip=3.0, LogMel=2.0, Slow=3.0, PackAVInputs=3.0, collate=3.0), 5.0),
        ClipTimes(dict(LoadClip=5.0, RandomFlip=2.0, LogMel=3.0, Slow=2.0, PackAVInputs=2.0, collate=1.0), 10.0),
    ]
    result = Measurement(clips, broken=1, memory=(2**20, 3 * 2**20)).summary()
    assert result['total_ms'] == dict(median=15e3, mean=pytest.approx(15e3))
    assert result['steps_ms']['RandomFlip'] == dict(median=2e3, mean=2e3)
    assert list(result['parts_ms']) == list(PARTS)
    assert sum(figures['mean'] for figures in result['parts_ms'].values()) == pytest.approx(result['total_ms']['mean'])
    assert (result['data_path_to_bare'], result['load_clip_to_bare']) == (2.0, 0.8)
    assert result['audio_front_end_share'] == pytest.approx(2 / 15)
    assert result['clips_per_second_per_worker'] == pytest.approx(1 / 15)
    table = steps_text(result)
    assert table.splitlines()[2].split() == ['RandomFlip', 'video', 'transforms', '2000.00', '2000.00', '13.3%']
    assert 'clips                      3 measured, 1 broken' in table
    assert '1 MiB after the warm-up, 3 MiB at the end' in table


def test_a_loader_in_words():
    memory = dict(after_warm_up=dict(main=2**20, workers=None), at_end=dict(main=2**21, workers=None))
    lines = loader_text(
        dict(clips=8, batch_size=2, broken=1, clips_per_second=2.5, workers=3, memory_bytes=memory)
    ).splitlines()
    assert '2.50 clips/s with 3 workers; 8 clips in batches of 2, 1 broken' in lines[0]
    assert lines[1].endswith('1 MiB after the warm-up, 2 MiB at the end')
    assert lines[2].endswith('not known on this system')
