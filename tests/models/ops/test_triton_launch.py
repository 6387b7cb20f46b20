import math
import sys

import pytest
import torch

pytest.importorskip('triton')
from mmav.errors import ConfigError
from mmav.models.ops import triton_launch
from mmav.models.ops.relative_bias import relative_bias
from mmav.models.ops.triton_launch import Plan, choose_blocks, load_kernel, pieces

KERNELS = ('attention_forward', 'attention_backward_queries', 'attention_backward_keys')


@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_blocks_are_what_triton_takes(kernel, dtype):
    for dim in (32, 64, 96, 128):
        for outer in (0, 16, 32, 64, 128, 512):
            blocks = choose_blocks(kernel, dtype, dim=dim, outer=outer)
            for size in (blocks.queries, blocks.keys, blocks.warps):
                assert size & (size - 1) == 0
            assert min(blocks.queries, blocks.keys) >= 16
            assert max(blocks.queries, blocks.keys) * outer <= 8192  # numbers, of a tile's positions


def test_pieces_hold_every_width():
    for dim in range(1, 129):
        first, second = pieces(dim)
        assert first + second >= dim
        assert all(size == 0 or (size >= 16 and size & (size - 1) == 0) for size in (first, second))
    assert pieces(96) == (64, 32)


@pytest.mark.parametrize('k_grid', [(5,), (3, 4), (2, 3, 5)])
def test_workspace_holds_the_bias_of_each_axis_and_zeros(k_grid):
    q_grid = k_grid[::-1]
    q = torch.randn(2, math.prod(q_grid), 3, 8)
    tables = [torch.randn(2 * max(pair) - 1, 8) for pair in zip(q_grid, k_grid, strict=True)]
    plan = Plan.of(k_grid, has_tables=True, has_class=False)
    workspace = plan.bias(q, tables, q_grid, k_grid)
    assert workspace.shape == (*q.shape[:3], plan.width)
    expected = relative_bias(q, tables, q_grid, k_grid)
    for part, other in zip(plan.parts(workspace, k_grid), expected, strict=True):
        torch.testing.assert_close(part, other)
    total = sum(part.abs().sum() for part in expected)
    torch.testing.assert_close(workspace.abs().sum(), total)


def test_interpreted_and_compiled_kernels_live_side_by_side(monkeypatch):
    before = {name for name in sys.modules if name.startswith('mmav.')}
    for kernel in KERNELS:
        kinds = []
        for value in '101':
            monkeypatch.setenv('TRITON_INTERPRET', value)
            kinds.append(load_kernel(kernel))
        assert kinds[0] is kinds[2]
        assert [type(kind).__name__ for kind in kinds[:2]] == ['InterpretedFunction', 'JITFunction']
    assert {name for name in sys.modules if name.startswith('mmav.')} == before


def test_missing_triton_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', None)
    with pytest.raises(ConfigError, match="needs triton .*use attention='auto'"):
        load_kernel('attention_forward')


@pytest.mark.parametrize(('programs', 'splits'), [(1, 1), (8, 2), (100, 3)])
def test_queries_are_shared_out_where_keys_are_few(programs, splits, monkeypatch):
    """And the shares add up."""
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    monkeypatch.setattr(triton_launch, 'choose_blocks', lambda *_, **__: triton_launch.Blocks(16, 16, 4, 2))
    launched = []
    kernel = load_kernel('attention_backward_keys')
    monkeypatch.setattr(type(kernel), 'run', _recording(type(kernel).run, launched))
    torch.manual_seed(0)
    q, k, v, grad = (torch.randn(1, length, 2, 16) for length in (40, 20, 20, 40))
    given = (q, k, v, *[None] * 3, [], (40,), (20,), False)
    out, lse = triton_launch.forward(*given)
    monkeypatch.setattr(triton_launch, 'PROGRAMS', programs)
    grads = triton_launch.backward(grad, *given, out, lse)
    assert launched[-1] == (2 * splits * 2,)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    by_head = [x.transpose(1, 2) for x in leaves]
    expected = torch.nn.functional.scaled_dot_product_attention(*by_head).transpose(1, 2)
    for own, other in zip(grads, torch.autograd.grad(expected, leaves, grad), strict=True):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)


def _recording(run, launched):
    def recorded(self, *given, grid, **options):
        launched.append(grid)
        return run(self, *given, grid=grid, **options)

    return recorded
