"""One block of the multiscale transformer, Eq. 1, with its attention, MMSA of Eq. 2, on a grid of any rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmav.adapting import Adapted, Hints
from mmav.models.layers.kept_grid import BlockLayout
from mmav.models.layers.pooling import TokenPool, max_pool_tokens
from mmav.models.layers.transformer_block import MLP
from mmav.models.ops.attention import attend, check_form
from mmav.models.ops.eager import cheap, halved, is_plain, normalised


def resize_table(table: Tensor, length: int) -> Tensor:
    """Interpolates a table (rows, D) linearly to ``length`` rows, like public MViTv2 code for other input sizes."""
    if table.shape[0] == length:
        return table
    resized = F.interpolate(table.t()[None].float(), size=length, mode='linear')
    return resized[0].t().to(table.dtype)


class RelativePosition(nn.Module):
    """Decomposed relative positions of one attention layer: a table per axis, shared by the heads (Eq. 2).

    Args:
        head_dim: Width of one head.
        q_grid: Grid of the pooled queries at the input size of construction.
        k_grid: Grid of the pooled keys at that size.
    """

    def __init__(self, head_dim: int, q_grid: Sequence[int], k_grid: Sequence[int]) -> None:
        super().__init__()
        self.tables = nn.ParameterList(
            nn.Parameter(torch.zeros(2 * max(q, k) - 1, head_dim)) for q, k in zip(q_grid, k_grid, strict=True)
        )

    def adapt_weight(self, name: str, value: Tensor, hints: Hints) -> Adapted | None:
        """A table of another input size, interpolated as at run time; None for other weights.

        Args:
            name: Name of the parameter within this module.
            value: The value in the file.
            hints: Not used: the length of a table is enough.
        """
        own = self.get_parameter(name)
        if value.dim() != 2 or value.shape[1] != own.shape[1]:
            return None
        return Adapted(resize_table(value, own.shape[0]), f'{value.shape[0]} rows interpolated to {own.shape[0]}')

    def sized(self, q_grid: Sequence[int], k_grid: Sequence[int]) -> list[Tensor]:
        """Returns the tables, interpolated if the grids differ from those at construction."""
        sizes = (2 * max(q, k) - 1 for q, k in zip(q_grid, k_grid, strict=True))
        return [resize_table(table, size) for table, size in zip(self.tables, sizes, strict=True)]

    def at(self, layout: BlockLayout) -> list[Tensor]:
        """Per axis the table, or a row for each query and key that are left of an axis (queries * keys, D)."""
        return [
            # F.embedding, as the backward pass of indexing is slow on a CPU
            table if rows is None else F.embedding(rows, table).flatten(0, 1)
            for table, rows in zip(self.sized(layout.q_grid, layout.k_grid), layout.rows, strict=True)
        ]


class MultiscaleAttention(nn.Module):
    """Self-attention over pooled queries, keys and values with decomposed relative positions and residual pooling.

    softmax(Q K^T / sqrt(d) + E_rel) V + Q (Eq. 2): E_rel comes from the unscaled pooled query and is zero for the class
    token, and the residual excludes the class token, as public MViTv2 weights expect (facebookresearch/SlowFast,
    slowfast/models/attention.py).

    Args:
        in_dims: Width of the incoming tokens.
        out_dims: Width of the outgoing tokens; a stage widens in its first attention layer.
        num_heads: Heads; must divide ``out_dims``.
        grid: Grid of the incoming tokens at the input size of construction; determines the lengths of the tables.
        q_stride: Stride of the queries, one entry per axis.
        kv_stride: Stride of keys and values, one entry per axis.
        kernel: Kernel of the pooling convolutions, one entry per axis.
        qkv_bias: Whether the projection to queries, keys and values has a bias.
        rel_pos: Whether there are relative positions.
        residual_pooling: Whether the pooled query is added to the result.
        attention: One of the forms of :func:`~mmav.models.ops.attention.attend`.

    Raises:
        ValueError: If ``num_heads`` does not divide ``out_dims``.
        ConfigError: If ``attention`` is unknown.
    """

    def __init__(
        self,
        in_dims: int,
        out_dims: int,
        num_heads: int,
        *,
        grid: Sequence[int],
        q_stride: Sequence[int],
        kv_stride: Sequence[int],
        kernel: Sequence[int],
        qkv_bias: bool = True,
        rel_pos: bool = True,
        residual_pooling: bool = True,
        attention: str = 'auto',
    ) -> None:
        super().__init__()
        if out_dims % num_heads:
            raise ValueError(f'num_heads={num_heads} does not divide the width {out_dims}')
        check_form(attention)
        self.num_heads = num_heads
        self.residual_pooling = residual_pooling
        self.attention = attention
        head_dim = out_dims // num_heads
        self.qkv = nn.Linear(in_dims, 3 * out_dims, bias=qkv_bias)
        self.proj = nn.Linear(out_dims, out_dims)
        self.pool_q = TokenPool(head_dim, kernel, q_stride)
        self.pool_k = TokenPool(head_dim, kernel, kv_stride)
        self.pool_v = TokenPool(head_dim, kernel, kv_stride)
        self.rel_pos = (
            RelativePosition(head_dim, self.pool_q.out_grid(grid), self.pool_k.out_grid(grid)) if rel_pos else None
        )

    def forward(
        self, x: Tensor, grid: Sequence[int], layout: BlockLayout | None = None
    ) -> tuple[Tensor, tuple[int, ...]]:
        """Attends.

        Args:
            x: Tokens (B, 1 + N, in_dims), the 1 present only with a class token.
            grid: The grid that N unrolls.
            layout: Where its cells lie if slices of it were dropped.

        Returns:
            Tokens (B, 1 + N', out_dims) and the grid that N' unrolls.
        """
        grids = self.pool_q.out_grid(grid), self.pool_k.out_grid(grid)
        pools = (self.pool_q, self.pool_k, self.pool_v)
        spreads: Sequence[Any] = [()] * 3 if layout is None else [(layout.q,), (layout.kv,), (layout.kv,)]
        # no variable holds the projections, so they are freed once they are pooled
        pooled = [
            pool(third, grid, *spread) for pool, third, spread in zip(pools, _thirds(self.qkv, x), spreads, strict=True)
        ]
        classes = [cls for cls, _ in pooled if cls is not None]
        q, k, v = (patches for _, patches in pooled)
        if self.rel_pos is None:
            tables: Sequence[Tensor] = ()
        else:
            tables = self.rel_pos.sized(*grids) if layout is None else self.rel_pos.at(layout)
        out = attend(q, k, v, tables, grids, classes=classes, residual=self.residual_pooling, form=self.attention)
        return self.proj(halved(cheap(torch.flatten, out, 2))), grids[0]


def _thirds(linear: nn.Linear, x: Tensor) -> Sequence[Tensor]:
    """Queries, keys and values; a plain layer computes three products, which the convolutions read without a copy."""
    if not is_plain(linear):
        return linear(x).chunk(3, dim=-1)
    biases = (None,) * 3 if linear.bias is None else linear.bias.chunk(3)
    return [F.linear(x, weight, bias) for weight, bias in zip(linear.weight.chunk(3), biases, strict=True)]


class MultiscaleBlock(nn.Module):
    """A' = MMSA(LN(A)) + P(A), then MLP(LN(A')) + A'.

    If the block widens, the skip path applies a linear layer to LN(A) before P (MViTv2's "dim_mul_in_att").

    Args:
        in_dims: Width of the incoming tokens.
        out_dims: Width of the outgoing tokens.
        num_heads: Heads of the attention.
        q_stride: Stride of the queries and of the skip path, one entry per axis.
        mlp_ratio: Hidden width of the MLP over ``out_dims``.
        drop_path: Probability of dropping a residual branch in training.
        attention_args: Passed to :class:`MultiscaleAttention`.
    """

    def __init__(
        self,
        in_dims: int,
        out_dims: int,
        num_heads: int,
        *,
        q_stride: Sequence[int],
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        **attention_args: Any,
    ) -> None:
        super().__init__()
        self.q_stride = tuple(q_stride)
        self.norm1 = nn.LayerNorm(in_dims, eps=1e-6)
        self.attn = MultiscaleAttention(in_dims, out_dims, num_heads, q_stride=q_stride, **attention_args)
        self.norm2 = nn.LayerNorm(out_dims, eps=1e-6)
        self.mlp = MLP(out_dims, int(out_dims * mlp_ratio), out_dims)
        self.proj = nn.Linear(in_dims, out_dims) if in_dims != out_dims else None
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(
        self, x: Tensor, grid: Sequence[int], layout: BlockLayout | None = None
    ) -> tuple[Tensor, tuple[int, ...]]:
        """Turns (B, 1 + N, in_dims) on ``grid`` into (B, 1 + N', out_dims) and its grid.

        ``layout`` says where the cells of the grid lie if slices of it were dropped, see
        :mod:`mmav.models.layers.kept_grid`.
        """
        normed = halved(normalised(self.norm1, x))
        attended, new_grid = self.attn(normed, grid) if layout is None else self.attn(normed, grid, layout)
        skip = x if self.proj is None else self.proj(normed)
        skip = max_pool_tokens(skip, grid, self.q_stride, None if layout is None else layout.skip)
        x = skip + self.drop_path(attended)
        return x + self.drop_path(self.mlp(halved(normalised(self.norm2, x)))), new_grid
