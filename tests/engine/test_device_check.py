"""Configs whose pipelines and data preprocessor do not make a whole."""

from types import SimpleNamespace

import pytest
import torch

from mmav.config.check import check_config
from mmav.config.device_steps import MOVABLE, move_to_device
from mmav.config.reading import load_config
from mmav.engine.device_check import device_note, device_problems
from mmav.errors import ConfigError
from mmav.models import AVDataPreprocessor
from tests.toys import ROOT


@pytest.fixture
def cfg():
    found = load_config(str(ROOT / 'configs/mmt/mmt_k4_l4_vggsound.py'))
    move_to_device(found, MOVABLE)
    return found


def steps(cfg, split='train'):
    return cfg[f'{split}_dataloader'].dataset.pipeline


def append(cfg, step, split='train'):
    steps(cfg, split).insert(-1, step)


def replace(cfg, split='train', **changes):
    next(step for step in steps(cfg, split) if step.type == 'DeviceLogMel').update(changes)


TRAIN = 'train_dataloader.dataset.pipeline: '


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda cfg: append(cfg, dict(type='RandomErasing')),
         f'{TRAIN}RandomErasing runs here, and again on the device as data_preprocessor.random_erasing: leave one of'),
        (lambda cfg: append(cfg, dict(type='SpecAugment')),
         f'{TRAIN}SpecAugment follows DeviceLogMel, which gives waveforms: use data_preprocessor.spec_augment'),
        (lambda cfg: append(cfg, dict(type='WaveAugment')),
         f'{TRAIN}WaveAugment follows DeviceLogMel, which gives waveforms: put it before'),
        (lambda cfg: replace(cfg, 'test', type='LogMel'),
         'test_dataloader.dataset.pipeline: LogMel runs here, and data_preprocessor.log_mel needs waveforms: use'),
        (lambda cfg: replace(cfg, target_frames=512),
         f'{TRAIN}DeviceLogMel has target_frames=512, data_preprocessor.log_mel 1024: give both the same'),
        (lambda cfg: replace(cfg, 'val', per_clip=True),
         'val_dataloader.dataset.pipeline: DeviceLogMel has per_clip=True, data_preprocessor.log_mel False: give'),
        (lambda cfg: cfg.model.data_preprocessor.update(log_mel=None, spec_augment=None),
         f'{TRAIN}DeviceLogMel gives waveforms, and data_preprocessor has no log_mel that computes their spectrograms'),
        (lambda cfg: cfg.model.data_preprocessor.update(log_mel=None),
         'model.data_preprocessor.spec_augment masks what data_preprocessor.log_mel computes, and there is none'),
        (lambda cfg: cfg.model.data_preprocessor.random_erasing.update(pp=1),
         'model.data_preprocessor.random_erasing: '),
        (lambda cfg: cfg.model.data_preprocessor.update(random_erasing=0.5),
         'model.data_preprocessor.random_erasing=0.5: give a dict of its arguments'),
        (lambda cfg: cfg.model.data_preprocessor.log_mel.update(num_mel_bins=2),
         'model.data_preprocessor.log_mel: need at least 4 mel bins and 1 frame, got 2 and 1024'),
        (lambda cfg: cfg.model.backbones.pop('video'),
         'model.data_preprocessor.random_erasing has no effect: the model reads no video; leave it out'),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(cfg, change, message):
    assert list(device_problems(cfg)) == []
    change(cfg)
    found = list(device_problems(cfg))
    assert any(line.startswith(message) for line in found), found
    assert all('\n' not in line for line in found)


def test_it_is_part_of_the_check(cfg):
    check_config(cfg)
    append(cfg, dict(type='RandomErasing'))
    with pytest.raises(ConfigError, match='RandomErasing runs here, and again on the device'):
        check_config(cfg)


def test_what_has_no_steps_is_left_alone():
    assert list(device_problems(dict(model=dict(data_preprocessor=dict(type='unknown'))))) == []
    assert list(device_problems({})) == []


def test_on_a_cpu_the_log_says_that_nothing_is_gained():
    preprocessor = AVDataPreprocessor(log_mel={}, random_erasing={})
    model = SimpleNamespace(data_preprocessor=preprocessor)
    assert device_note(model) == (
        'data_preprocessor.random_erasing and log_mel run in the training process: without a GPU that is no gain, as '
        'data workers could run them beside it'
    )
    preprocessor._device = torch.device('cuda')
    assert device_note(model) is None
    assert device_note(SimpleNamespace(data_preprocessor=AVDataPreprocessor())) is None
    assert device_note(SimpleNamespace()) is None
