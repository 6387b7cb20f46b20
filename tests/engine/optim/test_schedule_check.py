from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import CosineAnnealingLR
from mmengine.runner import IterBasedTrainLoop

from mmav.datasets import AVDataset
from mmav.engine.hooks.checkpoint import CheckpointHook
from mmav.engine.optim.schedule_check import check_monitors, training_notes
from mmav.errors import ConfigError
from tests import toys

COSINE = "[dict(type='CosineAnnealingLR', begin={}, end={}, convert_to_iter_based=True)]"
WARM = "[dict(type='LinearLR', end=1, convert_to_iter_based=True), " + COSINE[1:]


def said(tmp_path, capsys, lines, *options):
    """What training the toy, an epoch of which has 3 iterations, logs as warnings."""
    config = toys.write_config(tmp_path, lines)
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w', *options) == 0
    logged = capsys.readouterr().out.splitlines()
    return [line.partition('WARNING - ')[2] for line in logged if 'WARNING - ' in line]


@pytest.mark.parametrize(
    ('schedule', 'note'),
    [
        (COSINE.format(0, 4), ''),
        (WARM.format(1, 4), ''),
        ("dict(type='StepLR', step_size=2)", ''),
        ("dict(type='MultiStepLR', milestones=[2, 3])", ''),
        ('None', ''),
        (COSINE.format(0, 9), 'ends after epoch 9, training after epoch 4: .* still on its way'),
        (WARM.format(1, 3), r'after epoch 3, training after epoch 4: .* stays .*param_scheduler.1 \(Cosine'),
        ("dict(type='LinearLR', end=2)", 'after epoch 2, training after epoch 4: .* stays'),
        ("dict(type='PolyLR', by_epoch=False, end=5)", 'after iteration 5, training after iteration 12: .* stays'),
        ("dict(type='CosineAnnealingLR', T_max=2)", 'after epoch 2, training after epoch 4: .* turns back'),
        ("dict(type='CosineAnnealingLR', T_max=6)", 'after epoch 6, training after epoch 4: .* still'),
        ("dict(type='MultiStepLR', milestones=[2, 7])", 'after epoch 7, training after epoch 4: .* still'),
    ],
)
def test_a_schedule_beside_the_length_of_training(tmp_path, capsys, schedule, note):
    options = ('val_cfg=None', 'val_dataloader=None', 'val_evaluator=None')
    notes = said(tmp_path, capsys, f'param_scheduler = {schedule}\n', '--cfg-options', *options)
    notes = [line for line in notes if line.startswith('param_scheduler')]
    assert len(notes) == bool(note) and re.search(note, ''.join(notes))


def test_training_that_counts_iterations():
    loop = object.__new__(IterBasedTrainLoop)
    loop.dataloader, loop._max_iters, loop.val_begin = range(3), 5, 1
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    runner = SimpleNamespace(train_loop=loop, val_loop=object(), cfg={}, train_dataloader=SimpleNamespace(dataset=None))
    runner.hooks, runner.optim_wrapper = [CheckpointHook(interval=2, by_epoch=False)], None
    options = dict(optimizer=optimizer, begin=0)
    for scheduler in (
        CosineAnnealingLR.build_iter_from_epoch(**options, end=3, epoch_length=3),
        CosineAnnealingLR(**options, end=9, by_epoch=False),
    ):
        runner.param_schedulers = [scheduler]
        (note,) = training_notes(runner)
        assert 'the schedule ends after iteration 9, training after iteration 5' in note
    runner.param_schedulers = [CosineAnnealingLR(**options, end=5, by_epoch=False)]
    assert list(training_notes(runner)) == []
    runner.param_schedulers = dict(one=[CosineAnnealingLR(**options, end=6, by_epoch=False)])
    (note,) = training_notes(runner)
    assert note.startswith('param_scheduler.one: the schedule ends after iteration 6, training after iteration 5')


def test_also_on_resume(tmp_path, capsys):
    said(tmp_path, capsys, '', '--cfg-options', 'train_cfg.max_epochs=2')
    notes = said(tmp_path, capsys, '', '--resume', '--cfg-options', 'train_cfg.max_epochs=6')
    assert any('the schedule ends after epoch 4, training after epoch 6' in note for note in notes)


