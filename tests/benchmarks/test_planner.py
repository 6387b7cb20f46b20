from __future__ import annotations

import itertools

import pytest
from mmengine.config import Config

from benchmarks.planner import (
    AS_IT_IS,
    CACHED,
    DEVICE,
    KEPT,
    MARGIN,
    PREPARED,
    check_numbers,
    plan,
    plan_text,
    plan_workers,
)
from mmav.errors import ConfigError

MIB = 2**20


def planned(seconds, **more):
    options = dict(gpus=8, step_time=0.5, batch_size=8, clip_bytes=MIB, cores=64, shared=64 * 2**30)
    return plan(seconds, **{**options, **more})


def test_workers_read_a_batch_in_a_step_with_some_to_spare():
    found = planned({'as it is': 0.1, 'half': 0.05})
    # 16 clips a second take 1.6 cores
    one, half = found['ways']
    assert (one['workers_per_gpu'], one['workers'], one['cores']) == (2, 16, 24)
    assert (half['workers_per_gpu'], half['workers'], half['cores']) == (1, 8, 16)
    assert found['clips_per_second'] == 128 and found['margin'] == MARGIN == 0.25
    assert one['prefetched_bytes'] == 16 * 2 * 8 * MIB
    assert planned({'a': 0.1001})['ways'][0]['workers_per_gpu'] == 3


NEEDS = '8 GPUs need 32 workers (4 a GPU), 40 cores; this machine has'


@pytest.mark.parametrize(
    ('more', 'verdict'),
    [
        (dict(), f'enough: {NEEDS} 64'),
        (dict(cores=20), f'not enough: {NEEDS} 20; enough with half: 8 workers'),
        (dict(cores=4), f'not enough: {NEEDS} 4; fewest with half: 8 workers, 16 cores'),
        (
            dict(shared=300 * MIB),
            f'not enough: {NEEDS} 64, but 0.3 GiB of shared memory for 0.5 GiB of batches; enough with half: 8 workers',
        ),
    ],
)
def test_the_verdict(more, verdict):
    found = planned({'as it is': 0.2, 'half': 0.03}, **more)
    assert found['verdict'] == verdict
    text = plan_text(found, ['shards: not measured'])
    assert text.endswith(f'shards: not measured\nverdict: {verdict}') and '25% to spare' in text


def test_nothing_takes_fewer():
    found = planned({'as it is': 0.2}, cores=4)
    assert found['verdict'].endswith('this machine has 4; no way that was measured takes fewer')


@pytest.mark.parametrize(
    ('numbers', 'message'),
    [
        ((None, 0.5, None), '--step-time 0.5 has no effect without --gpus'),
        ((None, None, 4), '--batch-size 4 has no effect without --gpus'),
        ((8, None, None), '--gpus 8 needs --step-time'),
        ((0, 0.5, None), '--gpus 0 --step-time 0.5: give numbers above 0'),
        ((8, -1.0, 4), '--gpus 8 --step-time -1 --batch-size 4: give numbers above 0'),
        ((8, float('nan'), None), 'give numbers above 0'),
    ],
)
def test_numbers_that_make_no_plan(numbers, message):
    with pytest.raises(ConfigError, match=message):
        check_numbers(*numbers)
    check_numbers(None, None, None)
    check_numbers(8, 0.5, 4)


def config(mode):
    steps = [
        dict(type='LoadClip', num_frames=2, short_side=24, mode=mode),
        dict(type='RandomResizedCrop', size=16),
        dict(type='RandomErasing'),
        dict(type='LogMel', num_mel_bins=16, target_frames=20),
        dict(type='PackAVInputs'),
    ]
    dataset = dict(type='AVDataset', ann_file='train.csv', data_root='nowhere', pipeline=steps)
    loader = dict(batch_size=3, prefetch_factor=4, collate_fn=dict(type='av_collate'), dataset=dataset)
    return Config(dict(train_dataloader=loader, model=dict(data_preprocessor=dict(type='AVDataPreprocessor'))))


@pytest.mark.parametrize('mode', ['random', 'uniform'])
def test_ways_are_measured_on_the_same_clips(mode, clip, tmp_path):
    ticks = itertools.count()
    numbers = dict(gpus=2, step_time=3.0, batch_size=None)
    found, notes = plan_workers(
        config(mode), 'train', tmp_path, clip=str(clip), clips=4, clock=lambda: next(ticks), **numbers
    )
    kept = [KEPT] if mode == 'uniform' else []
    both = [PREPARED, f'{PREPARED}, {DEVICE}', CACHED, f'{CACHED}, {DEVICE}']
    assert [way['name'] for way in found['ways']] == [AS_IT_IS, DEVICE, *both, *kept]
    # each clip takes a tick of the clock
    assert all(way['ms'] == 1000 for way in found['ways'])
    assert (found['batch_size'], found['prefetch'], found['clips_per_second']) == (3, 4, 2.0)
    assert found['clip_bytes'] == 3 * 2 * 16 * 16 + 4 * 16 * 20
    assert any(note.startswith(f'{KEPT}: ') for note in notes) == (mode == 'random')
    assert notes[0].startswith(f'{CACHED}: ')
    assert notes[1] == f'{DEVICE}: --on-device random_erasing log_mel, or the same in the config'
