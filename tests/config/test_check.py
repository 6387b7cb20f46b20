import pytest
from mmengine.config import Config

from mmav.config.check import check_config, find_problems, top_level_names
from mmav.config.reading import load_config
from mmav.errors import ConfigError
from mmav.registry import MODELS
from tests import toys


@MODELS.register_module()
class CheckedNet:
    """Has parts, as AVClassifier has."""

    def __init__(self, backbones, neck, *, auxiliary=None, drop_path: float = 0.0, act_cfg: dict | None = None):
        raise AssertionError('a check builds nothing')


@MODELS.register_module()
class CheckedPart:
    """Its width is filled in by the owner."""

    def __init__(self, in_dims: dict, depth: int, drop_path_rate: float = 0.0): ...


@pytest.fixture
def cfg(tmp_path) -> Config:
    return load_config(str(toys.write_config(tmp_path)))


def problems(cfg: Config, **options) -> list[str]:
    cfg.merge_from_dict(options)
    return list(find_problems(cfg))


def test_a_right_config_passes_and_nothing_is_built(cfg, monkeypatch):
    monkeypatch.setattr(toys.ToyDataset, '__init__', None)
    cfg.model = dict(
        type='CheckedNet',
        backbones=dict(audio=dict(type='CheckedPart', in_dims={}, depth=1)),
        neck=dict(type='CheckedPart', depth=2),
        act_cfg=dict(type='CheckedPart'),
    )
    check_config(cfg)


def test_parts_of_a_model_need_a_type(cfg):
    backbones = dict(audio=dict(in_dims={}, depth=1), video=dict(type='CheckedPart', depth=1))
    auxiliary = dict(alone=dict(depth=1), off=None)
    cfg.model = dict(
        type='CheckedNet', backbones=backbones, neck=dict(depth=2), act_cfg=dict(depth=1), auxiliary=auxiliary
    )
    assert list(find_problems(cfg)) == [
        'model.backbones.audio.type: missing; it has in_dims, depth',
        'model.neck.type: missing; it has depth',
        'model.auxiliary.alone.type: missing; it has depth',
    ]


@pytest.mark.parametrize(
    ('name', 'value', 'expected'),
    [
        ('model.type', 'ToyModle', "model.type: no model 'ToyModle' is registered, did you mean 'ToyModel'?"),
        ('model.widht', 3, "model.widht: unknown, ToyModel takes no such argument, did you mean 'width'?"),
        (
            'train_dataloader.dataset.lenght',
            3,
            "train_dataloader.dataset.lenght: unknown, ToyDataset takes no such argument, did you mean 'length'?",
        ),
        (
            'train_dataloader.sampler.type',
            'DefaultSampl',
            (
                "train_dataloader.sampler.type: no data sampler 'DefaultSampl' is registered, "
                "did you mean 'DefaultSampler'?"
            ),
        ),
        (
            'train_dataloader.batchsize',
            3,
            "train_dataloader.batchsize: unknown, a dataloader has no such argument, did you mean 'batch_size'?",
        ),
        (
            'train_dataloader.collate_fn',
            dict(type='psuedo_collate'),
            (
                "train_dataloader.collate_fn.type: no function 'psuedo_collate' is registered, "
                "did you mean 'pseudo_collate'?"
            ),
        ),
        (
            'train_cfg.max_epoch',
            3,
            "train_cfg.max_epoch: unknown, AVTrainLoop takes no such argument, did you mean 'max_epochs'?",
        ),
        (
            'optim_wrapper.optimizer.weight_deca',
            0.1,
            "optim_wrapper.optimizer.weight_deca: unknown, AdamW takes no such argument, did you mean 'weight_decay'?",
        ),
        (
            'optim_wrapper.accumulative_count',
            2,
            (
                'optim_wrapper.accumulative_count: unknown, OptimWrapper takes no such argument, '
                "did you mean 'accumulative_counts'?"
            ),
        ),
        (
            'optim_wrapper.paramwise_cfg',
            dict(norm_decay_mul=0),
            (
                'optim_wrapper.paramwise_cfg.norm_decay_mul: unknown, the default constructor takes no such argument, '
                "did you mean 'norm_decay_mult'?"
            ),
        ),
        (
            'param_scheduler.0.type',
            'CosineAnnealing',
            (
                "param_scheduler.0.type: no parameter scheduler 'CosineAnnealing' is registered, "
                "did you mean 'CosineAnnealingLR'?"
            ),
        ),
        (
            'param_scheduler.0',
            dict(type='CosineAnnealingLR', begin=2, end=2),
            'param_scheduler.0.end: 2 is not after begin=2; shorten what comes before, or leave it out',
        ),
        (
            'env_cfg.mp_cfg',
            dict(mp_start_metod='fork'),
            "env_cfg.mp_cfg.mp_start_metod: unknown, mp_cfg has no such argument, did you mean 'mp_start_method'?",
        ),
        (
            'default_hooks.checkpoint.max_keep_ckpt',
            1,
            (
                'default_hooks.checkpoint.max_keep_ckpt: unknown, CheckpointHook takes no such argument, '
                "did you mean 'max_keep_ckpts'?"
            ),
        ),
        (
            'custom_hooks',
            {'0': dict(type='EMAHook')},
            'custom_hooks: it has to be a list of hooks; hooks with names go into default_hooks',
        ),
        (
            'custom_hooks',
            [dict(type='Accuracy')],
            "custom_hooks.0.type: 'Accuracy' is a metric, but a hook belongs here",
        ),
        (
            'val_evaluator.top_k',
            1,
            "val_evaluator.top_k: unknown, Accuracy takes no such argument, did you mean 'topk'?",
        ),
        (
            'visualizer.vis_backends.0.type',
            'LocalBackend',
            (
                "visualizer.vis_backends.0.type: no visualization backend 'LocalBackend' is registered, "
                "did you mean 'LocalVisBackend'?"
            ),
        ),
        (
            'log_processor.window',
            1,
            "log_processor.window: unknown, LogProcessor takes no such argument, did you mean 'window_size'?",
        ),
        ('randomness.sed', 1, "randomness.sed: unknown, randomness has no such argument, did you mean 'seed'?"),
        (
            'env_cfg.dist',
            1,
            "env_cfg.dist: unknown, env_cfg has no such argument, did you mean 'dist_cfg'?",
        ),
        ('train_dataloder', {}, "train_dataloder: nothing reads this name, did you mean 'train_dataloader'?"),
        ('runner_type', 'AVRuner', "runner_type: no runner 'AVRuner' is registered, did you mean 'AVRunner'?"),
        ('val_cfg', None, 'val_cfg: missing, but val_dataloader is given'),
        ('model', 3, 'model: must be a dict with a type, got int 3'),
        ('randomness.deterministic', 'no', "randomness.deterministic='no': give True or False"),
        ('randomness.seed', -1, 'randomness.seed=-1: give a whole number from 0 to 4294967295, or None'),
        ('randomness.seed', 'one', "randomness.seed='one': give a whole number from 0 to 4294967295, or None"),
        ('randomness.seed', 2**32, 'randomness.seed=4294967296: give a whole number from 0 to 4294967295, or None'),
        ('env_cfg.cudnn_benchmark', 'off', "env_cfg.cudnn_benchmark='off': give True or False"),
        ('precision', ['auto'], "precision=['auto']: give a dict, such as precision = dict(amp='auto', tf32=True)"),
    ],
)
def test_typos(cfg, name, value, expected):
    assert problems(cfg, **{name: value}) == [expected]


