"""Where the patch tokens of a block lie in the input: their grid, and the pixel or mel bin at the centre of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmav.errors import ConfigError
from mmav.models.layers import BLOCKS, MultiscaleBlock, PatchEmbed


class Axis(NamedTuple):
    """One axis of a grid: token k of ``length`` is centred at ``first + k * step``, in samples of the input from 0."""

    length: int
    first: float
    step: float

    def windowed(self, length: int, kernel: int, *, stride: int, padding: int) -> Axis:
        """The axis after a convolution or pooling that gives ``length`` tokens."""
        return Axis(length, self.first + self.step * ((kernel - 1) / 2 - padding), self.step * stride)


def has_token_axes(backbone: nn.Module) -> bool:
    """Whether it is known where the tokens of each block lie: ``patch_embed`` and ``blocks`` are layers of ours."""
    blocks = getattr(backbone, 'blocks', ())
    embed = getattr(backbone, 'patch_embed', None)
    return isinstance(embed, PatchEmbed) and len(blocks) > 0 and all(isinstance(block, BLOCKS) for block in blocks)


def even_axes(grid: Sequence[int], size: Sequence[int]) -> tuple[Axis, ...]:
    """The axes of tokens that stand for cells of one size, side by side.

    >>> even_axes((2,), (8,))
    (Axis(length=2, first=1.5, step=4.0),)
    """
    return tuple(Axis(n, (samples / n - 1) / 2, samples / n) for n, samples in zip(grid, size, strict=True))


def token_axes(backbone: nn.Module, size: Sequence[int], depth: int) -> tuple[Axis, ...]:
    """Follows the tokens of a backbone through its patch embedding and pooling.

    A convolution with padding centres its first token near the first pixel, not in the middle of a cell of size / N: on
    the last grid of MViTv2 the two are half a cell apart, 16 of 224 pixels.

    Args:
        backbone: An encoder with ``patch_embed`` and ``blocks``.
        size: Size of its input, (T, H, W) or (F, T).
        depth: How many of its blocks the tokens have passed.

    Raises:
        ConfigError: It is no such encoder.

    >>> from mmav.models import MAT
    >>> model = MAT(dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,)), (32, 64), q_strides=[(1, 2)])
    >>> token_axes(model, (32, 64), 1)
    (Axis(length=8, first=0.0, step=4.0), Axis(length=16, first=0.0, step=4.0))
    >>> token_axes(model, (32, 64), 2)[1]
    Axis(length=8, first=0.0, step=8.0)
    """
    if not has_token_axes(backbone):
        raise ConfigError(
            f'{type(backbone).__name__} has no patch_embed and blocks of mmav.models.layers, so where its tokens lie '
            'in the input is unknown'
        )
    embed: Any = backbone.patch_embed
    blocks: Any = backbone.blocks
    axes = tuple(
        Axis(length, 0.0, 1.0).windowed(count, kernel, stride=stride, padding=padding)
        for length, count, kernel, stride, padding in zip(
            size, embed.grid_of(size), embed.kernel, embed.stride, embed.padding, strict=True
        )
    )
    for block in list(blocks)[:depth]:
        if isinstance(block, MultiscaleBlock):
            pool = block.attn.pool_q
            counts = pool.out_grid([axis.length for axis in axes])
            axes = tuple(
                axis.windowed(count, kernel, stride=stride, padding=kernel // 2)
                for axis, count, kernel, stride in zip(axes, counts, pool.kernel, pool.stride, strict=True)
            )
    return axes


def spread(values: Tensor, axes: Sequence[Axis], size: Sequence[int]) -> Tensor:
    """Interpolates values of tokens to all samples of the input, linearly between the centres of the tokens.

    Beyond the first and the last centre the value stays what it is there.

    Args:
        values: (..., *grid).
        axes: The grid's axes.
        size: Size of the input.

    Returns:
        (..., *size).

    >>> spread(torch.tensor([0.0, 1.0]), [Axis(2, 1.0, 2.0)], [5])
    tensor([0.0000, 0.0000, 0.5000, 1.0000, 1.0000])
    """
    first_axis = values.dim() - len(axes)
    for k, (axis, samples) in enumerate(zip(axes, size, strict=True)):
        place = (torch.arange(samples, device=values.device, dtype=values.dtype) - axis.first) / axis.step
        centres = torch.arange(axis.length, device=values.device, dtype=values.dtype)
        weights = (1 - (place.clamp(0, axis.length - 1)[:, None] - centres).abs()).clamp(min=0)  # (samples, length)
        values = torch.tensordot(values, weights, dims=([first_axis + k], [1])).movedim(-1, first_axis + k)
    return values
