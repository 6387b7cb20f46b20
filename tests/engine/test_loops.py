"""The loops in what they add: going on where training was stopped, other samplers, workers that die, inference mode."""

import json
import signal

import pytest
import torch
from mmengine.config import Config
from torch.utils.data import ConcatDataset

from mmav.analysis.logs import read_log, summarise, table
from mmav.config.reading import load_config
from mmav.datasets import AVDataset
from mmav.datasets.av_dataset import Draw
from mmav.datasets.resumable_sampler import InfiniteSampler
from mmav.engine import AVRunner, SeedHook
from mmav.evaluation.predictions import load_predictions
from tests import synthetic, toys

# 3 batches a round over 12 clips; validation and checkpoints at other steps
EXTRA = """
train_cfg = dict(by_epoch=False, max_iters=11, val_interval=5)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=11, by_epoch=False)]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4, max_keep_ckpts=-1), logger=dict(interval=1))
train_dataloader['sampler'] = dict(type={sampler!r}, shuffle=True)
custom_hooks = [dict(type='SignalHook', number=15, after_iter={after_iter}, in_val={in_val})]
"""


def config(tmp_path, after_iter=None, in_val=None, sampler='DefaultSampler', more=''):
    return toys.write_config(tmp_path, EXTRA.format(after_iter=after_iter, in_val=in_val, sampler=sampler) + more)


def train(path, work_dir, *more):
    return toys.run_tool('train.py', path, '--work-dir', work_dir, *more)


def assert_same(one, two):
    one, two = (torch.load(path, weights_only=True) for path in (one, two))
    for name, value in one['state_dict'].items():
        assert torch.equal(value, two['state_dict'][name])
    torch.testing.assert_close(one['optimizer'], two['optimizer'], rtol=0, atol=0)
    losses = [run['message_hub']['log_scalars']['train/loss']['values'] for run in (one, two)]
    assert torch.equal(*losses)


@pytest.mark.parametrize('sampler', ['DefaultSampler', 'InfiniteSampler'])
def test_stopped_equals_uninterrupted_and_nothing_is_read_twice(tmp_path, sampler, capsys):
    assert train(config(tmp_path, sampler=sampler), tmp_path / 'whole') == 0
    read = tmp_path / 'read.txt'
    more = f"train_dataloader['dataset']['record'] = {str(read)!r}\n"
    # in the second round, on a round's last batch, and where CheckpointHook has saved
    for stop, name in ((5, 'resume_iter_5.pth'), (6, 'resume_iter_6.pth'), (8, 'iter_8.pth')):
        work_dir = tmp_path / f'{stop}'
        path = config(tmp_path, after_iter=stop, sampler=sampler, more=more)
        assert train(path, work_dir) == 0
        assert f'{work_dir / name} is saved' in capsys.readouterr().err
        read.write_text('')
        assert train(config(tmp_path, sampler=sampler, more=more), work_dir, '--resume') == 0
        assert len(read.read_text().splitlines()) == 4 * (11 - stop)
        assert_same(tmp_path / 'whole' / 'iter_11.pth', work_dir / 'iter_11.pth')
        assert sorted(file.name for file in work_dir.glob('*.pth')) == ['iter_11.pth', 'iter_4.pth', 'iter_8.pth']


def test_resume_points_are_not_the_checkpoints_that_were_asked_for(tmp_path):
    """Both are written after so many iterations; the checkpoints of a run by epochs may be, too."""
    points = "default_hooks['resume_point'] = dict(interval=3)\n"
    assert train(config(tmp_path, more=points), tmp_path / 'w') == 0
    assert sorted(file.name for file in (tmp_path / 'w').glob('*.pth')) == ['iter_11.pth', 'iter_4.pth', 'iter_8.pth']
    text = 'default_hooks = dict(checkpoint=dict(by_epoch=False, interval=5), resume_point=dict(interval=2))\n'
    text += "custom_hooks = [dict(type='SignalHook', number=15, after_iter=7)]\n"
    assert train(toys.write_config(tmp_path, text), tmp_path / 'e') == 0
    assert sorted(file.name for file in (tmp_path / 'e').glob('*.pth')) == ['iter_5.pth', 'resume_iter_7.pth']


