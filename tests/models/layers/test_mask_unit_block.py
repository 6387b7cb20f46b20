import pytest
import torch
import torch.nn.functional as F

from mmav.models.layers.mask_unit_block import MaskUnitAttention, from_units, pool_units, to_units

GRIDS = [((4, 6), (2, 3)), ((5, 7), (2, 4)), ((3, 4, 6), (1, 2, 2)), ((2, 5, 3), (1, 4, 4)), ((7,), (4,))]


@pytest.mark.parametrize(('grid', 'unit'), GRIDS)
def test_sorting_back_gives_the_tokens(grid, unit):
    x = torch.randn(2, torch.Size(grid).numel(), 3)
    units = to_units(x, grid, unit)
    assert units.x.shape[2] == torch.Size(unit).numel() and from_units(units, grid).equal(x)
    number = units.x.shape[1] * units.x.shape[2]
    assert (units.real is None) == (number == x.shape[1])
    if units.real is not None:
        assert units.real.sum() == x.shape[1] and not units.x[:, ~units.real].any()


@pytest.mark.parametrize(
    ('grid', 'unit', 'stride'), [((8, 12), (4, 4), (2, 2)), ((5, 7), (4, 4), (2, 2)), ((2, 5, 3), (1, 4, 4), (1, 2, 4))]
)
def test_pooling_is_max_pooling_of_the_grid(grid, unit, stride):
    """torch's, whose ceil_mode takes the maximum over what there is at the ends."""
    x = torch.randn(2, torch.Size(grid).numel(), 3)
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[len(grid)]
    expected = pool(x.transpose(1, 2).unflatten(2, grid), stride, ceil_mode=True)
    pooled = pool_units(to_units(x, grid, unit), stride)
    torch.testing.assert_close(from_units(pooled, expected.shape[2:]), expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize('within', [True, False])
def test_attention_sees_real_tokens_only(within):
    """A slow loop over the queries, with the keys of their unit or of all."""
    torch.manual_seed(0)
    attention = MaskUnitAttention(4, 6, 2, stride=(1, 1), within=within)
    units = to_units(torch.randn(2, 15, 4), (3, 5), (2, 2))
    out = attention(units)
    q, k, v = attention.qkv(units.x).chunk(3, dim=-1)
    for window in range(units.x.shape[1]):
        for place in range(4):
            keys = units.real.clone()
            if within:
                keys[[w for w in range(len(keys)) if w != window]] = False
            heads = []
            for head in (slice(0, 3), slice(3, 6)):
                scores = (k[:, keys][..., head] @ q[:, window, place, head, None]).squeeze(-1) / 3**0.5
                heads.append((scores.softmax(dim=1)[..., None] * v[:, keys][..., head]).sum(dim=1))
            torch.testing.assert_close(out[:, window, place], attention.proj(torch.cat(heads, dim=-1)))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match='num_heads=4 does not divide the width 6'):
        MaskUnitAttention(4, 6, 4, stride=(1,), within=True)
