"""The choice of a cache follows the memory that is free, and what is chosen is what the datasets then have."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from mmav.analysis.folder.caching import build_lists, fits_now
from mmav.datasets import cache_folder
from mmav.datasets.cache_folder import Room
from tests import clips


@pytest.fixture
def cfg(tmp_path):
    for k in range(3):
        clips.make_clip(tmp_path / f'{k}.mp4', seconds=0.5, fps=4, size=(16, 16))
    (tmp_path / 'classes.txt').write_text('a\nb\n')
    (tmp_path / 'all.csv').write_text('path,label\n0.mp4,a\n1.mp4,b\n2.mp4,b\n')
    pipeline = [dict(type='LoadClip', num_frames=2, mode='random'), dict(type='LogMel'), dict(type='PackAVInputs')]
    dataset = dict(type='AVDataset', data_root=str(tmp_path), ann_file=str(tmp_path / 'all.csv'), classes='classes.txt')
    loader = dict(dataset=dict(**dataset, pipeline=pipeline))
    return Config(dict(train_dataloader=loader, val_dataloader=loader))


@pytest.fixture
def free(monkeypatch, tmp_path):
    """Makes so many bytes of memory free."""
    monkeypatch.setattr(cache_folder, 'SHARED_MEMORY', str(tmp_path))

    def make(usable):
        monkeypatch.setattr(cache_folder.CacheFolder, 'room', lambda _: Room(3_000_000_000, usable, 'memory'))

    return make


def test_clips_that_fit_are_kept(cfg, free):
    free(1_000_000_000)
    train, val, choice = build_lists(cfg)
    assert choice.value == 'in memory' and choice.why.startswith('1 MB of 3.0 GB free memory')
    for dataset in (train, val):
        dataset[0]
        assert dataset.decoded.kept[0] > 0
    assert 'cache' not in cfg.train_dataloader.dataset


def test_clips_that_do_not_fit_are_not(cfg, free):
    free(1000)
    train, val, choice = build_lists(cfg)
    assert train.decoded is None and val.decoded is None and len(train) == 3
    assert choice.value == 'none'
    assert choice.why == (
        '3 clips of all.csv, 1 MB do not fit into 3.0 GB of free memory: each epoch decodes the files again'
    )


def test_both_lists_have_to_fit(cfg, free):
    free(1_000_000_000)
    need = build_lists(cfg)[0].decoded.need
    free(need + need // 2)
    assert fits_now(cfg).value == 'none'
    free(2 * need)
    assert fits_now(cfg).value == 'in memory'


def test_a_machine_without_shared_memory(cfg, monkeypatch, tmp_path):
    monkeypatch.setattr(cache_folder, 'SHARED_MEMORY', str(tmp_path / 'none'))
    train, _, choice = build_lists(cfg)
    assert train.decoded is None and choice.why.startswith('this machine has no ')
