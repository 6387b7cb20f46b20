"""Multihead multiscale self-attention, MMSA of Eq. 2, on a grid of any rank."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmav.models.layers.eager_cpu import on_eager_cpu
from mmav.models.layers.pooling import TokenPool
from mmav.models.layers.relative_position import RelativePosition
from mmav.models.layers.tiled_attention import along, onehot_positions, tiled_attention

FORMS = ('auto', 'explicit', 'folded', 'tiled')
# With fewer scores in all, what is done around the tiles takes longer than they save (docs/performance.md); so it does
# where there are fewer keys than a head is wide, and the matrix is smaller than the queries.
LEAST_SCORES = 256 * 1024


def explicit_attention(q: Tensor, k: Tensor, v: Tensor, bias: Sequence[Tensor], k_grid: Sequence[int]) -> Tensor:
    """softmax(q k^T / sqrt(d) + E_rel) v with E_rel written out.

    Args:
        q: Queries (B, heads, c + Nq, d), c = 1 with a class token, else 0.
        k: Keys (B, heads, c + Nk, d).
        v: Values (B, heads, c + Nk, d).
        bias: Per axis (B, heads, Nq, k_grid[axis]); empty for no relative positions.
        k_grid: What Nk unrolls.

    Returns:
        (B, heads, c + Nq, d).
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if bias:
        num_cls = k.shape[2] - math.prod(k_grid)
        total: Tensor | int = 0
        for axis, part in enumerate(bias):
            total = total + part.unflatten(-1, along(axis, k_grid))
        scores = scores + F.pad(total.flatten(3), (num_cls, 0, num_cls, 0))  # type: ignore[union-attr]
    return scores.softmax(dim=-1) @ v


def folded_attention(q: Tensor, k: Tensor, v: Tensor, bias: Sequence[Tensor], k_grid: Sequence[int]) -> Tensor:
    """The same value through one fused kernel: the bias rides in extra columns of queries and keys.

    A decomposed bias is an inner product: with q' = [q / sqrt(d), bias_1, bias_2, ...] and k' = [k, onehot of the
    key's position on axis 1, on axis 2, ...], q' k'^T = q k^T / sqrt(d) + E_rel, so that no Nq x Nk matrix is kept
    for it. The class token has zeros there. Arguments and result as :func:`explicit_attention`.
    """
    dim = q.shape[-1]
    q = q * dim**-0.5
    if bias:
        num_cls = k.shape[2] - math.prod(k_grid)
        extra = sum(k_grid)
        # fused GPU kernels ask for rows of a multiple of 8 elements
        fill = -(dim + extra) % 8
        q_cols = F.pad(torch.cat(list(bias), dim=-1), (0, fill, num_cls, 0))
        k_cols = F.pad(onehot_positions(k_grid, k), (0, fill, num_cls, 0)).expand(*k.shape[:2], -1, -1)
        q = torch.cat((q, q_cols), dim=-1)
        k = torch.cat((k, k_cols), dim=-1)
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)


class MultiscaleAttention(nn.Module):
    """Self-attention over pooled queries, keys and values with decomposed relative positions and residual pooling.

    softmax(Q K^T / sqrt(d) + E_rel) V + Q (Eq. 2): E_rel comes from the unscaled pooled query, is zero for the class
    token, and the residual leaves the class token out, as public MViTv2 weights expect (facebookresearch/SlowFast,
    slowfast/models/attention.py).

    Args:
        in_dims: Width of the incoming tokens.
        out_dims: Width of the outgoing tokens; a stage widens inside its first attention.
        num_heads: Heads; must divide ``out_dims``.
        grid: Grid of the incoming tokens at the input size of construction: sets the tables' lengths.
        q_stride: Stride of the queries, one entry per axis.
        kv_stride: Stride of keys and values, one entry per axis.
        kernel: Kernel of the pooling convolutions, one entry per axis.
        qkv_bias: Whether the projection to queries, keys and values has a bias.
        rel_pos: Whether there are relative positions.
        residual_pooling: Whether the pooled query is added to the result.
        attention: ``explicit``, ``folded`` (see the two functions above), ``tiled`` (see
            :func:`~mmav.models.layers.tiled_attention.tiled_attention`) or ``auto``: tiled on a CPU, but explicit where
            there are few scores or keys and when traced, compiled or in a half type; folded elsewhere.

    Raises:
        ValueError: If ``num_heads`` does not divide ``out_dims`` or ``attention`` is unknown.
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
        if attention not in FORMS:
            raise ValueError(f'attention={attention!r} is unknown: choose one of {", ".join(FORMS)}')
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

    def forward(self, x: Tensor, grid: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
        """Attends.

        Args:
            x: Tokens (B, 1 + N, in_dims), the 1 present only with a class token.
            grid: What N unrolls.

        Returns:
            Tokens (B, 1 + N', out_dims) and the grid that N' unrolls.
        """
        q_grid, k_grid = self.pool_q.out_grid(grid), self.pool_k.out_grid(grid)
        q, k, v = _thirds(self.qkv, x)
        pools = (self.pool_q, self.pool_k, self.pool_v)
        pooled = [pool(tokens, grid) for pool, tokens in zip(pools, (q, k, v), strict=True)]
        q, k, v = (patches for _, patches in pooled)
        bias = self.rel_pos(q, q_grid, k_grid) if self.rel_pos is not None else []
        form = self.attention
        if form == 'auto':
            large = math.prod(q.shape[:3]) * k.shape[1] >= LEAST_SCORES and k.shape[1] > q.shape[-1]
            form = 'folded' if q.device.type != 'cpu' else 'tiled' if large and on_eager_cpu(q) else 'explicit'
        if form == 'tiled':
            classes = None if pooled[0][0] is None else tuple(cls for cls, _ in pooled)
            out = tiled_attention(q, k, v, bias, k_grid, classes=classes, residual=self.residual_pooling)
        else:
            attend = explicit_attention if form == 'explicit' else folded_attention
            # (B, heads, 1 + N, d)
            q, k, v = (patches if cls is None else torch.cat((cls, patches), dim=1) for cls, patches in pooled)
            by_head = [x.transpose(1, 2) for x in (q, k, v, *bias)]
            out = attend(by_head[0], by_head[1], by_head[2], by_head[3:], k_grid).transpose(1, 2)
            if self.residual_pooling:
                # tests/models/layers/test_multiscale_attention.py guards that the class token gets no residual
                num_cls = x.shape[1] - math.prod(grid)
                out = out + (F.pad(q[:, num_cls:], (0, 0, 0, 0, num_cls, 0)) if num_cls else q)
        return self.proj(out.flatten(2)), q_grid


def _thirds(linear: nn.Module, x: Tensor) -> Sequence[Tensor]:
    """Queries, keys and values; of a plain layer by three products, whose results convolutions read in place."""
    if type(linear) is not nn.Linear:  # something else has been put in its place
        return linear(x).chunk(3, dim=-1)
    biases = (None,) * 3 if linear.bias is None else linear.bias.chunk(3)
    return [F.linear(x, weight, bias) for weight, bias in zip(linear.weight.chunk(3), biases, strict=True)]
