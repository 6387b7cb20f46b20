"""What tests/models/test_contracts.py asks of every neck of the package, and what is particular to this one."""

import json

import pytest
import torch
from mmengine.registry import init_default_scope

from mmav.config.check import check_config
from mmav.config.reading import load_config
from mmav.preparation.avsynth import generate
from mmav.registry import MODELS
from mmav.structures import Tokens
from projects.example_project.gated_fusion import GatedFusion
from tests import toys
from tests.processes import run_tool_in_pair

CONFIG = toys.ROOT / 'projects' / 'example_project' / 'configs' / 'gated_fusion_tiny_avsynth.py'
WIDTHS = dict(video=16, audio=8)
ALL = torch.tensor([True, True, True])


def make_neck():
    torch.manual_seed(0)
    neck = GatedFusion(WIDTHS, embed_dims=12)
    for parameter in neck.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return neck


def make_tokens():
    generator = torch.Generator().manual_seed(0)
    return {
        m: Tokens(torch.randn(3, d, generator=generator), torch.randn(3, 6, d, generator=generator), (2, 3))
        for m, d in WIDTHS.items()
    }


def test_equals_the_formula_of_one_clip():
    neck, tokens = make_neck(), make_tokens()
    x = {m: torch.nn.functional.layer_norm(t.cls[1], t.cls[1].shape, *norm_of(neck, m)) for m, t in tokens.items()}
    gates = {
        m: torch.sigmoid(neck.gates[m].weight @ torch.cat([x['video'], x['audio']]) + neck.gates[m].bias) for m in x
    }
    values = {m: torch.tanh(neck.values[m].weight @ x[m] + neck.values[m].bias) for m in x}
    expected = gates['video'] * values['video'] + gates['audio'] * values['audio']
    torch.testing.assert_close(neck(tokens)['fused'][1], expected)


def norm_of(neck, modality):
    return neck.norms[modality].weight, neck.norms[modality].bias


def test_gradients_reach_every_parameter_and_init_weights_changes_them():
    neck = make_neck()
    neck(make_tokens())['fused'].pow(3).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in neck.parameters())
    for parameter in neck.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    neck.init_weights()
    assert not any((parameter == 7.0).any() for parameter in neck.parameters())


def test_an_absent_modality_reaches_nothing():
    neck, tokens = make_neck(), make_tokens()
    masks = dict(video=ALL, audio=torch.tensor([True, False, True]))
    fused = neck(tokens, masks)['fused']
    torch.testing.assert_close(fused[[0, 2]], neck(tokens)['fused'][[0, 2]])
    tokens['audio'].cls[1] = torch.nan  # whatever an encoder makes of no sound
    torch.testing.assert_close(neck(tokens, masks)['fused'], fused)
    assert not torch.allclose(fused[1], neck(make_tokens())['fused'][1])
    nothing = neck(tokens, dict(video=~ALL, audio=~ALL))['fused']
    assert (nothing == 0).all()


def test_masks_of_all_change_nothing():
    neck, tokens = make_neck(), make_tokens()
    torch.testing.assert_close(neck(tokens, dict(video=ALL, audio=ALL)), neck(tokens))


def test_one_modality_is_enough_and_none_is_refused():
    neck = GatedFusion(dict(audio=8))
    assert neck(make_tokens())['fused'].shape == (3, neck.out_dims['fused']) == (3, 128)
    with pytest.raises(ValueError, match='needs the width of at least one modality'):
        GatedFusion()


def test_the_config_builds_it():
    cfg = load_config(str(CONFIG))
    check_config(cfg)
    init_default_scope('mmav')
    assert isinstance(MODELS.build(cfg.model).neck, GatedFusion)


def test_trains_on_two_processes_with_workers_and_tests(tmp_path, monkeypatch):
    monkeypatch.chdir(toys.ROOT)
    generate(tmp_path / 'data', train=16, val=16, test=16, jobs=1, progress=False)
    options = [f'{loader}_dataloader.batch_size=4' for loader in ('train', 'val', 'test')]
    options += [f'{loader}_dataloader.num_workers=1' for loader in ('train', 'val', 'test')]
    common = ['--data-root', tmp_path / 'data', '--work-dir', tmp_path / 'w', '--cfg-options', *options]
    run_tool_in_pair(toys.ROOT, 'train.py', CONFIG, *common, 'train_cfg.max_epochs=1')
    assert toys.run_tool('test.py', CONFIG, tmp_path / 'w' / 'epoch_1.pth', '--out', tmp_path / 'm.json', *common) == 0
    assert json.loads((tmp_path / 'm.json').read_text())['broken'] == 0
