import math
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from torch import nn

from mmav.engine import AmpOptimWrapper, AutocastOptimWrapper, OptimWrapper
from mmav.engine.precision import Hardware
from mmav.errors import ConfigError
from tests import toys


def test_forward_in_bfloat16_weights_in_float32():
    model = nn.Linear(4, 4)
    wrapper = AutocastOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), clip_grad=dict(max_norm=1.0))
    before = model.weight.clone()
    with wrapper.optim_context(model):
        out = model(torch.randn(2, 4))
    assert out.dtype is torch.bfloat16
    assert model(torch.randn(2, 4)).dtype is torch.float32  # only inside
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype is torch.float32
    assert not torch.equal(model.weight, before)


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match=r"'float16'; for float16 .*AmpOptimWrapper"):
        AutocastOptimWrapper(dtype='float16', optimizer=None)


def test_the_norm_of_gradients_is_told_once():
    layer = nn.Linear(2, 1, bias=False)
    wrapper = OptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.1), clip_grad=dict(max_norm=1.0))
    wrapper.update_params(layer(torch.tensor([[3.0, 4.0]])).sum())
    assert {name: float(norm) for name, norm in wrapper.take_grad_norm().items()} == dict(grad_norm=5.0)
    assert wrapper.take_grad_norm() == {}
    values = OptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.1), clip_grad=dict(type='value', clip_value=1.0))
    values.update_params(layer(torch.tensor([[3.0, 4.0]])).sum())
    assert values.take_grad_norm() == {}


