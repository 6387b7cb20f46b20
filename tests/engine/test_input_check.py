"""Configs that feed an encoder what it was not trained on."""

import pytest
from mmengine.config import Config

from mmav.config.check import check_config
from mmav.config.reading import load_config
from mmav.engine.input_check import input_problems
from mmav.errors import ConfigError
from mmav.models import Backbone
from mmav.models.backbones.base import Expected
from mmav.registry import MODELS, TRANSFORMS
from tests.toys import ROOT


@MODELS.register_module()
class Choosy(Backbone):
    """Expects what its argument says.

    Args:
        wants: Arguments of :class:`Expected`.
    """

    def __init__(self, wants=None):
        super().__init__((32, 64), 1, 8)
        self.expected = self.expected_of(dict(wants=wants))

    @classmethod
    def expected_of(cls, arguments):
        if arguments['wants'] is None:
            raise ConfigError('there is nothing that it could want')
        return Expected(**arguments['wants'])


@pytest.fixture
def cfg() -> Config:
    return load_config(str(ROOT / 'configs/mmt/mmt_tiny_folder.py'))


def problems(cfg, modality, wants, norm=None):
    cfg.model.backbones[modality] = dict(type='Choosy', wants=wants)
    if norm is not None:
        cfg.model.data_preprocessor.norm[modality] = norm
    return list(dict.fromkeys(input_problems(cfg)))


IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.mark.parametrize('norm', ['backbone', IMAGENET, dict(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))])
def test_the_own_norm_passes(cfg, norm):
    assert problems(cfg, 'video', dict(norm=IMAGENET), norm) == []


def test_another_norm_is_refused(cfg):
    assert problems(cfg, 'video', dict(norm=IMAGENET)) == [
        (
            'model.data_preprocessor.norm.video: mean 114.75 and std 57.375, but Choosy was trained with mean (123.675'
            ", 116.28, 103.53) and std (58.395, 57.12, 57.375); set norm.video='backbone'"
        )
    ]


def test_any_norm_will_do_where_no_weights_were_trained_with_one(cfg):
    assert problems(cfg, 'video', dict(norm=IMAGENET, trained=False)) == []
    assert problems(cfg, 'video', dict(norm=IMAGENET, trained=False), 'backbone') == []


def test_no_norm_is_mean_0_and_std_1(cfg):
    del cfg.model.data_preprocessor.norm['video']
    assert problems(cfg, 'video', dict(norm=dict(mean=0, std=1))) == []
    (line,) = problems(cfg, 'video', dict(norm=IMAGENET))
    assert line.startswith('model.data_preprocessor.norm.video: none is given, but Choosy was trained with mean (123.')


def test_a_backbone_without_norm_cannot_be_asked_for_it(cfg):
    expected = "model.data_preprocessor.norm.video='backbone': Choosy states no normalisation of its own; give dict("
    assert problems(cfg, 'video', {}, 'backbone')[0].startswith(expected)
    cfg.model.backbones.video = dict(type='MViTv2')
    assert next(input_problems(cfg)).startswith(expected.replace('Choosy', 'MViTv2'))


def test_a_backbone_that_expects_nothing_takes_anything(cfg):
    assert problems(cfg, 'video', {}) == problems(cfg, 'audio', {}) == []


def test_the_front_end_must_be_the_backbones(cfg):
    wants = dict(front_end=dict(type='LogMel', num_mel_bins=128))
    assert problems(cfg, 'audio', wants) == []
    wants = dict(front_end=dict(type='LogMel', num_mel_bins=64, frame_shift_ms=20.0))
    lines = problems(cfg, 'audio', wants)
    assert lines[0] == (
        'train_dataloader.dataset.pipeline: LogMel with num_bins=128, frame_shift_ms=10.0, but model.backbones.audio '
        "(Choosy) expects LogMel with num_bins=64, frame_shift_ms=20.0; use dict(type='LogMel', num_mel_bins=64, "
        'frame_shift_ms=20.0)'
    )
    assert [line.split(':')[0] for line in lines] == [
        f'{part}_dataloader.dataset.pipeline' for part in ('train', 'val', 'test')
    ]


def test_lengths_must_be_the_backbones(cfg):
    assert problems(cfg, 'audio', dict(size=(128, None))) == problems(cfg, 'audio', dict(size=(None, 512))) == []
    assert problems(cfg, 'audio', dict(size=(128, 1024)))[0] == (
        'train_dataloader.dataset.pipeline: LogMel gives 128 x 512 values, but model.backbones.audio (Choosy) takes '
        '128 x 1024, bins and frames'
    )
    assert problems(cfg, 'audio', dict(size=(None,)))[0] == (
        'train_dataloader.dataset.pipeline: LogMel gives spectrograms, but model.backbones.audio (Choosy) reads '
        "waveforms; use dict(type='Waveform')"
    )
    cfg.model.backbones.audio = None
    assert problems(cfg, 'video', dict(size=(8, 96, 96))) == problems(cfg, 'video', dict(size=(None, None, 96))) == []
    assert problems(cfg, 'video', dict(size=(8, 224, 224)))[0] == (
        'train_dataloader.dataset.pipeline: RandomResizedCrop gives frames of 96 x 96 pixels, but '
        'model.backbones.video (Choosy) takes 224 x 224; set size=224'
    )
    assert problems(cfg, 'video', dict(size=(16, None, None)))[0] == (
        'train_dataloader.dataset.pipeline: LoadClip gives 8 frames, but model.backbones.video (Choosy) takes 16; set '
        'num_frames=16'
    )


def test_audio_must_be_read_at_the_rate_of_its_front_end(cfg):
    cfg.test_dataloader.dataset.pipeline[0].sample_rate = 44100
    assert list(input_problems(cfg)) == [
        (
            'test_dataloader.dataset.pipeline: LoadClip reads 44100 samples a second, its front end expects 16000; set '
            'sample_rate=16000 of LoadClip'
        )
    ]
    load, log_mel = (TRANSFORMS.build(cfg.test_dataloader.dataset.pipeline[k]) for k in (0, 2))
    results = dict(broken='a test', modalities=('audio',))
    with pytest.raises(ConfigError, match=r'^LogMel reads 16000 samples a second, but LoadClip gives 44100: set'):
        log_mel.transform(load.transform(results))


def test_an_error_of_the_backbone_is_a_line_of_the_check(cfg):
    cfg.model.backbones.audio = dict(type='Choosy', wants=None)
    with pytest.raises(ConfigError, match=r'model.backbones.audio: there is nothing that it could want$'):
        check_config(cfg)
