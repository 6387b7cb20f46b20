"""Multihead multiscale self-attention, MMSA of Eq. 2, on a grid of any rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmav.models.layers.pooling import TokenPool
from mmav.models.layers.relative_position import RelativePosition
from mmav.models.ops.attention import attend, check_form
from mmav.models.ops.lean import cheap, halved


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

    def forward(self, x: Tensor, grid: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
        """Attends.

        Args:
            x: Tokens (B, 1 + N, in_dims), the 1 present only with a class token.
            grid: What N unrolls.

        Returns:
            Tokens (B, 1 + N', out_dims) and the grid that N' unrolls.
        """
        q_grid, k_grid = self.pool_q.out_grid(grid), self.pool_k.out_grid(grid)
        thirds = _thirds(self.qkv, x)
        q_cls, q = self.pool_q(thirds[0], grid)
        (k_cls, k), (v_cls, v) = (
            _halves(*pool(x, grid)) for pool, x in zip((self.pool_k, self.pool_v), thirds[1:], strict=True)
        )
        classes = None if q_cls is None or k_cls is None or v_cls is None else (q_cls, k_cls, v_cls)
        tables = () if self.rel_pos is None else self.rel_pos.sized(q_grid, k_grid)
        residual, form = self.residual_pooling, self.attention
        out = attend(q, k, v, q_grid, k_grid, tables=tables, classes=classes, residual=residual, form=form)
        return self.proj(halved(cheap(torch.flatten, out, 2))), q_grid


def _halves(cls: Tensor | None, patches: Tensor) -> tuple[Tensor | None, Tensor]:
    """Both in the type of products: queries are added to the result as they are, but keys and values are not."""
    return None if cls is None else halved(cls), halved(patches)


def _thirds(linear: nn.Module, x: Tensor) -> Sequence[Tensor]:
    """Queries, keys and values; of a plain layer by three products, whose results convolutions read in place."""
    if type(linear) is not nn.Linear:  # something else has been put in its place
        return linear(x).chunk(3, dim=-1)
    biases = (None,) * 3 if linear.bias is None else linear.bias.chunk(3)
    return [F.linear(x, weight, bias) for weight, bias in zip(linear.weight.chunk(3), biases, strict=True)]