@pytest.mark.parametrize('fused', [False, True])
def test_how_the_optimizer_computes_is_the_configs(fused):
    layer = nn.Linear(2, 1)

    def make(value):
        return OptimWrapper(torch.optim.AdamW(layer.parameters(), fused=value))

    saved = make(not fused)
    saved.update_params(layer(torch.ones(1, 2)).sum())
    loaded = make(fused)
    state = saved.state_dict()
    loaded.load_state_dict(state)
    assert loaded.optimizer.param_groups[0]['fused'] is fused and state['param_groups'][0]['fused'] is not fused
    loaded.update_params(layer(torch.ones(1, 2)).sum())
    assert float(loaded.optimizer.state[layer.weight]['step']) == 2


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Lets float16 with loss scaling run on a CPU, slowly; MMEngine refuses it there, and so do we."""

    @contextmanager
    def autocast(dtype):
        with torch.autocast('cpu', dtype):
            yield

    for module in ('mmav.engine.optim.wrappers', 'mmav.engine.distributed.group'):
        monkeypatch.setattr(f'{module}.without_gpu', lambda: False)
    monkeypatch.setattr('mmav.engine.building.this_hardware', lambda: Hardware('cuda', 'a GPU', bfloat16=True))
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', partial(torch.amp.GradScaler, 'cpu'))
    monkeypatch.setattr('mmengine.runner.amp.autocast', autocast)


def test_float16_needs_a_gpu(tmp_path, capsys, monkeypatch):
    for module in ('mmav.engine.optim.wrappers', 'mmav.engine.distributed.group'):
        monkeypatch.setattr(f'{module}.without_gpu', lambda: True)
    model = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match='needs a GPU and there is none; take --amp bfloat16'):
        AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    assert toys.run_tool('train.py', toys.write_config(tmp_path), '--amp', 'float16') == 2
    told = "error: precision.amp='float16' (--amp float16) needs a CUDA GPU and there is none: take bfloat16, or"
    assert capsys.readouterr().err == f'{told} float32 (--amp none)\n'


@pytest.mark.usefixtures('as_on_a_gpu')
def test_a_fused_optimizer_leaves_overflowing_steps_out_by_itself():
    layer = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
    wrapper = AmpOptimWrapper(dict(init_scale=1024.0), optimizer=optimizer, clip_grad=dict(max_norm=1.0))
    before = layer.weight.detach().clone()
    wrapper.update_params((layer(torch.ones(1, 2)) * math.inf).sum())
    assert torch.equal(layer.weight, before) and wrapper.loss_scaler.get_scale() == 512.0
    assert float(optimizer.state[layer.weight]['step']) == 0
    wrapper.update_params(layer(torch.ones(1, 2)).sum())
    assert not torch.equal(layer.weight, before) and float(optimizer.state[layer.weight]['step']) == 1


@pytest.mark.usefixtures('as_on_a_gpu')
def test_float16_scales_the_loss_and_leaves_overflowing_steps_out():
    model = nn.Linear(4, 4)
    wrapper = AmpOptimWrapper(
        dict(init_scale=1024.0, growth_interval=2),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        clip_grad=dict(max_norm=1.0),
    )
    with wrapper.optim_context(model):
        out = model(torch.ones(2, 4))
    assert out.dtype is torch.float16 and wrapper.loss_scaler.get_scale() == 1024.0
    before = model.weight.detach().clone()
    wrapper.update_params((model(torch.ones(2, 4)) * math.inf).sum())
    assert torch.equal(model.weight, before)
    assert wrapper.loss_scaler.get_scale() == 512.0
    wrapper.update_params(model(torch.ones(1, 4)).sum())
    # clipped after the scale is taken out: a step of lr * max_norm
    assert 0.05 < (model.weight - before).norm() <= 0.1


@pytest.mark.usefixtures('as_on_a_gpu')
def test_the_scale_is_saved_and_resumed(tmp_path):
    scale = 'loss_scale=dict(init_scale=256.0, growth_interval=2)'
    config = toys.write_config(tmp_path, f"optim_wrapper.update(type='AmpOptimWrapper', {scale})\n")
    run = [config, '--amp', 'float16', '--work-dir']
    assert toys.run_tool('train.py', *run, tmp_path / 'a') == 0
    early_path = tmp_path / 'a' / 'epoch_2.pth'
    assert toys.run_tool('train.py', *run, tmp_path / 'b', '--resume', early_path) == 0
    early, one, two = (
        torch.load(tmp_path / path, weights_only=True) for path in ('a/epoch_2.pth', 'a/epoch_4.pth', 'b/epoch_4.pth')
    )
    # 3 steps an epoch; every second one doubles the scale
    assert [run['optimizer']['loss_scaler']['scale'] for run in (early, one)] == [256.0 * 2**3, 256.0 * 2**6]
    torch.testing.assert_close(one['optimizer'], two['optimizer'], rtol=0, atol=0)
    torch.testing.assert_close(one['state_dict'], two['state_dict'], rtol=0, atol=0)
    # what was begun in float16 can go on in bfloat16, which has no scale
    assert toys.run_tool('train.py', config, '--amp', '--work-dir', tmp_path / 'b', '--resume', early_path) == 0
    assert 'loss_scaler' not in torch.load(tmp_path / 'b' / 'epoch_4.pth', weights_only=True)['optimizer']


@pytest.mark.usefixtures('as_on_a_gpu')
def test_a_run_goes_on_where_another_kind_of_gpu_is_there(tmp_path, capsys, monkeypatch):
    config = toys.write_config(tmp_path)
    run = [config, '--work-dir', tmp_path / 'w']
    kinds = ['bfloat16', 'float16', 'bfloat16']  # a card that has bfloat16, one that has not, and the first again
    for number, kind in enumerate(kinds):
        card = Hardware('cuda', 'a GPU', bfloat16=kind == 'bfloat16')
        monkeypatch.setattr('mmav.engine.building.this_hardware', lambda card=card: card)
        resumed = ['--resume', tmp_path / 'w' / f'epoch_{number}.pth'] if number else []
        epochs = ['--cfg-options', f'train_cfg.max_epochs={number + 1}']
        assert toys.run_tool('train.py', *run, *resumed, *epochs) == 0
        told = capsys.readouterr().out
        assert f'Numbers: {kind} autocast' in told
        anew = f'{kind}; the loss scale is reset' if kind == 'float16' else kind
        assert (f'was trained in {kinds[number - 1]}: the run continues in {anew}\n' in told) == bool(number)
        saved = torch.load(tmp_path / 'w' / f'epoch_{number + 1}.pth', weights_only=True)
        assert ('loss_scaler' in saved['optimizer']) == (kind == 'float16') and saved['meta']['numbers'] == kind


@pytest.mark.gpu
def test_float16_on_a_gpu():
    model = nn.Linear(4, 4).cuda()
    wrapper = AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(2, 4, device='cuda'))
    assert out.dtype is torch.float16
    wrapper.update_params(out.float().sum())
    assert not torch.equal(model.weight, before)
    assert wrapper.state_dict()['loss_scaler']['scale'] == 65536.0


def test_no_weight_decay_on_vectors_tokens_and_positions():
    """What the MViTv2 recipe asks for is a matter of MMEngine's ``paramwise_cfg``; this is how."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = nn.Linear(2, 3), nn.LayerNorm(3)
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 3))
            self.rel_pos_t = nn.Parameter(torch.zeros(5, 3))

    net = Net()
    wrapper = build_optim_wrapper(
        net,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.05),
            paramwise_cfg=dict(
                norm_decay_mult=0.0,
                bias_decay_mult=0.0,
                flat_decay_mult=0.0,
                custom_keys=dict(cls_token=dict(decay_mult=0.0), rel_pos=dict(decay_mult=0.0)),
            ),
        ),
    )
    decayed = {id(p) for g in wrapper.optimizer.param_groups if g['weight_decay'] > 0 for p in g['params']}
    assert [name for name, p in net.named_parameters() if id(p) in decayed] == ['linear.weight']
