from dataclasses import replace

import pytest
from mmengine.config import Config

from mmav.analysis.ablation.rows import Ablation, Row
from mmav.analysis.ablation.settings import digest_of, same_list, settings_of
from mmav.errors import ConfigError
from mmav.shipped import find_config
from tests.toys import write_config

TINY = 'mmt/mmt_tiny_avc_imc_avsynth.py'


def toy(tmp_path, **more):
    row = Row('toy', 'toy.py', file=write_config(tmp_path), **more)
    return row, Ablation('toys', (row,))


def test_a_shorter_schedule_keeps_its_shares():
    row = Row('tiny', TINY, file=find_config(TINY))
    settings = settings_of(row, Ablation('toys', (row,), epochs=4, batch_size=16))
    assert sorted(settings.options) == sorted(
        [
            'train_dataloader.batch_size=16',
            'train_cfg.max_epochs=4',
            'train_cfg.val_interval=4',
            'param_scheduler.0.end=0.4',
            'param_scheduler.1.begin=0.4',
            'param_scheduler.1.end=4',
        ]
    )
    assert settings.epochs == 4 and settings.keeps_features


@pytest.mark.parametrize(
    ('schedule', 'expected'),
    [
        ("dict(type='ConstantLR', begin=0, end=4)", ['param_scheduler.end=1']),  # not in a list
        (
            "[dict(type='LinearLR', begin=0, end=2)]",  # half an epoch: it steps by iterations
            ['param_scheduler.0.end=0.5', 'param_scheduler.0.convert_to_iter_based=True'],
        ),
        ("[dict(type='MultiStepLR', milestones=[1, 4])]", ['param_scheduler.0.milestones=[1,1]']),
        ("[dict(type='StepLR', step_size=4)]", ['param_scheduler.0.step_size=1']),
        ("[dict(type='LinearLR', begin=0, end=2, by_epoch=False)]", []),
    ],
)
def test_all_parts_of_a_schedule_are_shortened(tmp_path, schedule, expected):
    row = Row('toy', 'toy.py', file=write_config(tmp_path, f'param_scheduler = {schedule}\n'))
    options = settings_of(row, Ablation('toys', (row,), epochs=1)).options  # of 4
    assert [option for option in options if option.startswith('param_scheduler')] == expected


def test_who_wins(tmp_path):
    row, ablation = toy(tmp_path, options=('a.b=2',))
    row = replace(row, options=('optim_wrapper.optimizer.lr=0.2',))
    ablation = replace(ablation, rows=(row,), options=('optim_wrapper.optimizer.lr=0.1',))
    settings = settings_of(row, ablation, options=['optim_wrapper.optimizer.lr=0.3'])
    assert [option.partition('=')[2] for option in settings.options] == ['0.1', '0.2', '0.3']
    assert settings.epochs == 4 and not settings.keeps_features


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('randomness.seed=3', "row 'toy': randomness.seed=3 would give all runs one seed: give --seeds"),
        ('model.widht=3', "row 'toy': .*widht"),
        ('modle.width=3', "row 'toy': --cfg-options modle.width: the config has no 'modle', did you mean 'model'"),
    ],
)
def test_options_that_are_wrong(tmp_path, option, message):
    row, ablation = toy(tmp_path)
    with pytest.raises(ConfigError, match=message):
        settings_of(row, ablation, options=[option])


def test_what_a_digest_tells_apart(tmp_path):
    row, ablation = toy(tmp_path)

    def digest(*options, needs=()):
        return settings_of(replace(row, needs=needs), ablation, options=options).digest

    same = ['val_dataloader.num_workers=1', 'default_hooks.logger.interval=3', 'log_level=ERROR']
    assert {digest(option) for option in same} == {digest()}
    others = ['model.width=4', 'optim_wrapper.optimizer.lr=0.1', 'train_dataloader.batch_size=2']
    assert len({digest(), digest(needs=(('load_from', 'x'),)), *map(digest, others)}) == 5
    seeds = {digest_of(Config(dict(randomness=dict(seed=seed, deterministic=True)))) for seed in (0, 1)}
    assert len(seeds) == 1


def test_validation_on_the_test_list():
    def loaders(val, test, **more):
        return dict(
            val_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=dict(ann_file=val, data_root='d'))),
            test_dataloader=dict(dataset=dict(ann_file=test, data_root='d', **more)),
        )

    assert same_list(loaders('test.csv', 'test.csv', test_mode=True)) == 'test.csv'
    assert same_list(loaders('val.csv', 'test.csv')) is None
    assert same_list(dict(val_dataloader=None, test_dataloader=dict(dataset=dict(ann_file='a')))) is None
