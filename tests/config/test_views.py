import copy
import math

import pytest
from mmengine.config import Config

from mmav.config.views import count_test_views, set_test_views, set_view_options
from mmav.errors import ConfigError

LOAD = dict(type='LoadClip', num_frames=4, short_side=256, mode='uniform', num_views=5, window=10.24)
CROP = dict(type='CenterCrop', size=224)
REST = [dict(type='LogMel'), dict(type='PackAVInputs')]


def config(*steps, model=None, **dataset):
    data = dict(type='AVDataset', ann_file='test.csv', pipeline=[*(steps or (LOAD, CROP)), *REST], **dataset)
    loader = dict(dataset=dict(type='ConcatDataset', datasets=[data]))
    backbones = dict(video=dict(type='MViTv2'), audio=dict(type='MAT'))
    model = dict(type='AVClassifier', backbones=backbones) | (model or {})
    return Config(dict(val_dataloader=loader, test_dataloader=loader, model=model))


def pipeline(cfg, stage='test'):
    return cfg[f'{stage}_dataloader'].dataset.datasets[0].pipeline


def test_each_option_reaches_its_step_and_no_other():
    cfg = config()
    before = copy.deepcopy(pipeline(cfg))
    set_test_views(cfg, views=7, windows=2, crops=3, flip=True)
    assert pipeline(cfg) == [
        dict(LOAD, num_views=7, num_windows=2, short_side=224),
        dict(type='SpatialCrops', size=224, num=3),
        dict(type='FlipViews'),
        *REST,
    ]
    assert pipeline(cfg, 'val') == before
    assert count_test_views(cfg) == dict(windows=2, views=7, crops=3, mirrored=2)
    set_test_views(cfg, crops=1, flip=True)
    assert [step['type'] for step in pipeline(cfg)][1:3] == ['SpatialCrops', 'FlipViews']
    assert math.prod(count_test_views(cfg).values()) == 2 * 7 * 2


def test_nothing_asked_changes_nothing():
    cfg = config()
    before = cfg.to_dict()
    set_test_views(cfg)
    assert cfg.to_dict() == before
    set_test_views(cfg, crops=1)
    assert cfg.to_dict() == before


@pytest.mark.parametrize('size', [(224, 200), 300])
def test_frames_are_decoded_at_the_crops_size_only_if_that_is_less(size):
    cfg = config(LOAD, dict(type='CenterCrop', size=size))
    set_test_views(cfg, crops=3)
    assert pipeline(cfg)[0].short_side == 256


def test_a_resize_before_the_crop_is_the_crops():
    cfg = config(LOAD, dict(type='Resize', size=240), dict(type='Resize', size=(240, 300)), CROP)
    set_test_views(cfg, crops=3)
    assert [step.get('size') for step in pipeline(cfg)[1:4]] == [224, (240, 300), 224]


def test_without_a_crop_mirror_images_follow_the_last_step_of_frames():
    cfg = config(LOAD, dict(type='Resize', size=240))
    set_test_views(cfg, flip=True)
    assert pipeline(cfg)[2] == dict(type='FlipViews')


@pytest.mark.parametrize(
    ('cfg', 'options', 'message'),
    [
        (config(LOAD), dict(crops=3), '--crops 3: the test pipeline has no CenterCrop'),
        (config(CROP), dict(views=3), '--views 3: the test pipeline has no LoadClip'),
        (config(modalities=['audio']), dict(flip=True), '--flip has no effect: no video is tested, only audio'),
        (config(drop=['video']), dict(crops=3), '--crops 3 has no effect: no video is tested'),
        (config(model=dict(backbones=dict(video=None, audio={}))), dict(views=2), '--views 2 has no effect: no video'),
        (
            Config(dict(test_dataloader=dict(dataset=dict(type='Other')))),
            dict(windows=2),
            '--windows 2: the config has',
        ),
    ],
)
def test_what_a_pipeline_cannot_do_is_refused(cfg, options, message):
    with pytest.raises(ConfigError, match=message) as error:
        set_test_views(cfg, **options)
    assert '\n' not in str(error.value)


def test_windows_of_sound_need_no_video():
    cfg = config(modalities=['audio'])
    set_test_views(cfg, windows=4)
    assert pipeline(cfg)[0].num_windows == 4


def test_more_views_take_no_more_memory_than_the_config():
    cfg = config()
    set_test_views(cfg, crops=3)
    told = set_view_options(cfg, before=5)
    assert told == '15 views a clip (5 views x 3 crops), 5 at a time' and cfg.model.view_batch == 5
    own = config(model=dict(view_batch=2))
    set_test_views(own, crops=3)
    assert set_view_options(own, before=5).endswith(', 2 at a time')
    fewer = config()
    set_test_views(fewer, views=1)
    assert set_view_options(fewer, before=5) == '1 view a clip' and 'view_batch' not in fewer.model
    other = config(model=dict(type='Own'))
    assert set_view_options(other, before=1) == '5 views a clip (5 views)' and 'view_batch' not in other.model


def test_options_of_the_model():
    cfg = config()
    assert set_view_options(cfg, average='logits', batch=2, before=5).endswith(', 2 at a time')
    assert (cfg.model.view_average, cfg.model.view_batch) == ('logits', 2)
    for given, options, message in (
        (config(), dict(batch=5), '--view-batch 5 has no effect: a clip has 5 views'),
        (config(dict(LOAD, num_views=1), CROP), dict(average='logits'), 'no effect: a clip has one view; give --views'),
        (config(model=dict(type='Own')), dict(average='logits'), "is for an AVClassifier; .* 'Own'"),
    ):
        with pytest.raises(ConfigError, match=message):
            set_view_options(given, **options)
