import torch

from mmav.models.ops import onehot
from mmav.models.ops.onehot import along, cached_onehot, onehot_positions


def test_a_product_spreads_what_belongs_to_an_axis():
    grid = (2, 3, 4)
    parts = [torch.randn(size) for size in grid]
    expected = sum(part.view(along(axis, grid)) for axis, part in enumerate(parts)).flatten()
    positions = onehot_positions(grid, torch.empty(0))
    torch.testing.assert_close(positions @ torch.cat(parts), expected)


def test_computed_once_for_a_grid_a_type_and_a_place(monkeypatch):
    monkeypatch.setattr(onehot, '_onehots', {})
    like = torch.empty(0)
    with torch.inference_mode():
        first = cached_onehot((2, 3), 3, like)
    assert first.shape == (6, 8) and not first[:, 5:].any() and not first.is_inference()
    assert cached_onehot([2, 3], 3, like) is first
    assert cached_onehot((2, 3), 3, like.bfloat16()).dtype == torch.bfloat16
    assert cached_onehot((2, 3), 3, like.to('meta')).is_meta
