import numpy as np
import pytest
import torch
from torch import nn

from mmav.errors import ConfigError
from mmav.models import AST, MAT, MViTv2
from mmav.visualization.token_grid import Axis, spread, token_axes

ARCH = dict(embed_dims=8, num_layers=3, num_heads=1, stage_blocks=(1, 2))


@pytest.mark.parametrize(
    ('backbone', 'size'),
    [
        (MViTv2(ARCH, (4, 64, 64)), (5, 50, 71)),
        (MAT(ARCH, (64, 96), q_strides=[(2, 2), (1, 2)]), (70, 101)),
        (AST((48, 64), embed_dims=8, num_layers=2, num_heads=2), (57, 66)),
    ],
)
def test_centres_are_where_the_gradient_of_a_token_lies(backbone, size):
    """All weights 1: what a token takes from the input lies evenly around its centre, where no border cuts it off."""
    for depth in range(len(backbone.blocks) + 1):
        x = torch.zeros(1, backbone.patch_embed.in_channels, *size, dtype=torch.float64, requires_grad=True)
        nn.init.ones_(backbone.patch_embed.proj.weight)
        tokens, grid = backbone.patch_embed.double()(x)
        values = tokens.transpose(1, 2).unflatten(2, grid)[:, :1]
        for block in backbone.blocks[:depth]:
            pool = getattr(block.attn, 'pool_q', None)
            if pool is not None:
                conv = type(pool.conv)(1, 1, pool.kernel, pool.stride, [k // 2 for k in pool.kernel], bias=False)
                nn.init.ones_(conv.weight)
                values = conv.double()(values)
        axes = token_axes(backbone, size, depth)
        assert tuple(axis.length for axis in axes) == values.shape[2:]
        middle = [n // 2 for n in values.shape[2:]]
        (reach,) = torch.autograd.grad(values[(0, 0, *middle)], x)
        reach = reach[0, 0]
        for k, (axis, n) in enumerate(zip(axes, middle, strict=True)):
            along = reach.sum(dim=[d for d in range(reach.dim()) if d != k])
            whole = along[0] == 0 == along[-1]
            centre = float((along * torch.arange(len(along))).sum() / along.sum())
            assert not whole or centre == pytest.approx(axis.first + n * axis.step)


def test_spread_is_linear_interpolation_along_each_axis():
    axes, size = [Axis(3, 0.5, 4.0), Axis(4, -1.0, 3.0)], (13, 12)
    values = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = spread(values, axes, size).numpy()
    centres = [axis.first + axis.step * np.arange(axis.length) for axis in axes]
    for clip, each in zip(values.numpy(), found, strict=True):
        rows = np.stack([np.interp(np.arange(13), centres[0], column) for column in clip.T], axis=1)
        np.testing.assert_allclose(each, np.stack([np.interp(np.arange(12), centres[1], row) for row in rows]))


def test_an_encoder_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match='Linear has no patch_embed and blocks'):
        token_axes(nn.Linear(2, 2), (4,), 0)
