import torch

from mmav.models.layers import RelativePosition
from mmav.models.layers.relative_position import relative_index, resize_table


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
    module = RelativePosition(6, q_grid, k_grid)
    for table in module.tables:
        torch.nn.init.normal_(table)
    q = torch.randn(2, 60, 3, 6)
    products = module(q, q_grid, k_grid)
    assert [tuple(p.shape) for p in products] == [(2, 60, 3, n) for n in k_grid]
    cells = torch.cartesian_prod(*(torch.arange(n) for n in q_grid))
    for axis in range(3):
        index = relative_index(q_grid[axis], k_grid[axis])
        for i, cell in enumerate(cells):
            for j in range(k_grid[axis]):
                expected = q[:, i] @ module.tables[axis][index[cell[axis], j]]
                torch.testing.assert_close(products[axis][:, i, :, j], expected)


def test_tables_are_interpolated_for_other_sizes():
    table = torch.arange(5.0)[:, None].expand(5, 3)
    assert resize_table(table, 5) is table
    resized = resize_table(table, 9)
    assert resized.shape == (9, 3)
    assert (resized.diff(dim=0) >= 0).all()
    assert resize_table(table.bfloat16(), 9).dtype == torch.bfloat16
    module = RelativePosition(3, (3, 3), (3, 3))
    assert [p.shape[-1] for p in module(torch.randn(1, 30, 1, 3), (5, 6), (5, 6))] == [5, 6]


def test_training_after_inference():
    module = RelativePosition(3, (4,), (4,))
    with torch.inference_mode():
        module(torch.randn(1, 4, 1, 3), (4,), (4,))
    module(torch.randn(1, 4, 1, 3), (4,), (4,))[0].sum().backward()
    assert module.tables[0].grad is not None
