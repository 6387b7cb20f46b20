import copy
import math

import pytest
import torch

from mmav.models.layers import MultiscaleAttention
from mmav.models.ops import attention
from mmav.models.ops.attention import explicit_attention, folded_attention

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


def test_auto_is_what_the_situation_asks_for(monkeypatch):
    def make(kv_stride):
        return MultiscaleAttention(8, 16, 2, grid=(4, 6), q_stride=(2, 2), kv_stride=kv_stride, kernel=(3, 3)).eval()

    attn, x = make((1, 1)).requires_grad_(False), torch.randn(2, 25, 8)
    seen = []
    for form in ('explicit', 'folded', 'tiled'):
        function = getattr(attention, f'{form}_attention')

        def record(*args, form=form, function=function, **kwargs):
            seen.append(form)
            return function(*args, **kwargs)

        monkeypatch.setattr(attention, f'{form}_attention', record)
    attn(x, (4, 6))  # 2 clips, 2 heads of 8, 6 queries, 24 keys: few scores
    monkeypatch.setattr(attention, 'LEAST_SCORES', 2 * 2 * 6 * 6)
    make((2, 2))(x, (4, 6))  # 6 keys: fewer than a head is wide
    attn(x, (4, 6))
    with torch.autocast('cpu', torch.bfloat16):
        attn(x, (4, 6))
    torch.jit.trace(lambda value: attn(value, (4, 6))[0], x, check_trace=False)
    copy.deepcopy(attn).to('meta')(x.to('meta'), (4, 6))
    assert seen == ['explicit', 'explicit', 'tiled', 'explicit', 'explicit', 'folded']
