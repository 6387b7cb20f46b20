"""Changes to configs: each reaches all parts that it is meant for, and no other."""

import os

import pytest
from mmengine.config import Config

from mmav.config.edits import (
    leaves_of,
    resolve_num_classes,
    set_amp,
    set_cache,
    set_data_root,
    set_drop,
    set_eval_amp,
    set_shards,
    training_views,
    turn_on_auto_scale_lr,
    turn_on_deterministic,
)
from mmav.errors import ConfigError, ManifestError


def data(**dataset):
    return Config(
        dict(
            data_root='old',
            num_classes='auto',
            train_dataloader=dict(
                dataset=dict(type='RepeatDataset', times=2, dataset=dict(ann_file='a.csv', **dataset))
            ),
            val_dataloader=None,
            test_dataloader=dict(dataset=dict(ann_file='b.csv', data_root='old')),
            model=dict(head=dict(num_classes='auto'), other=[dict(num_classes='auto'), dict(num_classes=7)]),
        )
    )


def test_the_cache_reaches_every_dataset_of_clips():
    cfg = data(type='AVDataset')
    cfg.test_dataloader.dataset.type = 'FeatureDataset'
    set_cache(cfg, 'ram')
    assert cfg.train_dataloader.dataset.dataset.cache == 'ram'
    assert 'cache' not in cfg.train_dataloader.dataset and 'cache' not in cfg.test_dataloader.dataset
    with pytest.raises(ConfigError, match='--cache /tmp/a has no effect: the config has no AVDataset'):
        set_cache(data(), '/tmp/a')


def test_shards_reach_every_dataset_of_clips():
    cfg = data(type='AVDataset')
    cfg.test_dataloader.dataset.type = 'FeatureDataset'
    set_shards(cfg, 's3://bucket/x')
    assert cfg.train_dataloader.dataset.dataset.shards == 's3://bucket/x'
    assert 'shards' not in cfg.train_dataloader.dataset and 'shards' not in cfg.test_dataloader.dataset
    with pytest.raises(ConfigError, match='--shards x has no effect: the config has no AVDataset'):
        set_shards(data(), 'x')


def test_data_root_reaches_every_dataset():
    cfg = data()
    cfg.val_evaluator = dict(type='Accuracy')
    cfg.test_evaluator = [dict(type='Accuracy'), dict(type='ActionAccuracy', data_root='old', tail_verbs='tail.csv')]
    set_data_root(cfg, '~/new')
    root = cfg.data_root
    assert cfg.test_evaluator[1].data_root == root
    assert 'data_root' not in cfg.val_evaluator and 'data_root' not in cfg.test_evaluator[0]
    assert root.endswith('/new') and '~' not in root
    assert cfg.train_dataloader.dataset.dataset.data_root == root
    assert 'data_root' not in cfg.train_dataloader.dataset  # the wrapper has no such argument
    assert cfg.test_dataloader.dataset.data_root == root


def test_folders_of_joined_datasets_do_not_become_one():
    cfg = data()
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[dict(ann_file='a.csv', data_root='a'), dict(ann_file='b.csv', data_root='b')]
    )
    with pytest.raises(
        ConfigError, match="--data-root new would take the place of 2 folders of train_dataloader, 'a' a"
    ):
        set_data_root(cfg, 'new')
    assert cfg.data_root == cfg.test_dataloader.dataset.data_root == 'old'
    cfg.train_dataloader.dataset.datasets[1].data_root = 'a'
    set_data_root(cfg, 'new')
    assert [part.data_root for part in cfg.train_dataloader.dataset.datasets] == ['new', 'new']


def test_leaves_and_views_inside_wrappers():
    pipeline = [dict(type='LoadClip', num_views=2)]
    inner = [dict(ann_file='a.csv', pipeline=pipeline), dict(type='RepeatDataset', dataset=dict(ann_file='b.csv'))]
    whole = dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=inner))
    cfg = Config(dict(train_dataloader=dict(dataset=whole)))
    assert [leaf.ann_file for leaf in leaves_of(cfg.train_dataloader.dataset)] == ['a.csv', 'b.csv']
    assert training_views(cfg) == dict(video=2) and list(leaves_of(None)) == []


def test_the_number_of_classes_of_joined_datasets(tmp_path):
    (tmp_path / 'b.txt').write_text('x\ny\n')
    other = dict(ann_file='b.csv', classes='b.txt', data_root=str(tmp_path))
    for more, number in ((dict(classes='union'), 3), (dict(classes=list('wxyz')), 4)):
        cfg = data()
        parts = [dict(ann_file='a.csv', classes=['w', 'x']), other]
        cfg.train_dataloader.dataset.dataset = dict(type='ConcatDataset', datasets=parts, **more)
        resolve_num_classes(cfg)
        assert cfg.num_classes == cfg.model.head.num_classes == number
    cfg = data()
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[other, other])
    resolve_num_classes(cfg)
    assert cfg.num_classes == 2
    cfg = data()
    actions = dict(ann_file='c.csv', classes=dict(verb=['cut'], noun=['egg', 'pan']))
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[actions, actions], classes='union')
    with pytest.raises(ConfigError, match='needs one class list, not verb and noun: write the numbers'):
        resolve_num_classes(cfg)


