import contextlib
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mmav.models.ops import attention
from mmav.models.ops import tiled_attention as module
from mmav.models.ops.attention import explicit_attention, tiled_attention
from mmav.models.ops.lean import lean
from mmav.models.ops.tiled_attention import Buffer, cut, multiply, tiles

# one, two and three axes; the last two have a bias of more columns than are added by a product
GRIDS = [((5,), (3,)), ((4, 6), (2, 3)), ((2, 4, 3), (2, 2, 3)), ((4, 6), (4, 30)), ((40,), (40,))]


@pytest.fixture(params=[(16, 1, 0), (16, 3, 99), (10**6, 32, 0), (10**6, 32, 99)], ids=str)
def tile(request, monkeypatch):
    """Many tiles or one, their probabilities computed again or kept."""
    names = ((module, 'TILE'), (module, 'FEWEST_ROWS'), (attention, 'KEPT_WIDTHS'))
    for (where, name), value in zip(names, request.param, strict=True):
        monkeypatch.setattr(where, name, value)


def draw(batch, heads, num_cls, q_grid, k_grid, dim=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    n_q, n_k = math.prod(q_grid), math.prod(k_grid)
    lengths = [n_q, n_k, n_k, *[num_cls] * 3]
    shapes = [(batch, n, heads, dim) for n in lengths] + [(batch, n_q, heads, n) for n in k_grid]
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


def explicit(q, k, v, q_cls, k_cls, v_cls, *bias, k_grid, residual):
    """The reference: the whole matrix, heads first."""
    q, k, v = (torch.cat(pair, dim=1).transpose(1, 2) for pair in ((q_cls, q), (k_cls, k), (v_cls, v)))
    out = explicit_attention(q, k, v, [part.transpose(1, 2) for part in bias], k_grid)
    if residual:
        out[:, :, q_cls.shape[1] :] += q[:, :, q_cls.shape[1] :]
    return out.transpose(1, 2)


def tiled(q, k, v, *rest, k_grid, residual):
    classes = rest[:3] if rest[0].shape[1] else ()
    return tiled_attention(q, k, v, rest[3:], k_grid, classes=classes, residual=residual)


@pytest.mark.usefixtures('tile')
@pytest.mark.parametrize(('q_grid', 'k_grid'), GRIDS)
@pytest.mark.parametrize(('batch', 'heads'), [(1, 1), (1, 3), (3, 2), (2, 3)])
@pytest.mark.parametrize('num_cls', [0, 1])
def test_values_and_gradients_equal_the_explicit_form(q_grid, k_grid, batch, heads, num_cls):
    residual, with_bias = heads != 2, batch != 2
    leaves = draw(batch, heads, num_cls, q_grid, k_grid)
    if not with_bias:
        leaves = leaves[:6]
    ours, theirs = (form(*leaves, k_grid=k_grid, residual=residual) for form in (tiled, explicit))
    torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(tiled(*leaves, k_grid=k_grid, residual=residual), theirs)
    seed = torch.randn(ours.shape, dtype=ours.dtype, generator=torch.Generator().manual_seed(1))
    used = [leaf for leaf in leaves if leaf.numel()]
    for own, other in zip(torch.autograd.grad(ours, used, seed), torch.autograd.grad(theirs, used, seed), strict=True):
        torch.testing.assert_close(own, other)


def test_exact_in_float32_at_the_size_of_an_encoder():
    q_grid, k_grid = (8, 28, 28), (8, 7, 7)
    leaves = draw(1, 2, 1, q_grid, k_grid, dim=96, dtype=torch.float32)
    with torch.no_grad():
        ours, theirs = (form(*leaves, k_grid=k_grid, residual=True) for form in (tiled, explicit))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


class LargestTensor(TorchDispatchMode):
    """Bytes of the largest memory that any operation, in the backward pass too, writes its result to."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize('long_rows', [True, False])
def test_nothing_of_the_size_of_the_matrix_is_allocated(long_rows, monkeypatch):
    monkeypatch.setattr(module, 'TILE', 2**15)
    monkeypatch.setattr(attention, 'KEPT_WIDTHS', 1 if long_rows else 100)
    q_grid, k_grid = (32, 32), (16, 32)
    leaves = draw(1, 1, 1, q_grid, k_grid, dim=16, dtype=torch.float32)
    matrix = 4 * math.prod(q_grid) * math.prod(k_grid)
    largest = {}
    for form in (tiled, explicit):
        with LargestTensor() as seen, contextlib.nullcontext() if long_rows else lean():
            form(*leaves, k_grid=k_grid, residual=True).sum().backward()
        largest[form] = seen.bytes
    assert largest[explicit] >= matrix
    assert largest[tiled] <= matrix / 8


def test_gradients_that_are_not_needed():
    leaves = draw(1, 2, 1, (4, 6), (2, 3))
    for leaf in leaves[1:]:
        leaf.requires_grad_(False)
    tiled(*leaves, k_grid=(2, 3), residual=True).sum().backward()
    assert leaves[0].grad is not None
    assert all(leaf.grad is None for leaf in leaves[1:])


@pytest.mark.usefixtures('tile')
@pytest.mark.parametrize('num_cls', [0, 1])
@pytest.mark.parametrize('needs_grad', [False, True])
def test_fake_tensors_have_the_shapes_of_real_ones(num_cls, needs_grad):
    leaves = [x.detach().requires_grad_(needs_grad) for x in draw(2, 3, num_cls, (4, 6), (4, 30))]
    q, k, v, *classes = leaves[:6]
    keep = needs_grad and k.shape[1] <= attention.KEPT_WIDTHS * q.shape[-1]
    arguments = (q, k, v, *(classes if num_cls else [None] * 3), None, leaves[6:], [4, 30], True, keep)
    tests = ('test_schema', 'test_faketensor', 'test_autograd_registration')
    torch.library.opcheck(torch.ops.mmav.tiled_attention, arguments, test_utils=tests)


@pytest.mark.parametrize('num_cls', [0, 1])
def test_operations_are_those_of_explicit_attention(num_cls):
    leaves = draw(2, 3, num_cls, (4, 6), (4, 30))
    counts = []
    for form in (tiled, explicit):
        with FlopCounterMode(display=False) as counter:
            form(*leaves, k_grid=(4, 30), residual=False)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 2 * 2 * 2 * 3 * 4 * (24 + num_cls) * (120 + num_cls)


@pytest.mark.parametrize('size', [1, 40, 100, 10**6])
@pytest.mark.parametrize(('batch', 'rows', 'heads'), [(1, 7, 1), (2, 70, 3), (5, 70, 2), (3, 33, 3)])
def test_tiles_cover_everything_once(batch, rows, heads, size, monkeypatch):
    monkeypatch.setattr(module, 'FEWEST_ROWS', 2)
    covered = torch.zeros(batch, rows, heads)
    for tile in tiles(batch, rows, heads, 10, size):
        covered[tile] += 1
        # at least two rows, whatever the size; otherwise no more than asked for, but rows come in sixteens
        assert covered[tile].numel() * 10 <= max(size, 20) + 15 * 10
        assert isinstance(tile[0], int) != isinstance(tile[2], int)
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ('tile', 'index'), [((1, slice(2, 5), slice(0, 2)), 'hrd'), ((slice(0, 2), slice(0, 7), 1), 'brd')]
)
def test_a_tile_is_a_batch_of_matrices(tile, index):
    x = torch.randn(2, 7, 3, 4)
    expected = x[tile].transpose(0, 1) if index == 'hrd' else x[tile]
    assert torch.equal(cut(x, tile), expected)
    assert torch.equal(cut(x, tile, rows=False)[:, tile[1]], expected)


def test_a_single_matrix_is_no_batch_and_lies_in_the_tensor():
    x = torch.zeros(2, 7, 3, 4)
    cut(x, (1, slice(2, 5), slice(2, 3))).fill_(1)
    assert x.sum() == x[1, 2:5, 2].sum() == 12
    assert cut(x, (slice(0, 1), slice(2, 5), 2)).shape == (3, 4)


@pytest.mark.parametrize('shape', [(), (3,)])
def test_products(shape):
    a, b, out = torch.randn(*shape, 4, 5), torch.randn(*shape, 5, 6), torch.randn(*shape, 4, 6)
    expected = out + 0.5 * a @ b
    multiply(a, b, out, add=True, scale=0.5)
    torch.testing.assert_close(out, expected)
    out.fill_(float('nan'))  # what is there must not matter
    multiply(a, b, out)
    torch.testing.assert_close(out, a @ b)


def test_a_buffer_is_used_again():
    buffer = Buffer(torch.zeros(1, dtype=torch.float64))
    first, second = buffer.take(2, 3), buffer.take(5)
    assert first.dtype == torch.float64 and second.shape == (5,)
    assert first.data_ptr() == second.data_ptr()
    assert buffer.take(10).shape == (10,)
