"""Freezing and LoRA in a run: what is refused beforehand, and what training changes."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmav.config.check import find_problems
from mmav.engine import AVRunner
from mmav.engine.optim.saved_state import parameter_names
from mmav.engine.tuning import require_effect
from mmav.errors import CheckpointError, ConfigError
from mmav.models import AVClassifier, Backbone
from mmav.models.lora import is_lora
from mmav.registry import MODELS
from mmav.structures import Tokens
from tests import synthetic

TUNED = dict(video=dict(freeze=1, lora=dict(rank=2, alpha=4, targets=('qkv', 'mlp'))), audio=dict(freeze='all'))


@MODELS.register_module()
class ReadingNet(Backbone):
    """Reads the weight of one of its layers, as some models with joint biases do."""

    def __init__(self) -> None:
        super().__init__((4, 4), 1, out_dims=4)
        self.qkv, self.proj, self.drop = nn.Linear(4, 4), nn.Linear(4, 4), nn.Dropout(0.5)

    def forward(self, x):
        x = self.drop(self.proj(F.linear(x[:, 0], self.qkv.weight)))
        return Tokens(x.mean(dim=1), x, (4,))


def make_reading(*targets):
    init_default_scope('mmav')
    lora = dict(rank=1, targets=targets)
    return AVClassifier(
        dict(video=dict(type='ReadingNet', lora=lora)), dict(type='Avg'), dict(type='ClsHead', num_classes=3)
    )


def test_layers_that_are_not_called_are_refused():
    model = make_reading('proj', 'qkv').train()
    expected = r'^backbones.video.lora: ReadingNet does not call its layer qkv, .* leave it out of targets$'
    with pytest.raises(ConfigError, match=expected):
        require_effect(model)
    for tested in (model, make_reading('proj').train()):
        if tested is not model:
            require_effect(tested)
        assert tested.training and tested.backbones.video.drop.training
        assert not any(module._forward_hooks for module in tested.modules())
        assert all(parameter.grad is None for parameter in tested.parameters())


def experiment(**options) -> Config:
    cfg = synthetic.experiment(8, optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05), contrast=True)
    for name, tuned in TUNED.items():
        cfg['model']['backbones'][name] |= tuned
    cfg['default_hooks']['checkpoint'] = dict(type='CheckpointHook', interval=1)
    cfg |= dict(train_cfg=dict(type='AVTrainLoop', max_epochs=1))
    cfg = Config(cfg)
    cfg.merge_from_dict(options)
    return cfg


def train(cfg: Config, folder: Path) -> AVRunner:
    cfg.update(work_dir=str(folder), experiment_name=folder.name)
    runner = AVRunner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('tuning')


@pytest.fixture(scope='module')
def runner(folder) -> AVRunner:
    return train(experiment(), folder / 'plain')


def load(folder: Path, name: str) -> dict:
    return torch.load(folder / name / 'epoch_1.pth', weights_only=True)


def test_the_optimizer_has_what_trains(folder, runner):
    named = dict(runner.model.named_parameters())
    trained = {name for name, parameter in named.items() if parameter.requires_grad}
    encoders = {name for name in trained if name.startswith('backbones.')}
    assert encoders and all(is_lora(name) and name.startswith('backbones.video.blocks.1.') for name in encoders)
    assert sorted(parameter_names(runner.optim_wrapper, runner.model)) == sorted(trained)
    checkpoint = load(folder, 'plain')
    assert set(checkpoint['meta']['optimizer_parameters']) == trained
    assert len(checkpoint['optimizer']['state']) == len(trained)


def test_the_log_says_what_trains(folder, runner):
    (log,) = (folder / 'plain').glob('*/*.log')
    text = log.read_text()
    assert 'video: 1 of 2 blocks frozen, LoRA of rank 2 in 3 layers, 432 of ' in text
    assert 'audio: 2 of 2 blocks frozen, 0 of ' in text


@pytest.mark.parametrize('setting', ['lean', True])
def test_activation_checkpointing_changes_nothing(folder, runner, setting):
    name = f'at_{setting}'
    train(experiment(activation_checkpointing=setting), folder / name)
    one, other = (load(folder, run)['state_dict'] for run in ('plain', name))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_layer_decay_and_a_rate_of_the_heads(folder, runner, capsys):
    wrapper = dict(
        constructor='LayerDecayConstructor',
        paramwise_cfg=dict(layer_decay=0.5, custom_keys={'head.': dict(lr_mult=10)}),
    )
    runner = train(experiment(optim_wrapper=wrapper), folder / 'decayed')
    names = {id(parameter): name for name, parameter in runner.model.named_parameters()}
    rates = {
        names[id(p)]: group['lr'] for group in runner.optim_wrapper.optimizer.param_groups for p in group['params']
    }
    assert {round(rate, 6) for name, rate in rates.items() if name.startswith('head.')} == {0.1}
    assert {rate for name, rate in rates.items() if name.startswith('neck.')} == {0.01}
    # the last of the two blocks is one layer below the norm
    assert {rate for name, rate in rates.items() if name.startswith('backbones.video.')} == {0.005}
    assert not any(name.startswith('backbones.audio.') for name in rates)
    # with other rates all that trains has other values, and all that is frozen the same
    one, other = (load(folder, run)['state_dict'] for run in ('plain', 'decayed'))
    same = {name for name, value in one.items() if torch.equal(value, other[name])}
    assert same == {name for name, parameter in runner.model.named_parameters() if not parameter.requires_grad}
    console = capsys.readouterr().out
    assert "custom_keys: 'head.' (lr_mult=10): 2 parameters of head" in console and 'is skipped since' not in console


def test_a_run_with_other_frozen_parts_is_not_resumed(folder, runner):
    cfg = experiment(resume=str(folder / 'plain' / 'epoch_1.pth'))
    cfg.model.backbones.video.pop('lora')
    with pytest.raises(CheckpointError, match='cannot be resumed'):
        train(cfg, folder / 'other')


def test_problems_of_a_config():
    cfg = experiment()
    assert list(find_problems(cfg)) == []
    wrong = {
        'model.backbones.video.frezee': 1,
        'model.backbones.video.lora.ranc': 4,
        'model.backbones.audio.freeze': 'alll',
        'model.neck.freeze': -1,
        'model.head.freeze': 'all',
        'optim_wrapper.paramwise_cfg.custom_keys.head.lr_mul': 10,
    }
    cfg.merge_from_dict(wrong)
    found = '\n'.join(find_problems(cfg))
    assert "model.backbones.video.frezee: unknown, MViTv2 takes no such argument, did you mean 'freeze'?" in found
    assert "model.backbones.video.lora.ranc: unknown, did you mean 'rank'?" in found
    assert "model.backbones.audio.freeze='alll': choose 'all', " in found
    assert 'model.neck.freeze=-1: choose' in found and 'model.head.freeze: unknown; ClsHead takes' in found
    assert 'custom_keys.head.lr_mul: unknown, a custom key has no such argument, did you mean' in found
    assert len(found.splitlines()) == len(wrong)
