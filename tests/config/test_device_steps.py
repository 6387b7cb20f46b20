import copy

import pytest
from mmengine.config import Config

from mmav.config.check import check_config
from mmav.config.device_steps import MOVABLE, device_steps, move_to_device, move_to_workers
from mmav.config.edits import training_views
from mmav.config.reading import load_config
from mmav.errors import ConfigError
from tests.toys import ROOT

PAPER = 'configs/mmt/mmt_k4_l4_vggsound.py'


def load(path=PAPER):
    return load_config(str(ROOT / path))


def kinds(cfg, split='train'):
    return [step.type for step in cfg[f'{split}_dataloader'].dataset.pipeline]


def test_the_flagships_steps_move():
    cfg = load()
    views = training_views(cfg)
    move_to_device(cfg, MOVABLE)
    assert kinds(cfg) == ['LoadClip', 'RandomResizedCrop', 'RandomFlip', 'RandAugment', 'DeviceLogMel', 'PackAVInputs']
    for split in ('val', 'test'):
        assert kinds(cfg, split) == ['LoadClip', 'CenterCrop', 'DeviceLogMel', 'PackAVInputs']
    assert device_steps(cfg) == dict(
        random_erasing=dict(p=0.25),
        log_mel=dict(num_mel_bins=128, target_frames=1024),
        spec_augment=dict(freq_mask=48, time_mask=192, num_views=2),
    )
    assert training_views(cfg) == views == dict(video=2, audio=2)
    check_config(cfg)


@pytest.mark.parametrize(
    'path',
    [PAPER, 'configs/mmt/mmt_tiny_folder.py', 'configs/small/small_folder.py', 'configs/mmt/mmt_tiny_avsynth.py'],
)
def test_there_and_back(path):
    cfg = load(path)
    before = copy.deepcopy(cfg._cfg_dict)
    assert not move_to_workers(cfg)
    move_to_device(cfg, ['log_mel'])
    check_config(cfg)
    if 'RandomErasing' in kinds(cfg):
        move_to_device(cfg, ['random_erasing'])
    assert move_to_workers(cfg) and not device_steps(cfg)
    for split in ('train', 'val', 'test'):
        now, then = (each[f'{split}_dataloader'].dataset.pipeline for each in (cfg, before))
        # the order of steps of different modalities does not matter
        for sound in (True, False):
            assert [step for step in now if _of_sound(step) == sound] == [s for s in then if _of_sound(s) == sound]
    assert cfg.model.data_preprocessor == before.model.data_preprocessor


def _of_sound(step):
    return step.type in ('LogMel', 'AudioViews', 'SpecAugment', 'WaveAugment')


def config(*steps, test=('LogMel',), more=()):
    """A config of these steps in training, each a type or a dict, and of others in testing."""

    def pipeline(names):
        return [dict(type=name) if isinstance(name, str) else name for name in (*names, 'PackAVInputs')]

    training = [dict(pipeline=pipeline(each)) for each in (steps, *more)]
    return Config(
        dict(
            model=dict(data_preprocessor=dict(type='AVDataPreprocessor')),
            train_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=training)),
            test_dataloader=dict(dataset=dict(pipeline=pipeline(test))),
        )
    )


@pytest.mark.parametrize(
    ('cfg', 'name', 'message'),
    [
        (config('LogMel'), 'log_mell', "log_mell: choose of random_erasing, log_mel, did you mean 'log_mel'"),
        (config('LogMel'), 'random_erasing', 'random_erasing has no effect: no pipeline has a RandomErasing'),
        (config('Waveform', test=()), 'log_mel', '--on-device log_mel has no effect: no pipeline has a LogMel'),
        (config('RandomErasing', 'RandomFlip'), 'random_erasing', 'RandomFlip follows RandomErasing and would come'),
        (config('RandomErasing', 'RandomErasing'), 'random_erasing', 'training erases twice'),
        (config('RandomErasing', more=[()]), 'random_erasing', 'not all pipelines have the same RandomErasing'),
        (config('LogMel', test=[dict(type='LogMel', num_mel_bins=64)]), 'log_mel', 'not all pipelines have the same'),
        (config('LogMel', 'SpecAugment', more=[['LogMel']]), 'log_mel', 'not all pipelines have the same LogMel'),
        (config('LogMel', test=['LogMel', 'SpecAugment']), 'log_mel', 'SpecAugment in test_dataloader would mask no'),
        (config('LogMel', 'WaveAugment'), 'log_mel', 'WaveAugment follow LogMel; only AudioViews and then SpecAugment'),
        (config('LogMel', 'SpecAugment', 'AudioViews'), 'log_mel', 'SpecAugment, AudioViews follow LogMel'),
        (config(dict(type='LogMel', backend='torchaudio')), 'log_mel', "LogMel has backend='torchaudio', which runs"),
    ],
)  # fmt: skip
def test_what_cannot_move(cfg, name, message):
    with pytest.raises(ConfigError, match=message):
        move_to_device(cfg, [name])


def test_another_preprocessor_and_a_second_time():
    cfg = config('LogMel')
    move_to_device(cfg, ['log_mel'])
    with pytest.raises(ConfigError, match='has no effect: the config has data_preprocessor.log_mel already'):
        move_to_device(cfg, ['log_mel'])
    cfg.model.data_preprocessor.type = 'BaseDataPreprocessor'
    with pytest.raises(ConfigError, match="needs an AVDataPreprocessor, and .* is 'BaseDataPreprocessor'"):
        move_to_device(cfg, ['log_mel'])


def test_views_of_sound_alone_stay_in_workers():
    cfg = config('AudioViews', 'WaveAugment', 'LogMel', 'SpecAugment')
    move_to_device(cfg, ['log_mel'])
    steps = cfg.train_dataloader.dataset.datasets[0].pipeline
    assert [step.type for step in steps] == ['AudioViews', 'WaveAugment', 'DeviceLogMel', 'PackAVInputs']
    assert cfg.model.data_preprocessor.spec_augment == {}
    move_to_workers(cfg)
    assert [step.type for step in steps] == ['AudioViews', 'WaveAugment', 'LogMel', 'SpecAugment', 'PackAVInputs']