def test_a_checkpoint_of_any_iteration_of_an_epoch_knows_its_place(tmp_path):
    hooks = 'default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4, max_keep_ckpts=-1))\n'
    assert train(toys.write_config(tmp_path, hooks), tmp_path / 'a') == 0
    read = tmp_path / 'read.txt'
    path = toys.write_config(tmp_path, f"{hooks}train_dataloader['dataset']['record'] = {str(read)!r}\n")
    assert train(path, tmp_path / 'b', '--resume', tmp_path / 'a' / 'iter_4.pth') == 0
    assert len(read.read_text().splitlines()) == 48 - 16
    assert_same(tmp_path / 'a' / 'iter_12.pth', tmp_path / 'b' / 'iter_12.pth')


def test_stopped_in_a_validation_between_two_checkpoints(tmp_path, capsys):
    """Validation is after iterations 5, 10 and 11, CheckpointHook has saved iteration 4."""
    assert train(config(tmp_path, in_val=0), tmp_path / 'w') == 0
    assert 'in validation: --resume continues from the last checkpoint' in capsys.readouterr().err
    assert (tmp_path / 'w' / 'last_checkpoint').read_text().endswith('resume_iter_5.pth')
    whole = tmp_path / 'whole'
    assert train(config(tmp_path), whole) == 0
    assert train(config(tmp_path), tmp_path / 'w', '--resume') == 0
    assert_same(whole / 'iter_11.pth', tmp_path / 'w' / 'iter_11.pth')


def test_each_round_is_told_to_sampler_and_dataset(tmp_path, monkeypatch):
    epochs = []
    monkeypatch.setattr(toys.ToyDataset, 'set_epoch', lambda self, epoch: epochs.append(epoch))
    assert train(config(tmp_path), tmp_path / 'w') == 0
    assert epochs == [0, 0, 1, 2, 3]


def test_an_endless_sampler_tells_the_round_of_each_index(tmp_path, clip):
    """MMEngine's order; a worker that reads ahead augments a clip as its own round asks."""
    from mmengine.dataset import InfiniteSampler as MMEngineInfiniteSampler

    data = list(range(5))
    ours, theirs = (iter(kind(data, seed=3)) for kind in (InfiniteSampler, MMEngineInfiniteSampler))
    drawn = [next(ours) for _ in range(12)]
    assert drawn == [next(theirs) for _ in range(12)]
    assert [index.epoch for index in drawn] == [0] * 5 + [1] * 5 + [2] * 2

    (tmp_path / 'train.csv').write_text(f'path,label\n{clip},a\n')
    dataset = AVDataset(str(tmp_path / 'train.csv'), [lambda results: results['rng'].random()], classes=['a'])
    values = [dataset[Draw.of(0, epoch)] for epoch in (0, 1, 1)]
    dataset.set_epoch(1)
    assert values[0] != values[1] == values[2] == dataset[0]


def test_each_of_joined_datasets_is_told_the_epoch():
    """A clip of a joined dataset would be augmented alike in all epochs."""
    parts = [toys.ToyDataset(), toys.ToyDataset()]
    runner = type('Runner', (), dict(train_dataloader=type('L', (), dict(dataset=ConcatDataset(parts))), epoch=7))
    SeedHook().before_train_epoch(runner)
    assert [part.epochs for part in parts] == [[7], [7]]


def test_log_and_its_figures(tmp_path):
    assert train(config(tmp_path), tmp_path / 'w') == 0
    log = read_log(tmp_path / 'w')
    assert [row['iter'] for row in log.train] == list(range(1, 12))
    assert [row['iter'] for row in log.val] == [5, 10, 11]
    figures = summarise(log)
    assert figures['iterations'] == 11 and figures['epochs'] is None
    best = max(log.val, key=lambda row: row['top1'])
    assert f'{best["top1"]:.4f} (iteration {best["iter"]})' in table([log])
    assert '| epochs' not in table([log])
    (path,) = (tmp_path / 'w').glob('*/vis_data/scalars.json')
    assert all('epoch' not in json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ("param_scheduler = [dict(type='CosineAnnealingLR', T_max=11)]\n", 'param_scheduler.0 (CosineAnnealingLR) st'),
        ("default_hooks['checkpoint'] = dict(interval=1)\n", 'default_hooks.checkpoint saves once an epoch'),
        ("train_cfg['max_iters'] = 2.5\n", 'train_cfg.max_iters=2.5 must be a whole number'),
        ("val_dataloader['sampler'] = dict(type='InfiniteSampler')\n", 'val_dataloader.sampler never comes to an end'),
        (
            "train_dataloader.update(sampler=dict(type='InfiniteSampler'), dataset=dict(type='ToyTwice'))\n",
            'an endless sampler does not tell a ToyTwice the pass',
        ),
        (
            ("train_cfg = dict(max_epochs=1)\ntrain_dataloader['sampler'] = dict(type='InfiniteSampler')\n"),
            'train_dataloader.sampler never comes to an end',
        ),
    ],
)
def test_what_would_wait_for_ever_is_refused(tmp_path, more, message, capsys):
    assert train(config(tmp_path, more=more), tmp_path / 'w') == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    assert message in line


