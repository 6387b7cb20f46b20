"""What is extracted of a config."""

import copy

import pytest

from mmav.engine.features.plan import (
    Options,
    clips_of,
    digest_settings,
    encoder_settings,
    first_difference,
    innermost,
    settings_of,
    splits_of,
)
from mmav.errors import ConfigError


def test_each_manifest_once(cfg):
    assert splits_of(cfg) == ['train', 'test']
    cfg.val_dataloader.dataset.ann_file = 'val.csv'
    assert splits_of(cfg) == ['train', 'val', 'test']
    with pytest.raises(ConfigError, match='has no dataloader'):
        splits_of({})


def test_training_clips_are_read_as_in_testing(cfg):
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=3, dataset=cfg.train_dataloader.dataset)
    cfg.train_dataloader.dataset.dataset.modality_dropout = dict(audio=0.5)
    clips = clips_of(cfg, 'train', Options())
    assert len(clips) == 6 and clips.dataset.test_mode and not clips.dataset.modality_dropout
    assert [type(step).__name__ for step in clips.dataset.pipeline.transforms][1] == 'CenterCrop'
    augmented = clips_of(cfg, 'train', Options(augment=2))
    assert [type(step).__name__ for step in augmented.dataset.pipeline.transforms][1] == 'RandomFlip'
    assert augmented.dataset.seed == 3 and augmented.augment == 2
    assert innermost(cfg.train_dataloader.dataset)['ann_file'] == 'train.csv'


def test_views_and_windows(cfg):
    assert clips_of(cfg, 'test', Options(views=3))[0]['inputs']['video'].shape[0] == 3
    assert clips_of(cfg, 'test', Options(windows=2)).window == pytest.approx(0.32)  # of the spectrogram
    for loader in ('val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.pipeline[0].window = 1.5
    assert clips_of(cfg, 'test', Options(windows=2)).window == 1.5
    with pytest.raises(ConfigError, match='--views 0: give a number from 1'):
        clips_of(cfg, 'test', Options(views=0))


def test_a_dataset_without_files_is_refused(cfg):
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[])
    with pytest.raises(ConfigError, match="of a 'ConcatDataset' cannot be extracted.*; extract each of"):
        clips_of(cfg, 'train', Options())
    cfg.val_dataloader = None
    with pytest.raises(ConfigError, match='--split val: the config has no val_dataloader'):
        clips_of(cfg, 'val', Options())


def test_settings_tell_what_features_depend_on(cfg):
    def digest(cfg, options=None, **changes):
        options = options or Options()
        given = dict(options=options, weights=dict(video='a'), stored=dict(video=[8, [0], 1]))
        return digest_settings(settings_of(cfg, 'train', clips_of(cfg, 'train', options), **(given | changes)))

    first = digest(cfg)
    assert digest(copy.deepcopy(cfg)) == first
    other = copy.deepcopy(cfg)
    other.model.backbones.video.drop_path_rate = 0.9  # of training
    other.train_dataloader.batch_size = 5
    other.model.neck.embed_dims = 32
    assert digest(other, Options(batch_size=3, workers=2)) == first
    other.model.data_preprocessor.norm.video.mean = 1
    assert digest(other) != first
    assert digest(cfg, Options(dtype='float16')) != first
    assert digest(cfg, weights=dict(video='b')) != first
    assert digest(cfg, stored=dict(video=[8, [3], 1])) != first
    other = copy.deepcopy(cfg)
    other.train_dataloader.dataset.ann_file = 'test.csv'
    assert digest(other) != first
    assert digest(cfg, Options(augment=1)) != first


def test_encoders_of_modalities_that_were_removed_do_not_count(cfg):
    cfg.model.backbones.audio = None
    assert list(encoder_settings(cfg)['backbones']) == ['video']


def test_the_first_difference():
    assert first_difference(dict(a=[1, 2]), dict(a=[1, 2])) is None
    assert first_difference(dict(a=[1, dict(b=2)]), dict(a=[1, dict(b=3)])) == ('a.1.b', 2, 3)
    assert first_difference(dict(a=[1]), dict(a=[1, 2])) == ('a', [1], [1, 2])
    assert first_difference(dict(), dict(c=1)) == ('c', None, 1)
