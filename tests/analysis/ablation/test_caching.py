import shutil

import pytest
from mmengine.config import Config

from mmav.analysis.ablation.caching import SharedClips
from mmav.datasets import cache_folder
from mmav.datasets.transforms import LoadClip
from mmav.errors import ConfigError

LOAD = dict(type='LoadClip', num_frames=2, short_side=16, mode='uniform')
PACK = dict(type='PackAVInputs')


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    """Stands in for /dev/shm."""
    (tmp_path / 'shm').mkdir()
    monkeypatch.setattr(cache_folder, 'SHARED_MEMORY', str(tmp_path / 'shm'))
    return tmp_path / 'shm'


@pytest.fixture
def config(tmp_path, clip):
    shutil.copy(clip, tmp_path / 'a.mp4')
    (tmp_path / 'list.csv').write_text('path,label\na.mp4,a\ngone.mp4,a\na.mp4,a\n')

    def make(mode='uniform'):
        mel = dict(type='LogMel', num_mel_bins=16, target_frames=20)
        dataset = dict(type='AVDataset', data_root=str(tmp_path), ann_file='list.csv', classes=['a', 'b'])
        train = dict(**dataset, pipeline=[dict(LOAD, mode=mode), mel, PACK])
        test = dict(**dataset, pipeline=[LOAD, mel, PACK], test_mode=True)
        return Config(dict(train_dataloader=dict(dataset=train), test_dataloader=dict(dataset=test)))

    return make


def test_the_best_cache_that_a_config_allows(config, memory):
    clips = SharedClips()
    assert clips.choose(config(), None) == 'prepared'
    assert clips.choose(config('random'), None) == 'ram'  # other frames each time
    assert clips.choose(config(), 'none') is None
    assert clips.choose(Config(dict(train_dataloader=dict(dataset=dict(type='ToyDataset')))), None) is None
    with pytest.raises(ConfigError, match="cache='prepared' keeps what the first steps give"):
        clips.choose(config('random'), 'prepared')


def test_runs_find_what_was_read_before(config, monkeypatch):
    clips, cfg = SharedClips(), config()
    cache = clips.choose(cfg, None)
    before = len(clips._held)
    assert clips.choose(cfg, None) == cache and len(clips._held) == before  # the same datasets
    clips.fill(jobs=2)
    monkeypatch.setattr(LoadClip, 'transform', lambda self, clip: pytest.fail(f'reads {clip["path"]}'))
    for dataset in clips._held.values():
        assert dataset[0] is not None and dataset[2] is not None


def test_it_says_why_clips_are_not_kept(config, monkeypatch, capsys):
    monkeypatch.setattr(cache_folder, 'SHARED_MEMORY', '/nowhere')
    assert SharedClips().choose(config(), None) is None
    assert 'clips are read anew by each run: ' in capsys.readouterr().err