def test_between_the_two_ways_of_counting(tmp_path):
    """A run by iterations goes on from an epoch's checkpoint and the other way round, at the same clip."""
    by_epoch = "default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1))\ntrain_cfg['max_epochs'] = 2\n"
    assert train(toys.write_config(tmp_path, by_epoch), tmp_path / 'e') == 0
    read = tmp_path / 'read.txt'
    record = f"train_dataloader['dataset']['record'] = {str(read)!r}\n"
    assert train(config(tmp_path, more=record), tmp_path / 'i', '--resume', tmp_path / 'e' / 'epoch_2.pth') == 0
    assert len(read.read_text().splitlines()) == 4 * (11 - 6)
    read.write_text('')
    path = toys.write_config(tmp_path, record)
    assert train(path, tmp_path / 'e2', '--resume', tmp_path / 'i' / 'iter_8.pth') == 0
    # 8 iterations are two epochs of 3 and 2 batches
    assert len(read.read_text().splitlines()) == 4 * (12 - 8)


def test_nothing_is_left_to_train(tmp_path, capsys):
    assert train(config(tmp_path), tmp_path / 'w') == 0
    assert train(config(tmp_path), tmp_path / 'w', '--resume') == 0
    assert 'is at iteration 11 of 11: nothing is left to train' in capsys.readouterr().out


def test_mmengines_loops_are_ours(tmp_path):
    for name, kind in (('IterBasedTrainLoop', 'max_iters=2'), ('EpochBasedTrainLoop', 'max_epochs=1')):
        more = f'train_cfg = dict(type={name!r}, {kind})\n'
        if 'Epoch' in name:
            more += "default_hooks['checkpoint'] = dict(interval=1)\n"
        path = config(tmp_path, after_iter=2, more=more)
        assert train(path, tmp_path / name) == 0
        (saved,) = (tmp_path / name).glob('*iter_2.pth')
        assert torch.load(saved, weights_only=True)['meta']['clips_per_batch'] == 4


assert signal.SIGTERM == 15  # EXTRA writes the number


def test_a_sampler_of_ones_own_is_read_and_passed_over(tmp_path):
    """Batches made elsewhere cannot be left out by their sampler; what follows is the same."""
    more = "train_dataloader['batch_sampler'] = dict(type='ToyBatchSampler', drop_last=False)\n"
    for stop in (None, 5):
        hook = f"custom_hooks = [dict(type='SignalHook', number=15, after_iter={stop})]\n"
        config = toys.write_config(tmp_path, more + hook)
        assert toys.run_tool('train.py', config, '--work-dir', tmp_path / f'{stop}') == 0
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / '5', '--resume') == 0
    one, two = (torch.load(tmp_path / f'{stop}' / 'epoch_4.pth', weights_only=True) for stop in (None, 5))
    for name, value in one['state_dict'].items():
        assert torch.equal(value, two['state_dict'][name])


def test_a_dead_worker_is_one_line_and_no_hang(tmp_path, capsys):
    more = "train_dataloader['dataset']['die_at'] = 3\ntrain_dataloader['num_workers'] = 2\n"
    assert toys.run_tool('train.py', toys.write_config(tmp_path, more), '--work-dir', tmp_path / 'w') == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    assert 'a data worker died: ' in error and 'fewer num_workers' in error


