"""Hiera's block: attention within units of neighbouring tokens or over all, and pooling inside the units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmav.models.layers.transformer_block import MLP


class Units(NamedTuple):
    """The tokens of a grid, sorted into units.

    Attributes:
        x: Tokens (B, W, U, D): W units in row-major order, each of U tokens in row-major order.
        unit: The grid that U unrolls.
        real: Which tokens are no padding (W, U); None if all are real.
    """

    x: Tensor
    unit: tuple[int, ...]
    real: Tensor | None = None


def to_units(x: Tensor, grid: Sequence[int], unit: Sequence[int]) -> Units:
    """Sorts tokens (B, N, D) into units; a grid that they do not divide is padded at its ends.

    >>> import torch
    >>> tokens = torch.arange(12.0).reshape(1, 12, 1)
    >>> units = to_units(tokens, (3, 4), (2, 2))
    >>> units.x[0, :, :, 0].int().tolist()
    [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 0, 0], [10, 11, 0, 0]]
    >>> from_units(units, (3, 4)).equal(tokens)
    True
    """
    counts = [-(-n // u) for n, u in zip(grid, unit, strict=True)]
    ends = [count * u - n for count, u, n in zip(counts, unit, grid, strict=True)]
    x = x.unflatten(1, tuple(grid))
    real = None
    if any(ends):
        x = F.pad(x, _padding(ends, last=1))
        real = F.pad(x.new_ones(1, *grid, 1), _padding(ends, last=1))
        real = _sort(real, counts, unit)[0, :, :, 0] > 0
    return Units(_sort(x, counts, unit), tuple(unit), real)


def take_units(units: Units, places: Tensor) -> Units:
    """The units at these places (W',)."""
    real = None if units.real is None else units.real[places]
    return Units(units.x.index_select(1, places), units.unit, real)


def from_units(units: Units, grid: Sequence[int]) -> Tensor:
    """The tokens (B, N, D) of a grid, without padding."""
    counts = [-(-n // u) for n, u in zip(grid, units.unit, strict=True)]
    rank = len(counts)
    x = units.x.unflatten(2, units.unit).unflatten(1, tuple(counts))  # (B, *counts, *unit, D)
    x = x.permute(0, *(axis for k in range(rank) for axis in (1 + k, 1 + rank + k)), 1 + 2 * rank)
    for k in range(rank):
        x = x.flatten(1 + k, 2 + k).narrow(1 + k, 0, grid[k])
    return x.flatten(1, rank)


def _padding(ends: Sequence[int], last: int) -> list[int]:
    """Argument of ``F.pad`` for these ends of the axes in front of the ``last`` ones."""
    return [0, 0] * last + [value for end in reversed(ends) for value in (0, end)]


def _sort(x: Tensor, counts: Sequence[int], unit: Sequence[int]) -> Tensor:
    """(B, *grid, D) -> (B, W, U, D)."""
    rank = len(counts)
    for k in reversed(range(rank)):
        x = x.unflatten(1 + k, (counts[k], unit[k]))  # (B, count, unit, count, unit, ..., D)
    x = x.permute(0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    return x.flatten(1 + rank, 2 * rank).flatten(1, rank)


def pool_units(units: Units, stride: Sequence[int]) -> Units:
    """The maximum over neighbours inside the units, of real tokens only; ``x`` may have further axes after U."""
    if math.prod(stride) == 1:
        return units
    x, unit, real = units
    if real is not None:
        x = x.masked_fill(~real.view(*real.shape, *(1,) * (x.dim() - 3)), -math.inf)
    smaller = tuple(u // s for u, s in zip(unit, stride, strict=True))
    x = _max(x, 2, unit, stride)
    if real is not None:
        real = _max(real.float()[None, :, :, None], 2, unit, stride)[0, :, :, 0] > 0
        x = x.masked_fill(~real.view(*real.shape, *(1,) * (x.dim() - 3)), 0)
    return Units(x, smaller, real)


def _max(x: Tensor, axis: int, unit: Sequence[int], stride: Sequence[int]) -> Tensor:
    x = x.unflatten(axis, tuple(n for u, s in zip(unit, stride, strict=True) for n in (u // s, s)))
    rank = len(unit)
    x = x.amax(dim=tuple(range(axis + 1, axis + 2 * rank, 2)))
    return x.flatten(axis, axis + rank - 1)


class MaskUnitAttention(nn.Module):
    """Self-attention within each unit, or over all tokens; the queries are pooled first.

    Args:
        in_dims: Width of the tokens.
        out_dims: Width of queries, keys, values and the result.
        num_heads: Heads; must divide ``out_dims``.
        stride: Stride of the pooling, one entry per axis.
        within: Whether tokens attend within their unit only.

    Raises:
        ValueError: If ``num_heads`` does not divide ``out_dims``.
    """

    def __init__(self, in_dims: int, out_dims: int, num_heads: int, *, stride: Sequence[int], within: bool) -> None:
        super().__init__()
        if out_dims % num_heads:
            raise ValueError(f'num_heads={num_heads} does not divide the width {out_dims}')
        self.num_heads = num_heads
        self.stride = tuple(stride)
        self.within = within
        self.qkv = nn.Linear(in_dims, 3 * out_dims)
        self.proj = nn.Linear(out_dims, out_dims)

    def forward(self, units: Units) -> Tensor:
        """Returns (B, W, U after pooling, out_dims)."""
        q, k, v = self.qkv(units.x).unflatten(-1, (3, self.num_heads, -1)).unbind(3)  # (B, W, U, heads, d) each
        q = pool_units(units._replace(x=q), self.stride).x
        windows, mask = q.shape[1:3], units.real
        if self.within:
            q, k, v = (x.flatten(0, 1).transpose(1, 2) for x in (q, k, v))  # (B * W, heads, U, d)
            if mask is not None:
                mask = mask.repeat(units.x.shape[0], 1)[:, None, None]
        else:
            q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))  # (B, heads, W * U, d)
            if mask is not None:
                mask = mask.flatten()[None, None, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        return self.proj(out.reshape(-1, *windows, out.shape[-1]))


class MaskUnitBlock(nn.Module):
    """One block of Hiera (Ryali et al. 2023; facebookresearch/hiera, hiera/hiera.py).

    pool(LN(x) W) + attention(LN(x)) where the width changes, else x + attention(LN(x)); then x + MLP(LN(x)).

    Args:
        in_dims: Width of the tokens.
        out_dims: Their width afterwards.
        num_heads: Heads of the attention.
        stride: Stride of the pooling, one entry per axis.
        within: Whether tokens attend within their unit only.
        mlp_ratio: Hidden width of the MLP over ``out_dims``.
        drop_path: Probability of dropping a residual branch in training.
    """

    def __init__(
        self,
        in_dims: int,
        out_dims: int,
        num_heads: int,
        *,
        stride: Sequence[int],
        within: bool,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(in_dims, eps=1e-6)
        self.attn = MaskUnitAttention(in_dims, out_dims, num_heads, stride=stride, within=within)
        self.norm2 = nn.LayerNorm(out_dims, eps=1e-6)
        self.mlp = MLP(out_dims, int(out_dims * mlp_ratio), out_dims)
        self.proj = nn.Linear(in_dims, out_dims) if in_dims != out_dims else None
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, units: Units) -> Units:
        normed = units._replace(x=self.norm1(units.x))
        kept = units if self.proj is None else normed._replace(x=self.proj(normed.x))
        kept = pool_units(kept, self.attn.stride)
        x = kept.x + self.drop_path(self.attn(normed))
        return kept._replace(x=x + self.drop_path(self.mlp(self.norm2(x))))
