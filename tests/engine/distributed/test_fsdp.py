"""A model spread over two processes trains as one that is not, and its checkpoints are those of any other run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch.distributed.tensor import DTensor

from mmav.config.check import find_problems
from mmav.config.reading import load_config
from mmav.engine import AVRunner
from mmav.engine.distributed.fsdp import gathered, is_spread
from mmav.models.lora import is_lora
from mmav.registry import MODELS
from tests import synthetic
from tests.processes import join_pair, run_pair
from tests.toys import ROOT

OPTIMIZER = dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True)


def run(
    folder: Path,
    name: str,
    *,
    fsdp: bool,
    epochs: int = 2,
    resume: bool = False,
    launcher: str = 'pytorch',
    tuned: bool = False,
):
    cfg = Config(
        synthetic.experiment(4 if launcher == 'pytorch' else 8, optimizer=OPTIMIZER, contrast=True, double=True)
    )
    cfg.merge_from_dict(dict(train_cfg=dict(_delete_=True, type='AVTrainLoop', max_epochs=epochs)))
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1, trained_only=tuned)
    if tuned:
        init = dict(type='PublicWeights', checkpoint=str(folder / 'public.pth'))
        cfg.model.backbones.audio.update(freeze=1, init_cfg=init)
        cfg.model.backbones.video.update(lora=dict(rank=2), init_cfg=init)
        cfg.train_dataloader.dataset.length = 16
    cfg.default_hooks.non_finite = dict(type='NonFiniteHook')
    cfg.update(work_dir=str(folder / name), experiment_name=f'{name}_{epochs}', launcher=launcher, fsdp=fsdp)
    cfg.update(resume=resume)
    runner = AVRunner.from_cfg(cfg)
    if fsdp and not resume:
        runner.test()  # what is gathered for it first is used again in training
    runner.train()
    return runner


def both(rank: int, folder: Path) -> None:
    os.environ['LOCAL_RANK'] = str(rank)  # as torchrun tells it
    with join_pair(rank, str(folder / 'group')):
        run(folder, 'plain', fsdp=False)
        runner = run(folder, 'spread', fsdp=True)
        assert is_spread(runner.model)
        parameters = dict(runner.model.named_parameters())
        assert all(isinstance(parameter, DTensor) for parameter in parameters.values())
        held = sum(parameter.to_local().numel() for parameter in parameters.values())
        assert held < 0.6 * sum(parameter.numel() for parameter in parameters.values())
        whole = gathered(runner.model.state_dict())
        assert all(type(value) is torch.Tensor for value in whole.values())
        scores = runner.test()
        # Stopped after one epoch and gone on.
        run(folder, 'resumed', fsdp=True, epochs=1)
        run(folder, 'resumed', fsdp=True, resume=True)
        assert runner.test() == scores
        # one encoder partly frozen, one with LoRA, and checkpoints of what trains
        run(folder, 'tuned', fsdp=False, tuned=True)
        run(folder, 'tuned_spread', fsdp=True, tuned=True, epochs=1)
        run(folder, 'tuned_spread', fsdp=True, tuned=True, resume=True)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('fsdp')
    torch.manual_seed(0)
    public = MODELS.build(synthetic.experiment(1, optimizer={}, double=True)['model'])
    torch.save(dict(meta={}, state_dict=public.state_dict()), folder / 'public.pth')
    run_pair(both, folder)
    return folder


def load(folder: Path, name: str) -> dict:
    return torch.load(folder / name / 'epoch_2.pth', weights_only=True)


def test_equals_a_run_that_is_not_spread(folder):
    one, other = load(folder, 'plain'), load(folder, 'spread')
    assert list(one['state_dict']) == list(other['state_dict'])
    # What is added to all keys alike changes no probability: its gradient is rounding, of which Adam makes full steps.
    weights = [
        {k: v for k, v in run['state_dict'].items() if not k.endswith('pool_k.norm.bias')} for run in (one, other)
    ]
    assert len(weights[0]) < len(one['state_dict'])
    torch.testing.assert_close(*weights, rtol=0, atol=1e-5)
    # The same layout, in whole tensors: either can go on from the other's checkpoint.
    assert one['optimizer'].keys() == other['optimizer'].keys()
    for index, state in one['optimizer']['state'].items():
        for key, value in state.items():
            torch.testing.assert_close(other['optimizer']['state'][index][key], value, rtol=1e-3, atol=1e-5)


def test_resumed_equals_uninterrupted(folder):
    one, other = load(folder, 'spread'), load(folder, 'resumed')
    torch.testing.assert_close(one['state_dict'], other['state_dict'], rtol=0, atol=0)
    torch.testing.assert_close(one['optimizer'], other['optimizer'], rtol=0, atol=0)


def test_frozen_and_adapted_encoders_train_alike_spread_or_not(folder):
    one, other = load(folder, 'tuned'), load(folder, 'tuned_spread')
    assert one['meta']['base'] == other['meta']['base'] and len(one['meta']['base']['checksums']) > 20
    names = [name for name in one['state_dict'] if not name.endswith('pool_k.norm.bias')]
    assert any(map(is_lora, names)) and one['state_dict'].keys() == other['state_dict'].keys()
    for name in names:
        torch.testing.assert_close(other['state_dict'][name], one['state_dict'][name], rtol=0, atol=1e-5)


def test_one_process_goes_on_from_a_spread_run(folder, tmp_path):
    (tmp_path / 'alone').mkdir()
    (tmp_path / 'alone' / 'epoch_2.pth').write_bytes((folder / 'spread' / 'epoch_2.pth').read_bytes())
    runner = run(tmp_path, 'alone', fsdp=True, epochs=3, resume=True, launcher='none')
    assert runner.epoch == 3 and not is_spread(runner.model)


def test_the_base_is_checked():
    cfg = load_config(str(ROOT / 'configs' / 'mmt' / 'mmt_tiny_avsynth.py'))
    cfg.merge_from_dict(dict(fsdp=load_config(str(ROOT / 'configs' / '_base_' / 'fsdp.py')).fsdp))
    assert list(find_problems(cfg)) == []
