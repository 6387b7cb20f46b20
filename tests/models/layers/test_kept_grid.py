"""Dropped slices of a multiscale encoder's grid, against the encoder of all tokens with the dropped ones masked."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmav.errors import ConfigError
from mmav.models import MAT, MViTv2
from mmav.models.layers.kept_grid import KeptAxis, Spread, drop_units, spread_cells, take_results, take_units, unit_of
from mmav.models.layers.token_drop import TokenDrop
from mmav.models.ops.relative_bias import relative_index

CONVS, POOLS = {2: F.conv2d, 3: F.conv3d}, {2: F.max_pool2d, 3: F.max_pool3d}


def axis(size, unit, *units):
    return KeptAxis(size, unit, torch.tensor(units))


def test_a_kept_axis_by_hand():
    kept = axis(11, 4, 0, 2)  # the last unit has three cells
    assert kept.length == 7 and kept.cells().tolist() == [0, 1, 2, 3, 8, 9, 10]
    half = kept.pooled(2)
    assert half.size == 6 and half.length == 4 and half.cells().tolist() == [0, 1, 4, 5]


def test_gaps_lie_between_units_that_were_no_neighbours():
    kept = axis(16, 2, 1, 2, 5)
    spread = Spread.of((kept,), (3,), (1,))
    cells = torch.arange(1.0, 7)[None, :, None]
    assert spread_cells(cells, spread.places, spread.sizes, 0.0).flatten().tolist() == [1, 2, 3, 4, 0, 5, 6, 0]
    assert take_results(torch.arange(8.0)[None, :, None], spread.results).flatten().tolist() == [0, 1, 2, 3, 5, 6]
    # with a stride of 2 the gap is as long, so that windows keep their centres
    assert Spread.of((kept,), (3,), (2,)).places[0].tolist() == [0, 1, 2, 3, 6, 7]
    # a window of 7 reaches over one dropped unit of two cells: the gap is no wider than what was dropped
    assert Spread.of((axis(8, 2, 0, 2),), (7,), (1,)).places[0].tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize(
    ('strides', 'kernel', 'unit'),
    [
        ([((1, 1), (2, 2)), ((2, 2), (1, 1)), ((1, 2), (1, 1))], (3, 3), (2, 4)),
        ([((1, 1, 1), (1, 8, 8)), ((1, 2, 2), (1, 4, 4)), ((1, 2, 2), (1, 2, 2))], (3, 3, 3), (1, 8, 8)),
        ([((3,), (2,))], (5,), (6,)),
    ],
)
def test_unit_is_a_multiple_of_all_strides(strides, kernel, unit):
    assert unit_of(strides, kernel) == unit


def masked_pool(x, keep, grid, pool):
    """A pooling with LayerNorm of (B, 1 + N, heads * d), in which dropped tokens are zero."""
    heads, rank = x.shape[-1] // pool.head_dim, len(grid)
    x = x.unflatten(-1, (heads, pool.head_dim))
    cells = (x[:, 1:] * keep.flatten()[:, None, None]).unflatten(1, grid).movedim((-2, -1), (1, 2)).flatten(0, 1)
    options = dict(stride=pool.stride, padding=[k // 2 for k in pool.kernel], groups=pool.head_dim)
    out = CONVS[rank](cells, pool.conv.weight, **options).unflatten(0, (-1, heads))  # (B, heads, d, *grid)
    new_grid = tuple(out.shape[3:])
    out = out.flatten(3).permute(0, 3, 1, 2)
    return pool.norm(torch.cat((x[:, :1], out), dim=1)), new_grid


def shrink(keep, stride):
    return keep[tuple(slice(None, None, step) for step in stride)]


def masked_block(block, x, keep):
    """A block of all tokens: dropped ones are zero in convolutions, never the maximum, and no key."""
    grid, attn = tuple(keep.shape), block.attn
    normed = block.norm1(x)
    q, k, v = attn.qkv(normed).chunk(3, dim=-1)
    (q, q_grid), (k, k_grid), (v, _) = (
        masked_pool(t, keep, grid, pool) for t, pool in ((q, attn.pool_q), (k, attn.pool_k), (v, attn.pool_v))
    )
    scores = torch.einsum('bihd,bjhd->bhij', q, k) / q.shape[-1] ** 0.5
    bias = 0
    for number, table in enumerate(attn.rel_pos.sized(q_grid, k_grid)):
        index = relative_index(q_grid[number], k_grid[number])
        at_q, at_k = (torch.cartesian_prod(*map(torch.arange, sizes))[:, number] for sizes in (q_grid, k_grid))
        bias = bias + torch.einsum('bihd,ijd->bhij', q[:, 1:], table[index[at_q][:, at_k]])
    scores = scores + F.pad(bias, (1, 0, 1, 0))
    keys = F.pad(shrink(keep, attn.pool_k.stride).flatten(), (1, 0), value=True)
    out = torch.einsum('bhij,bjhd->bihd', scores.masked_fill(~keys, -math.inf).softmax(-1), v)
    out = attn.proj((out + F.pad(q[:, 1:], (0, 0, 0, 0, 1, 0))).flatten(2))
    skip = x if block.proj is None else block.proj(normed)
    new_keep = shrink(keep, block.q_stride)
    if math.prod(block.q_stride) > 1:
        cells = skip[:, 1:].masked_fill(~keep.flatten()[:, None], -math.inf).transpose(1, 2).unflatten(2, grid)
        kernel = [s + 1 if s > 1 else 1 for s in block.q_stride]
        cells = POOLS[len(grid)](cells, kernel, block.q_stride, [k // 2 for k in kernel]).flatten(2).transpose(1, 2)
        skip = torch.cat((skip[:, :1], cells.masked_fill(~new_keep.flatten()[:, None], 0)), dim=1)
    x = skip + out
    return x + block.mlp(block.norm2(x)), new_keep


def masked_encoder(model, x, keep):
    x, _ = model.patch_embed(x)
    x = torch.cat((model.cls_token.expand(len(x), -1, -1), x), dim=1)
    for block in model.blocks:
        x, keep = masked_block(block, x, keep)
    x = model.norm(x)
    return x[:, 0], x[:, 1:][:, keep.flatten()], keep


ARCH = dict(embed_dims=8, num_layers=4, num_heads=1, stage_blocks=(1, 3))
# even grids, grids that units do not divide, and run-time sizes whose positions are interpolated
CASES = [
    pytest.param(MAT, (64, 128), (64, 128), (0.25, 0.5), dict(q_strides=[(2, 2), (1, 2)]), id='MAT'),
    pytest.param(MAT, (64, 128), (60, 150), (0.25, 0.5), dict(q_strides=[(2, 2), (1, 2)]), id='MAT odd'),
    pytest.param(MAT, (32, 96), (32, 96), (0.5, 0.4), dict(q_strides=[(2, 2), (2, 2)], kv_stride=(1, 4)), id='MAT kv'),
    pytest.param(MAT, (64, 64), (64, 64), (0.5, 0.5), dict(q_strides=[(1, 2), (1, 2)], pool_kernel=5), id='MAT 5'),
    pytest.param(MViTv2, (8, 64, 64), (8, 64, 64), (0.5, 0.5, 0.25), dict(kv_stride=(1, 4, 4)), id='MViTv2'),
    pytest.param(MViTv2, (8, 64, 64), (6, 72, 64), (0.4, 0.0, 0.5), dict(kv_stride=(1, 2, 2)), id='MViTv2 odd'),
]


def model_of(kind, size, axes, **kwargs):
    torch.manual_seed(0)
    model = kind(ARCH, input_size=size, token_drop=dict(axes=axes), **kwargs).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.01, std=0.2)
    return model


def kept_by(model, grid, seed):
    """What the model of this seed keeps, as a mask of the first grid."""
    torch.manual_seed(seed)
    kept = drop_units(grid, model.drop_unit, model.token_drop, torch.device('cpu'))
    keep = torch.ones(grid, dtype=torch.bool)
    for number, each in enumerate(kept):
        if each is not None:
            of_axis = torch.zeros(grid[number], dtype=torch.bool)
            of_axis[each.cells()] = True
            keep &= of_axis.view([-1 if n == number else 1 for n in range(len(grid))])
    return keep


@pytest.mark.parametrize(('kind', 'built', 'size', 'axes', 'kwargs'), CASES)
def test_kept_tokens_are_those_of_all_tokens_with_a_mask(kind, built, size, axes, kwargs):
    model = model_of(kind, built, axes, **kwargs).train()
    x = torch.randn(2, model.in_channels, *size, dtype=torch.float64)
    grid = model.patch_embed.grid_of(size)
    for seed in range(3):
        keep = kept_by(model, grid, seed)
        torch.manual_seed(seed)
        tokens = model(x)
        assert math.prod(tokens.grid) == tokens.patches.shape[1]
        cls, patches, left = masked_encoder(model, x, keep)
        # the grid that is left is one, whatever was dropped
        assert tokens.grid == tuple(
            int(left.any(dim=tuple(n for n in range(left.dim()) if n != axis)).sum()) for axis in range(left.dim())
        )
        torch.testing.assert_close(tokens.cls, cls)
        torch.testing.assert_close(tokens.patches, patches)
        ours = torch.autograd.grad(tokens.cls.sum() + tokens.patches.pow(2).sum(), model.parameters())
        theirs = torch.autograd.grad(cls.sum() + patches.pow(2).sum(), model.parameters())
        for (name, _), own, reference in zip(model.named_parameters(), ours, theirs, strict=True):
            torch.testing.assert_close(own, reference, msg=name, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize('form', ['folded', 'tiled'])
def test_every_form_of_attention_has_the_places(form):
    found = []
    for attention in ('explicit', form):
        model = model_of(MAT, (64, 128), (0.25, 0.5), q_strides=[(2, 2), (1, 2)], attention=attention).train()
        torch.manual_seed(1)
        tokens = model(torch.randn(2, 1, 64, 128, generator=torch.Generator().manual_seed(0)).double())
        grads = torch.autograd.grad(tokens.cls.pow(2).sum() + tokens.patches.sum(), model.parameters())
        found.append((tokens.patches, grads))
    torch.testing.assert_close(*found)


def test_as_many_tokens_in_every_step():
    """Shapes never depend on what was drawn, for compilers and the memory plan."""
    drop, device = TokenDrop(axes=(0.25, 0.5)), torch.device('cpu')
    found = set()
    for seed in range(20):
        torch.manual_seed(seed)
        kept = drop_units((9, 32), (2, 4), drop, device)
        _, grid = take_units(torch.zeros(1, 9 * 32, 1), (9, 32), kept)
        spreads = [Spread.of(kept, (3, 3), stride) for stride in ((1, 1), (2, 4))]
        found.add((grid, *(spread.sizes for spread in spreads)))
        for spread in spreads:
            assert all(place.max() < size for place, size in zip(spread.places, spread.sizes, strict=True))
    assert len(found) == 1 and found.pop()[0] == (7, 16)


def test_even_kernels_are_refused():
    with pytest.raises(ConfigError, match=r'odd pooling kernels, not pool_kernel=\(2, 2\)'):
        MAT(ARCH, (64, 64), q_strides=[(2, 2), (1, 2)], pool_kernel=2, token_drop=dict(axes=(0.5, 0.0)))
