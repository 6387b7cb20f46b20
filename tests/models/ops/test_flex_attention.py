import math

import pytest
import torch
from torch.nn.attention import flex_attention as flex

from mmav.errors import ConfigError
from mmav.models.layers import MultiscaleAttention
from mmav.models.ops.attention import attend, explicit_attention
from mmav.models.ops.flex_attention import flex_attention


def draw(q_grid, k_grid, *, num_cls=1, needs_grad=False):
    generator = torch.Generator().manual_seed(0)
    lengths = [num_cls + math.prod(grid) for grid in (q_grid, k_grid, k_grid)]
    shapes = [*((2, 2, length, 8) for length in lengths), *((2, 2, math.prod(q_grid), size) for size in k_grid)]
    return [torch.randn(shape, generator=generator, requires_grad=needs_grad) for shape in shapes]


@pytest.mark.parametrize('num_cls', [0, 1])
@pytest.mark.parametrize(('q_grid', 'k_grid'), [((4, 6), (2, 3)), ((2, 2, 3), (2, 4, 3))])
def test_values_equal_explicit_attention(q_grid, k_grid, num_cls):
    q, k, v, *bias = draw(q_grid, k_grid, num_cls=num_cls)
    torch.testing.assert_close(flex_attention(q, k, v, bias, k_grid), explicit_attention(q, k, v, bias, k_grid))
    torch.testing.assert_close(flex_attention(q, k, v, [], k_grid), explicit_attention(q, k, v, [], k_grid))


def test_gradients_equal_explicit_attention(monkeypatch):
    # PyTorch's own check: what is behind it works where nothing is compiled
    monkeypatch.setattr(flex, '_validate_device', lambda q, k, v: None)
    monkeypatch.setitem(flex_attention.__globals__, '_refuse', lambda *_: None)
    leaves = draw((4, 6), (2, 3), needs_grad=True)
    outs = [form(*leaves[:3], leaves[3:], (2, 3)) for form in (flex_attention, explicit_attention)]
    weights = torch.cos(torch.arange(float(outs[0].numel()))).view_as(outs[0])
    own, expected = (torch.autograd.grad(out, leaves, weights) for out in outs)
    for grad, other in zip(own, expected, strict=True):
        torch.testing.assert_close(grad, other)


def test_it_is_a_form_of_the_layer():
    torch.manual_seed(0)
    layers = [
        MultiscaleAttention(8, 16, 2, grid=(4, 6), q_stride=(2, 2), kv_stride=(2, 2), kernel=(3, 3), attention=form)
        for form in ('flex', 'explicit')
    ]
    for table in layers[1].rel_pos.tables:
        torch.nn.init.normal_(table)
    layers[0].load_state_dict(layers[1].state_dict())
    x = torch.randn(2, 25, 8)
    with torch.inference_mode():
        torch.testing.assert_close(*(layer(x, (4, 6))[0] for layer in layers))


def test_what_it_cannot_do_is_refused(monkeypatch):
    q, k, v, *bias = draw((4, 6), (2, 3), needs_grad=True)
    with pytest.raises(ConfigError, match="attention='flex' has no backward pass on a CPU: use auto there"):
        attend(*(x[:, :, 1:].transpose(1, 2) for x in (q, k, v)), (), ((4, 6), (2, 3)), form='flex')
    monkeypatch.setattr(torch, 'are_deterministic_algorithms_enabled', lambda: True)
    meta = [x.detach().to('meta').requires_grad_() for x in (q, k, v, *bias)]
    with pytest.raises(ConfigError, match="attention='flex' is not deterministic: use auto, or leave"):
        flex_attention(*meta[:3], meta[3:], (2, 3))


@pytest.mark.gpu
@pytest.mark.parametrize('k_grid', [(8, 7, 7), (16, 32)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_compiled_on_a_gpu(k_grid, dtype):
    leaves = [x.detach().cuda().requires_grad_() for x in draw((4,) * len(k_grid), k_grid)]
    halves = [x.to(dtype) for x in leaves]
    outs = [flex_attention(*halves[:3], halves[3:], k_grid), explicit_attention(*leaves[:3], leaves[3:], k_grid)]
    atol = 1e-2 if dtype == torch.float32 else 1e-1  # products may be in TF32
    torch.testing.assert_close(outs[0].float(), outs[1], atol=atol, rtol=0)
    own, expected = (torch.autograd.grad(out.float().square().sum(), leaves) for out in outs)
    for grad, other in zip(own, expected, strict=True):
        torch.testing.assert_close(grad, other, atol=atol * float(other.abs().max()), rtol=0)
