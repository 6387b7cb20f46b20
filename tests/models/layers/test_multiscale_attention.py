import copy
import math

import pytest
import torch
import torch.nn.functional as F

from mmav.models.layers import MultiscaleAttention, multiscale_attention
from mmav.models.layers.multiscale_attention import explicit_attention, folded_attention

GRIDS = [((5,), (3,)), ((4, 6), (2, 3)), ((2, 4, 3), (2, 2, 3))]


def slow_attention(q, k, v, bias, k_grid):
    """Eq. 2 for one query and one key at a time."""
    num_cls = k.shape[2] - math.prod(k_grid)
    cells = list(torch.cartesian_prod(*(torch.arange(n) for n in k_grid)).reshape(-1, len(k_grid)))
    out = torch.zeros(*q.shape[:3], v.shape[-1])
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i in range(q.shape[2]):
                scores = []
                for j in range(k.shape[2]):
                    score = (q[b, h, i] * k[b, h, j]).sum() / math.sqrt(q.shape[-1])
                    if i >= num_cls and j >= num_cls:
                        cell = cells[j - num_cls]
                        score = score + sum(p[b, h, i - num_cls, cell[axis]] for axis, p in enumerate(bias))
                    scores.append(score)
                weights = torch.stack(scores).softmax(0)
                out[b, h, i] = sum(w * value for w, value in zip(weights, v[b, h], strict=True))
    return out


@pytest.mark.parametrize('form', [explicit_attention, folded_attention])
@pytest.mark.parametrize(('q_grid', 'k_grid'), GRIDS)
@pytest.mark.parametrize('num_cls', [0, 1])
def test_forms_equal_a_slow_loop(form, q_grid, k_grid, num_cls):
    generator = torch.Generator().manual_seed(0)
    n_q, n_k, dim = math.prod(q_grid), math.prod(k_grid), 6
    q = torch.randn(2, 2, num_cls + n_q, dim, generator=generator)
    k, v = torch.randn(2, 2, 2, num_cls + n_k, dim, generator=generator)
    bias = [torch.randn(2, 2, n_q, n, generator=generator) for n in k_grid]
    torch.testing.assert_close(form(q, k, v, bias, k_grid), slow_attention(q, k, v, bias, k_grid))
    torch.testing.assert_close(form(q, k, v, [], k_grid), slow_attention(q, k, v, [], k_grid))


@pytest.mark.parametrize(('q_grid', 'k_grid'), GRIDS)
def test_forms_have_equal_gradients(q_grid, k_grid):
    generator = torch.Generator().manual_seed(0)
    n_q, n_k = math.prod(q_grid), math.prod(k_grid)
    shapes = [(1, 2, 1 + n_q, 4), (1, 2, 1 + n_k, 4), (1, 2, 1 + n_k, 4), *[(1, 2, n_q, n) for n in k_grid]]
    grads = []
    values = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    weight = torch.randn(1, 2, 1 + n_q, 4, generator=generator, dtype=torch.float64)
    for form in (explicit_attention, folded_attention):
        leaves = [value.clone().requires_grad_() for value in values]
        (form(*leaves[:3], leaves[3:], k_grid) * weight).sum().backward()
        grads.append([leaf.grad for leaf in leaves])
    for explicit, folded in zip(*grads, strict=True):
        torch.testing.assert_close(explicit, folded)


def make(**kwargs):
    args = dict(grid=(4, 6), q_stride=(2, 2), kv_stride=(2, 2), kernel=(3, 3)) | kwargs
    return MultiscaleAttention(8, 16, 2, **args).eval()


@pytest.mark.parametrize('attention', ['explicit', 'folded', 'tiled'])
def test_residual_is_the_pooled_query_without_class_token(attention):
    torch.manual_seed(0)
    with_residual, without = (make(residual_pooling=on, attention=attention) for on in (True, False))
    without.load_state_dict(with_residual.state_dict())
    x = torch.randn(3, 25, 8)
    out, grid = with_residual(x, (4, 6))
    assert grid == (2, 3)
    _, patches = with_residual.pool_q(with_residual.qkv(x)[..., :16], (4, 6))
    residual = F.pad(patches.flatten(2), (0, 0, 1, 0))
    expected = residual @ with_residual.proj.weight.t()
    torch.testing.assert_close(out - without(x, (4, 6))[0], expected, atol=1e-5, rtol=1e-5)


def test_relative_positions_matter_and_can_be_off():
    attn = make()
    x = torch.randn(2, 25, 8)
    before = attn(x, (4, 6))[0]
    for table in attn.rel_pos.tables:
        torch.nn.init.normal_(table)
    assert not torch.allclose(before, attn(x, (4, 6))[0])
    assert make(rel_pos=False)(x, (4, 6))[0].shape == (2, 7, 16)


def test_auto_is_what_the_situation_asks_for(monkeypatch):
    attn, x = make(kv_stride=(1, 1)).requires_grad_(False), torch.randn(2, 25, 8)
    seen = []
    for form in ('explicit', 'folded', 'tiled'):
        function = getattr(multiscale_attention, f'{form}_attention')

        def record(*args, form=form, function=function, **kwargs):
            seen.append(form)
            return function(*args, **kwargs)

        monkeypatch.setattr(multiscale_attention, f'{form}_attention', record)
    attn(x, (4, 6))  # 2 clips, 2 heads of 8, 6 queries, 24 keys: few scores
    monkeypatch.setattr(multiscale_attention, 'LEAST_SCORES', 2 * 2 * 6 * 6)
    make()(x, (4, 6))  # 6 keys: fewer than a head is wide
    attn(x, (4, 6))
    with torch.autocast('cpu', torch.bfloat16):
        attn(x, (4, 6))
    torch.jit.trace(lambda value: attn(value, (4, 6))[0], x, check_trace=False)
    copy.deepcopy(attn).to('meta')(x.to('meta'), (4, 6))
    assert seen == ['explicit', 'explicit', 'tiled', 'explicit', 'explicit', 'folded']


def test_bad_arguments():
    with pytest.raises(ValueError, match='num_heads=3 does not divide the width 16'):
        MultiscaleAttention(8, 16, 3, grid=(4,), q_stride=(1,), kv_stride=(1,), kernel=(3,))
    with pytest.raises(ValueError, match="attention='flash' is unknown: choose one of auto, explicit, folded, tiled"):
        make(attention='flash')


def test_another_projection_in_the_place_of_the_linear_one():
    attn, x = make(), torch.randn(2, 25, 8)
    before = attn(x, (4, 6))[0]
    attn.qkv = torch.nn.Sequential(attn.qkv)
    torch.testing.assert_close(attn(x, (4, 6))[0], before)
