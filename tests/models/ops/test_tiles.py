import pytest
import torch

from mmav.models.ops import tiles as module
from mmav.models.ops.tiles import Buffer, cut, multiply, tiles


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
