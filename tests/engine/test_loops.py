"""The loops in what they add: other samplers, workers that die, inference mode and each encoder called once a batch."""

import pytest
import torch
from mmengine.config import Config

from mmav.engine import AVRunner
from mmav.engine.cli import load_config
from mmav.evaluation.predictions import load_predictions
from tests import synthetic, toys


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