def test_validation_that_never_comes(tmp_path, capsys):
    never = 'train_cfg.val_begin=5'
    (note,) = said(tmp_path, capsys, '', '--cfg-options', never)
    assert note == 'Nothing is validated: train_cfg.val_begin=5 comes after the last epoch, 4'
    best = ('default_hooks.checkpoint.save_best=top1', 'default_hooks.checkpoint.rule=greater')
    config = tmp_path / 'toy.py'
    for options, why in (
        ((never,), 'train_cfg.val_begin=5 comes after the last epoch, 4'),
        (('val_cfg=None', 'val_dataloader=None', 'val_evaluator=None'), 'the config has no val_dataloader'),
    ):
        command = ('train.py', config, '--work-dir', tmp_path / 'n', '--cfg-options', *best, *options)
        assert toys.run_tool(*command) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error == f"error: CheckpointHook.save_best='top1' has no effect: nothing is validated, as {why}"


def test_a_metric_that_nothing_computes(tmp_path, capsys):
    config = toys.write_config(tmp_path, 'default_hooks = dict(checkpoint=dict(save_best="top3", rule="greater"))\n')
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w') == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == "error: CheckpointHook.save_best='top3': validation computes no such metric, did you mean 'top2'?"
    lines = "custom_hooks = [dict(type='EarlyStoppingHook', monitor='accuracy', rule='greater')]\n"
    config = toys.write_config(tmp_path, lines)
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'v') == 2
    assert "monitor='accuracy': validation computes no such metric; it computes top1, top2" in capsys.readouterr().err
    check_monitors([CheckpointHook(save_best='auto'), SimpleNamespace()], {})
    with pytest.raises(ConfigError, match='it computes nothing'):
        check_monitors([CheckpointHook(save_best='top1', rule='greater')], {})


def test_checkpoints_that_are_never_written(tmp_path, capsys):
    options = ('--cfg-options', 'default_hooks.checkpoint.interval=5', 'default_hooks.checkpoint.save_last=False')
    (note,) = said(tmp_path, capsys, '', *options)
    assert note == 'CheckpointHook saves nothing: interval=5 is longer than training'


def test_gradients_of_an_unfinished_cycle_are_lost(tmp_path, capsys):
    """Of 3 iterations an epoch, in a training by epochs; in one by iterations where checkpoints are saved."""
    cycle = 'optim_wrapper.accumulative_counts=2'
    (note,) = said(tmp_path, capsys, '', '--cfg-options', cycle)
    assert note.startswith(
        'An epoch has 3 iterations, no multiple of accumulative_counts=2: a run that is resumed there'
    )
    more = 'train_cfg = dict(by_epoch=False, max_iters=12)\nparam_scheduler = None\n'
    more += 'default_hooks = dict(checkpoint=dict(by_epoch=False, interval=3))\n'
    note = said(tmp_path, capsys, more, '--cfg-options', cycle)[0]
    assert note.startswith('A checkpoint is saved every 3 iterations, no multiple of accumulative_counts=2')
    notes = said(tmp_path, capsys, more, '--cfg-options', cycle, 'default_hooks.checkpoint.interval=4')
    assert not any('accumulative_counts' in note for note in notes)


def test_two_seeds(tmp_path):
    (tmp_path / 'm.csv').write_text('path,label\na.mp4,0\n')
    dataset = AVDataset('m.csv', [], data_root=str(tmp_path), classes=['x'])
    loop = SimpleNamespace(val_begin=1, max_epochs=1, dataloader=range(3))
    runner = SimpleNamespace(
        hooks=[], param_schedulers=None, train_loop=loop, val_loop=object(), seed=0, optim_wrapper=None
    )
    runner.cfg = dict(randomness=dict(seed=0))
    runner.train_dataloader = SimpleNamespace(dataset=SimpleNamespace(dataset=dataset))
    assert list(training_notes(runner)) == []
    runner.seed = runner.cfg['randomness']['seed'] = 7
    (note,) = training_notes(runner)
    assert (
        'augmented by seed 0, as its config or the checkpoint says, and all else is drawn by randomness.seed=7' in note
    )