def test_drop_reaches_every_test_set_and_no_training_set():
    inner = dict(type='AVDataset', ann_file='a.csv')
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=dict(inner)),
            test_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[dict(inner), dict(inner)])),
        )
    )
    set_drop(cfg, 'audio')
    assert [part['drop'] for part in cfg.test_dataloader.dataset.datasets] == [['audio'], ['audio']]
    assert 'drop' not in cfg.train_dataloader.dataset


def test_drop_must_leave_a_modality():
    cfg = Config(dict(test_dataloader=dict(dataset=dict(ann_file='a.csv', modalities=['audio']))))
    for modality in ('audio', 'video'):
        with pytest.raises(ConfigError, match='tests on audio; no other would be left'):
            set_drop(cfg, modality)
    with pytest.raises(ConfigError, match='no test set'):
        set_drop(Config(dict(test_dataloader=dict(dataset=dict(type='Mine')))), 'audio')


def test_the_class_list_decides_the_size_of_the_head(tmp_path):
    (tmp_path / 'names.txt').write_text('cat\ndog\n\nowl\n')
    cfg = data(classes='names.txt')
    set_data_root(cfg, str(tmp_path))
    resolve_num_classes(cfg)
    assert cfg.num_classes == cfg.model.head.num_classes == cfg.model.other[0].num_classes == 3
    assert cfg.model.other[1].num_classes == 7

    cfg = data(classes=['cat', 'dog'])
    resolve_num_classes(cfg)
    assert cfg.num_classes == 2


def test_class_list_that_is_not_there(tmp_path):
    cfg = data()
    set_data_root(cfg, str(tmp_path))
    with pytest.raises(ManifestError, match=r'classes\.txt'):
        resolve_num_classes(cfg)
    with pytest.raises(ConfigError, match='needs a dataset with a class list'):
        resolve_num_classes(Config(dict(model=dict(num_classes='auto'))))
    cfg.train_dataloader = dict(dataset=dict(classes=dict(verb='v.txt', noun='n.txt')))
    with pytest.raises(ConfigError, match='needs one class list, not verb and noun: write the numbers'):
        resolve_num_classes(cfg)
    # the variable alone, of a base that a VerbNounHead does not use
    cfg.model = dict(head=dict(type='VerbNounHead', num_verbs=2, num_nouns=3))
    resolve_num_classes(cfg)


def test_fixed_number_of_classes_needs_no_data():
    cfg = Config(dict(num_classes=5, model=dict(head=dict(num_classes=5))))
    resolve_num_classes(cfg)
    assert cfg.num_classes == 5


def test_deterministic_keeps_the_seed(monkeypatch):
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    cfg = Config(dict(randomness=dict(seed=3)))
    turn_on_deterministic(cfg)
    assert cfg.randomness == dict(seed=3, deterministic=True)
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG')
    for name in ('precision.tf32', 'env_cfg.cudnn_benchmark'):
        with pytest.raises(ConfigError, match=f'{name}=True has no effect with --deterministic'):
            turn_on_deterministic(cfg, {name: True})


def test_switches():
    cfg = Config(dict(auto_scale_lr=dict(base_batch_size=64)))
    turn_on_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr.enable
    with pytest.raises(ConfigError, match='base_batch_size'):
        turn_on_auto_scale_lr(Config(dict()))


def test_numbers_of_the_command_line_take_the_place_of_the_configs():
    plain = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD')), precision=dict(tf32=False)))
    for amp in ('bfloat16', 'none'):
        set_amp(plain, amp)
        assert plain.precision == dict(tf32=False, amp=amp)
        assert plain.optim_wrapper == dict(optimizer=dict(type='SGD'))
    scaled = dict(type='AmpOptimWrapper', dtype='float16', loss_scale=512.0, optimizer=dict(type='SGD'))
    cfg = Config(dict(optim_wrapper=scaled))
    set_amp(cfg, 'float16')
    assert cfg.optim_wrapper == scaled  # its scale is that of the config
    with pytest.raises(ConfigError, match=r'optim_wrapper.loss_scale.init_scale has no effect with --amp none'):
        set_amp(cfg, 'none', options={'optim_wrapper.loss_scale.init_scale': 2.0})
    set_amp(cfg)
    assert cfg.optim_wrapper == dict(optimizer=dict(type='SGD')) and cfg.precision == dict(amp='bfloat16')
    with pytest.raises(ConfigError, match="this config has 'Other'"):
        set_amp(Config(dict(optim_wrapper=dict(type='Other'))))
    with pytest.raises(ConfigError, match=r'precision.amp has no effect with --amp none: give one of them'):
        set_amp(cfg, 'none', options={'precision.amp': 'bfloat16'})


def test_numbers_of_a_test():
    cfg = Config(dict(test_cfg=dict()))
    set_eval_amp(cfg, 'auto')
    assert cfg.precision == dict(eval_amp='auto')
    with pytest.raises(ConfigError, match='precision.eval_amp has no effect'):
        set_eval_amp(cfg, 'none', options={'precision.eval_amp': 'auto'})
    with pytest.raises(ConfigError, match='test_cfg.fp16=True, leave that out'):
        set_eval_amp(Config(dict(test_cfg=dict(fp16=True))), 'auto')
