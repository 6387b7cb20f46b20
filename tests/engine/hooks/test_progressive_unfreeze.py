"""Encoders that thaw in stages: what trains when, with one process and with two, and after resuming."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from mmav.engine import AVRunner
from mmav.engine.hooks.progressive_unfreeze import ProgressiveUnfreezeHook
from mmav.errors import ConfigError
from mmav.models.backbones.base import layers_of
from tests import synthetic
from tests.processes import join_pair, run_pair

ADAMW = dict(type='AdamW', lr=1e-2, weight_decay=0.05)
# both encoders have two blocks: epoch -> how many blocks are frozen
GRADUAL = dict(type='ProgressiveUnfreezeHook', begin=2)
FROZEN = {1: 'all', 2: 1, 3: 0, 4: None}


class WatchingHook(Hook):
    """Keeps the weights after every epoch, and the names of those that train in one."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []
        self.trained: list[set[str]] = []

    def before_train(self, runner) -> None:
        self._keep(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._now = {name for name, value in runner.plain_model.named_parameters() if value.requires_grad}

    def after_train_epoch(self, runner) -> None:
        self.trained.append(self._now)
        self._keep(runner)

    def _keep(self, runner) -> None:
        self.weights.append({name: value.clone() for name, value in runner.plain_model.state_dict().items()})


def experiment(folder: Path, name: str, processes: int = 1, hook=GRADUAL, **options) -> Config:
    cfg = synthetic.experiment(8 // processes, optimizer=ADAMW, double=True)
    cfg |= dict(train_cfg=dict(type='AVTrainLoop', max_epochs=4), custom_hooks=[hook] if hook else [])
    cfg['train_dataloader']['dataset']['length'] = 16
    cfg['default_hooks']['checkpoint'] = dict(type='CheckpointHook', interval=1)
    cfg |= dict(work_dir=str(folder / name), experiment_name=name)
    cfg |= dict(launcher='none' if processes == 1 else 'pytorch')
    cfg = Config(cfg)
    cfg.merge_from_dict(options)
    return cfg


def train(cfg: Config) -> WatchingHook:
    runner, watching = AVRunner.from_cfg(cfg), WatchingHook()
    runner.register_hook(watching)
    runner.train()
    return watching


def be_one_of_two(rank: int, folder: Path) -> None:
    os.environ['LOCAL_RANK'] = str(rank)
    with join_pair(rank, str(folder / 'pair')):
        train(experiment(folder, 'two', 2))
        train(experiment(folder, 'two_resumed', 2, resume=str(folder / 'two' / 'epoch_2.pth')))
        cfg = experiment(folder, 'control', 2)
        runner = AVRunner.from_cfg(cfg)
        wrap, calls = runner.wrap_again, []
        runner.wrap_again = lambda: calls.append(1) or len(calls) > 1 or wrap()
        runner.train()
        torch.save(runner.plain_model.state_dict(), folder / f'control_{rank}.pth')


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp('unfreezing')


@pytest.fixture(scope='module')
def run(folder) -> WatchingHook:
    return train(experiment(folder, 'one'))


def load(folder: Path, name: str, epoch: int = 4) -> dict:
    return torch.load(folder / name / f'epoch_{epoch}.pth', weights_only=True)


def expected_to_train(model, epoch: int) -> set[str]:
    """The rule of Howard and Ruder as a loop: the head, then block after block from the last, the patches at last."""
    names = {name for name, _ in model.named_parameters() if not name.startswith('backbones.')}
    for modality, backbone in model.backbones.items():
        layers = layers_of(backbone, backbone.blocks)  # 0: patches, 1 and 2: blocks, 3: what follows
        first = {1: 99, 2: 2, 3: 1, 4: 0}[epoch]
        names |= {f'backbones.{modality}.{name}' for name, layer in layers.items() if layer >= first}
    return names


def test_blocks_train_from_the_last_to_the_first(folder, run):
    model = AVRunner.from_cfg(experiment(folder, 'again')).plain_model
    for epoch in (1, 2, 3, 4):
        wanted = expected_to_train(model, epoch)
        assert run.trained[epoch - 1] == wanted
        before, after = run.weights[epoch - 1], run.weights[epoch]
        assert {name for name in before if not torch.equal(before[name], after[name])} == wanted & before.keys()
    (log,) = (folder / 'one').glob('*/*.log')
    assert 'Epoch 2: video: 1 of 2 blocks frozen, ' in log.read_text()


def test_adam_counts_the_steps_of_each_parameter(folder, run):
    """Two steps an epoch from the stage on in which it trains."""
    checkpoint = load(folder, 'one')
    names = checkpoint['meta']['optimizer_parameters']
    begun = {name: next(k for k, trained in enumerate(run.trained) if name in trained) for name in names}
    steps = {names[k]: int(state['step']) for k, state in checkpoint['optimizer']['state'].items()}
    assert steps == {name: 2 * (4 - epoch) for name, epoch in begun.items()}
    assert set(begun.values()) == {0, 1, 2, 3}


@pytest.mark.parametrize('epoch', [1, 3])
def test_resumed_equals_uninterrupted(folder, run, epoch):
    train(experiment(folder, f'from_{epoch}', resume=str(folder / 'one' / f'epoch_{epoch}.pth')))
    one, two = load(folder, 'one'), load(folder, f'from_{epoch}')
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(one[part], two[part], rtol=0, atol=0)


def test_stages_in_words_are_the_same(folder, run):
    stages = [(1, 'all'), (2, 1), (3, 0), (4, None)]
    other = train(experiment(folder, 'words', hook=dict(type='ProgressiveUnfreezeHook', stages=stages)))
    torch.testing.assert_close(other.weights[-1], run.weights[-1], rtol=0, atol=0)
    audio = dict(type='ProgressiveUnfreezeHook', stages=[(1, 'all'), (3, None)], backbones=['audio'])
    other = train(experiment(folder, 'audio', hook=audio))
    assert any(name.startswith('backbones.video.') for name in other.trained[0])
    assert not any(name.startswith('backbones.audio.') for name in other.trained[1])
    assert any(name.startswith('backbones.audio.') for name in other.trained[2])


def test_a_first_stage_equals_freeze(folder, run):
    """With dropout, which frozen blocks do not have."""
    dropped = {'model.backbones.video.drop_path_rate': 0.5, 'train_cfg.max_epochs': 3}
    hook = dict(type='ProgressiveUnfreezeHook', stages=[(1, 1), (3, None)], backbones=['video'])
    one = train(experiment(folder, 'staged', hook=hook, **dropped))
    two = train(experiment(folder, 'frozen', hook=None, **{**dropped, 'model.backbones.video.freeze': 1}))
    torch.testing.assert_close(one.weights[2], two.weights[2], rtol=0, atol=0)
    last = 'backbones.video.blocks.0.norm1.weight'
    assert torch.equal(two.weights[3][last], two.weights[0][last])
    assert not torch.equal(one.weights[3][last], one.weights[2][last])


def test_two_processes_equal_one(folder, run):
    run_pair(be_one_of_two, folder)
    expected, found = load(folder, 'one')['state_dict'], load(folder, 'two')['state_dict']
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(load(folder, 'two_resumed')['state_dict'], found, rtol=0, atol=0)
    # were the model not wrapped again at later stages, the processes would part, each with its own clips' gradients
    one, two = (torch.load(folder / f'control_{rank}.pth', weights_only=True) for rank in (0, 1))
    assert not torch.equal(one['backbones.video.blocks.0.norm1.weight'], two['backbones.video.blocks.0.norm1.weight'])


@pytest.mark.parametrize('setting', ['lean', True])
def test_activation_checkpointing_changes_nothing(folder, run, setting):
    other = train(experiment(folder, f'at_{setting}', activation_checkpointing=setting))
    torch.testing.assert_close(other.weights[-1], run.weights[-1], rtol=1e-6, atol=1e-8)


def test_what_has_no_effect_is_refused(folder):
    cases = [
        (dict(begin=9), r'a stage begins with epoch 9, after the last one of training, 4'),
        (dict(stages=[(1, 'all'), (9, None)]), r'a stage begins with epoch 9, after the last'),
        (dict(stages=[(1, 1), (2, 1)]), r'freeze=1 from epoch 2 on thaws nothing of video'),
        (dict(stages=[(1, None), (2, 'all')]), r"freeze='all' from epoch 2 on thaws nothing of video"),
        (dict(stages=[(1, 7), (2, None)]), r'backbones.video.freeze=7: DoubleC|MViTv2 has 2 blocks'),
        (dict(begin=2, backbones=['sound']), r"the model has no encoder 'sound'; it has video, audio"),
    ]
    for options, message in cases:
        with pytest.raises(ConfigError, match=message):
            train(experiment(folder, 'wrong', hook=dict(type='ProgressiveUnfreezeHook', **options)))
    with pytest.raises(ConfigError, match='model.backbones.video has a freeze of its own: leave it out, or name'):
        train(experiment(folder, 'wrong', **{'model.backbones.video.freeze': 1}))
    for options, message in [
        ({}, 'give either stages alone, or begin'),
        (dict(stages=[(1, 'all'), (2, None)], begin=2), 'give either stages alone, or begin'),
        (dict(stages=[(1, 'all'), (2, None)], interval=1), 'give either stages alone, or begin'),
        (dict(stages=[(1, 'all'), (2, None)], blocks=4), 'give either stages alone, or begin'),
        (dict(stages=[1, 'all']), '1 is no pair of an epoch and what is frozen'),
        (dict(stages={1: 'all', 3: None}), 'is no pair of an epoch'),
        (dict(stages=[(1, 'all'), (2.5, None)]), r'\(2.5, None\) is no pair'),
        (dict(begin=1), 'begin must be a whole number of 2 or more'),
        (dict(begin='2'), "begin='2', interval=None, blocks=None: begin must be a whole number"),
        (dict(begin=2, blocks=0), 'blocks=0: begin must be a whole number of 2 or more, the others of 1 or more'),
        (dict(begin=2, interval=0.5), 'interval=0.5, blocks=None: begin must be'),
        (dict(begin=2, backbones='video'), r"backbones='video': give a list of names, such as \['video'\]"),
        (dict(stages=[(2, 'all'), (3, None)]), 'ascending, the first one 1'),
        (dict(stages=[(1, 'all')]), 'two or more'),
        (dict(stages=[(1, 'al'), (2, None)]), "did you mean 'all'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            ProgressiveUnfreezeHook(**options)
