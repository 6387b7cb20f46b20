"""One block of the multiscale transformer, Eq. 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmav.models.layers.multiscale_attention import MultiscaleAttention
from mmav.models.layers.pooling import max_pool_tokens
from mmav.models.layers.transformer_block import MLP
from mmav.models.ops.lean import halved, normalised


class MultiscaleBlock(nn.Module):
    """A' = MMSA(LN(A)) + P(A), then MLP(LN(A')) + A'.

    Where the block widens, the skip path is a linear layer of LN(A) before P (MViTv2's "dim_mul_in_att").

    Args:
        in_dims: Width of the incoming tokens.
        out_dims: Width of the outgoing tokens.
        num_heads: Heads of the attention.
        q_stride: Stride of the queries and of the skip path, one entry per axis.
        mlp_ratio: Hidden width of the MLP over ``out_dims``.
        drop_path: Probability of dropping a residual branch in training.
        attention_args: What else :class:`MultiscaleAttention` takes.
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

    def forward(self, x: Tensor, grid: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
        """Turns (B, 1 + N, in_dims) on ``grid`` into (B, 1 + N', out_dims) and its grid."""
        normed = halved(normalised(self.norm1, x))
        attended, new_grid = self.attn(normed, grid)
        skip = x if self.proj is None else self.proj(normed)
        x = max_pool_tokens(skip, grid, self.q_stride) + self.drop_path(attended)
        return x + self.drop_path(self.mlp(halved(normalised(self.norm2, x)))), new_grid
