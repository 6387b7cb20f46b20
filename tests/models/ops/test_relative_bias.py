import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mmav.models.ops import relative_bias as module
from mmav.models.ops.relative_bias import (
    along,
    cached_onehot,
    onehot_positions,
    relative_bias,
    relative_bias_backward,
    relative_index,
    relative_index_of,
)


def test_index_of_equal_sizes_is_the_distance():
    index = relative_index(5, 5)
    i, j = torch.meshgrid(torch.arange(5), torch.arange(5), indexing='ij')
    assert torch.equal(index, i - j + 4)


def test_index_of_pooled_keys_or_queries_stays_in_the_table():
    for q_size, k_size in ((8, 4), (4, 8), (7, 4), (1, 8), (56, 7)):
        index = relative_index(q_size, k_size)
        assert index.shape == (q_size, k_size)
        assert index.min() >= 0
        assert index.max() <= 2 * max(q_size, k_size) - 2
        # a later key lies further back, and the two ends of the diagonal mirror each other
        assert (index[:, :-1] > index[:, 1:]).all() if k_size > 1 else True


def test_products_equal_a_slow_loop():
    torch.manual_seed(0)
    q_grid, k_grid = (4, 3, 5), (2, 3, 5)
    tables = [torch.randn(2 * max(sizes) - 1, 6) for sizes in zip(q_grid, k_grid, strict=True)]
    q = torch.randn(2, 60, 3, 6)
    products = relative_bias(q, tables, q_grid, k_grid)
    assert [tuple(p.shape) for p in products] == [(2, 60, 3, n) for n in k_grid]
    cells = torch.cartesian_prod(*(torch.arange(n) for n in q_grid))
    for axis in range(3):
        index = relative_index(q_grid[axis], k_grid[axis])
        for i, cell in enumerate(cells):
            for j in range(k_grid[axis]):
                expected = q[:, i] @ tables[axis][index[cell[axis], j]]
                torch.testing.assert_close(products[axis][:, i, :, j], expected)


@pytest.mark.parametrize(('q_grid', 'k_grid'), [((5,), (3,)), ((3, 4), (6, 2)), ((4, 3, 5), (2, 3, 5))])
def test_gradients_are_those_of_autograd(q_grid, k_grid):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)

    tables = [normal(2 * max(sizes) - 1, 6) for sizes in zip(q_grid, k_grid, strict=True)]
    q = normal(2, torch.tensor(q_grid).prod(), 3, 6)
    bias = relative_bias(q, tables, q_grid, k_grid)
    seeds = [torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in bias]
    of_q, *of_tables = torch.autograd.grad(bias, (q, *tables), seeds)
    with torch.no_grad():
        grad_q = torch.ones_like(q)
        own = relative_bias_backward(seeds, q, tables, q_grid, k_grid, grad_q=grad_q)
    torch.testing.assert_close(grad_q, of_q + 1)  # added to what was there
    for ours, theirs in zip(own, of_tables, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)  # summed in float32


def test_a_row_for_each_pair_is_a_table_of_places():
    """Of an axis from which slices were dropped; forward and backward, beside a whole axis."""
    generator = torch.Generator().manual_seed(0)
    table, whole, q = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((15, 6), (5, 6), (2, 5 * 3, 3, 6))
    )
    at_q, at_k = torch.tensor([0, 1, 4, 5, 7]), torch.tensor([0, 2])
    index = relative_index_of(8, 4, at_q, at_k)
    assert index.equal(relative_index(8, 4)[at_q][:, at_k])
    tables = [torch.nn.functional.embedding(index, table).flatten(0, 1), whole]
    bias = relative_bias(q, tables, (5, 3), (2, 3))
    expected = torch.einsum('bithd,ikd->bithk', q.unflatten(1, (5, 3)), table[index]).flatten(1, 2)
    torch.testing.assert_close(bias[0], expected)
    seeds = [torch.randn(part.shape, generator=generator, dtype=torch.float64) for part in bias]
    of_q, *of_tables = torch.autograd.grad(bias, (q, *tables), seeds)
    with torch.no_grad():
        grad_q = torch.zeros_like(q)
        own = relative_bias_backward(seeds, q, tables, (5, 3), (2, 3), grad_q=grad_q)
    torch.testing.assert_close(grad_q, of_q)
    for ours, theirs in zip(own, of_tables, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)  # summed in float32


def test_stand_ins_after_real_tensors():
    """The index that a real pass has left behind is none of a tracing mode's."""
    for mode in (torch.no_grad(), FakeTensorMode()):
        with mode:
            (product,) = relative_bias(torch.zeros(1, 5, 2, 4), [torch.zeros(9, 4)], (5,), (3,))
        assert product.shape == (1, 5, 2, 3)


def test_a_product_spreads_what_belongs_to_an_axis():
    grid = (2, 3, 4)
    parts = [torch.randn(size) for size in grid]
    expected = sum(part.view(along(axis, grid)) for axis, part in enumerate(parts)).flatten()
    positions = onehot_positions(grid, torch.empty(0))
    torch.testing.assert_close(positions @ torch.cat(parts), expected)


def test_computed_once_for_a_grid_a_type_and_a_place(monkeypatch):
    monkeypatch.setattr(module, '_onehots', {})
    like = torch.empty(0)
    with torch.inference_mode():
        first = cached_onehot((2, 3), 3, like)
    assert first.shape == (6, 8) and not first[:, 5:].any() and not first.is_inference()
    assert cached_onehot([2, 3], 3, like) is first
    assert cached_onehot((2, 3), 3, like.bfloat16()).dtype == torch.bfloat16
    assert cached_onehot((2, 3), 3, like.to('meta')).is_meta