def test_parts_inside_a_model(cfg):
    cfg.model = dict(
        type='CheckedNet',
        backbones=dict(audio=dict(type='CheckedPart', depth=1, drop_path=0.1)),
        neck=dict(type='CheckedPart'),
    )
    assert list(find_problems(cfg)) == [
        "model.backbones.audio.drop_path: unknown, CheckedPart takes no such argument, did you mean 'drop_path_rate'?",
        'model.neck.depth: missing, CheckedPart needs it',
    ]


@MODELS.register_module()
class CheckedExtra:
    """An auxiliary part."""

    def __init__(self, head, stream_dims, width):
        raise AssertionError('a check builds nothing')


def test_what_a_model_gives_its_auxiliary_parts_is_not_missing(cfg):
    backbones = dict(audio=dict(type='CheckedPart', in_dims={}, depth=1))
    extra = dict(type='CheckedExtra')
    cfg.model = dict(type='CheckedNet', backbones=backbones, neck=extra, auxiliary=dict(more=extra))
    assert list(find_problems(cfg)) == [
        *(f'model.neck.{name}: missing, CheckedExtra needs it' for name in ('head', 'stream_dims', 'width')),
        'model.auxiliary.more.width: missing, CheckedExtra needs it',
    ]


def test_what_is_missing(cfg):
    del cfg.train_dataloader['sampler'], cfg.model['type'], cfg.optim_wrapper['optimizer']
    del cfg.train_cfg['max_epochs']
    assert list(find_problems(cfg)) == [
        'model.type: missing; it has nothing',
        'train_dataloader.sampler: missing',
        'train_cfg.max_epochs: missing, AVTrainLoop needs it',
        'optim_wrapper.optimizer: missing',
    ]


def test_all_problems_are_told_at_once_and_each_once(cfg):
    cfg.merge_from_dict({'model.widht': 1, 'train_cfg.max_epoch': 1, 'test_dataloader.dataset.lenght': 1})
    with pytest.raises(ConfigError) as caught:
        check_config(cfg)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("toy.py': 3 problems in the config") and len(lines) == 4


def test_variables_are_free(cfg):
    cfg.merge_from_dict(dict(data_root='a', num_frames=16, train_pipeline=[dict(type='Whatever')], max_epochs=3))
    check_config(cfg)


def test_custom_imports(cfg):
    cfg.custom_imports = dict(imports=['no_such_module_of_mine'])
    with pytest.raises(ConfigError, match='custom_imports.*no_such_module_of_mine'):
        check_config(cfg)


def test_names_at_the_top_are_mmengines():
    assert {'model', 'train_dataloader', 'custom_hooks', 'model_wrapper_cfg'} <= set(top_level_names())
    assert not {'self', 'cfg', 'num_classes'} & set(top_level_names())