@pytest.mark.parametrize('named', [False, True])
def test_validation_and_testing_are_in_inference_mode(tmp_path, monkeypatch, named):
    """Where the config names no loop, too; with averaged weights, and metrics and a file that keep predictions."""
    seen = []
    forward = toys.ToyModel.forward

    def watch(model, *args, **kwargs):
        seen.append((kwargs['mode'], torch.is_inference_mode_enabled()))
        return forward(model, *args, **kwargs)

    monkeypatch.setattr(toys.ToyModel, 'forward', watch)
    more = "custom_hooks = [dict(type='EMAHook', momentum=0.25)]\ntrain_cfg['max_epochs'] = 2\n"
    if named:
        more += "val_cfg = dict(type='AVValLoop')\ntest_cfg = dict(type='AVTestLoop')\n"
    config = toys.write_config(tmp_path, more)
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w') == 0
    assert seen == 2 * (3 * [('loss', False)] + 3 * [('predict', True)])
    seen.clear()
    dump = tmp_path / 'scores.pkl'
    command = ('test.py', config, tmp_path / 'w' / 'epoch_2.pth', '--work-dir', tmp_path / 't', '--dump', dump)
    assert toys.run_tool(*command) == 0
    assert seen == 3 * [('predict', True)]
    assert len(load_predictions(dump)[0]) == 12


def test_testing_before_training_leaves_nothing_that_training_cannot_use(tmp_path):
    """Encoders keep tables from one call to the next: those made in inference mode would stop the backward pass."""
    weights = []
    for first in (False, True):
        cfg = Config(synthetic.experiment(8, optimizer=dict(type='AdamW', lr=1e-3)))
        cfg.update(work_dir=str(tmp_path), experiment_name=f'{first}', train_cfg=dict(by_epoch=True, max_epochs=1))
        runner = AVRunner.from_cfg(cfg)
        if first:
            assert runner.test()['broken'] == 0
        torch.manual_seed(0)  # testing draws the seed of its workers
        runner.train()
        weights.append(runner.model.state_dict())
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_paper_config_encodes_the_sounds_of_a_batch_once_and_its_five_views_at_once(tmp_path, clip, flashes, silent):
    """The config's own test pipeline, batches and loop; only the encoders are narrow and their patches large."""
    (tmp_path / 'classes.txt').write_text('a\nb\n')
    (tmp_path / 'test.csv').write_text('path,label\n' + ''.join(f'{path},0\n' for path in (clip, flashes, silent)))
    cfg = load_config(str(toys.ROOT / 'configs' / 'mmt' / 'mmt_k4_l4_vggsound.py'))
    arch = dict(embed_dims=8, num_layers=1, num_heads=1, stage_blocks=())
    cfg.model.backbones.video.update(arch=arch, patch_stride=(2, 32, 32), drop_path_rate=0.0)
    cfg.model.backbones.audio.update(arch=arch, patch_stride=(32, 32), drop_path_rate=0.0, q_strides=())
    cfg.model.neck.update(embed_dims=8, num_blocks=1, num_heads=1)
    cfg.model.head.num_classes = 2
    cfg.model.data_preprocessor.batch_augment = None
    cfg.test_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
    cfg.test_dataloader.dataset.data_root = str(tmp_path)
    cfg.test_evaluator.topk = 1
    cfg.update(work_dir=str(tmp_path), experiment_name='views', train_dataloader=None, train_cfg=None)
    cfg.update(val_dataloader=None, val_cfg=None, val_evaluator=None, optim_wrapper=None, param_scheduler=None)
    runner = AVRunner.from_cfg(cfg)
    calls = []
    for name, encoder in runner.model.backbones.items():
        encoder.register_forward_pre_hook(
            lambda _, args, name=name: calls.append((name, *args[0].shape, torch.is_inference_mode_enabled()))
        )
    assert runner.test()['broken'] == 0
    assert calls == [
        call
        for clips in (2, 1)
        for call in (('video', 5 * clips, 3, 16, 224, 224, True), ('audio', clips, 1, 128, 1024, True))
    ]


def test_figures_without_hooks_are_those_of_a_validation(tmp_path):
    """And nothing comes of them: no best checkpoint, no line of a validation."""
    cfg = load_config(str(toys.write_config(tmp_path)))
    cfg.default_hooks.checkpoint.save_best = 'top1'
    cfg.train_dataloader.persistent_workers, cfg.work_dir = False, str(tmp_path)
    runner = AVRunner.from_cfg(cfg)
    runner.train()
    written = sorted(path.name for path in tmp_path.glob('*.pth'))
    runner.model.fc.weight.data.neg_()
    figures = runner.val_loop.measured()
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == written
    assert figures == runner.val_loop.run() and figures['top1'] < 0.5
