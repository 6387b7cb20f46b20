import torch

from mmav.models.ops.relative_bias import relative_bias, relative_index


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
