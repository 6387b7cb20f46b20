"""The plain pre-norm transformer block at constant resolution."""

from __future__ import annotations

import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from mmav.models.ops.eager import cheap, halved, is_plain, normalised
from mmav.models.ops.tiled_mlp import tiled_mlp, tiles_pay


class MLP(nn.Module):
    """Linear, GELU, Linear on (..., in_dims) -> (..., out_dims)."""

    def __init__(self, in_dims: int, hidden_dims: int, out_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_dims, hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, out_dims)

    def forward(self, x: Tensor) -> Tensor:
        fc1, fc2 = self.fc1, self.fc2
        plain = is_plain(fc1) and is_plain(fc2) and fc1.bias is not None and fc2.bias is not None
        if plain and tiles_pay(x, fc1.weight):
            return tiled_mlp(x, fc1.weight, fc1.bias, fc2.weight, fc2.bias)
        return fc2(cheap(F.gelu, fc1(x)))


class SelfAttention(nn.Module):
    """Multihead self-attention with PyTorch's fused kernels.

    Args:
        dims: Width of the tokens.
        num_heads: Heads; must divide ``dims``.

    Raises:
        ValueError: If ``num_heads`` does not divide ``dims``.
    """

    def __init__(self, dims: int, num_heads: int) -> None:
        super().__init__()
        if dims % num_heads:
            raise ValueError(f'num_heads={num_heads} does not divide the width {dims}')
        self.num_heads = num_heads
        self.qkv = nn.Linear(dims, 3 * dims)
        self.proj = nn.Linear(dims, dims)

    def forward(self, x: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """Self-attention over (B, N, D); ``key_mask`` (B, N) is True where a token may be attended to."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if key_mask is None else key_mask[:, None, None, :]
        return self.proj(cheap(_side_by_side, F.scaled_dot_product_attention(q, k, v, attn_mask=mask)))


def _side_by_side(x: Tensor) -> Tensor:
    """(B, heads, N, d) -> (B, N, heads * d)."""
    return x.transpose(1, 2).flatten(2)


class TransformerBlock(nn.Module):
    """x + MSA(LN(x)), then x + MLP(LN(x)): Eq. 5 and 6 for one modality.

    Args:
        dims: Width of the tokens.
        num_heads: Heads; must divide ``dims``.
        mlp_ratio: Hidden width of the MLP over ``dims``.
        drop_path: Probability of dropping a residual branch in training.
        norm_eps: Epsilon of the LayerNorms; 1e-5, PyTorch's default, in a few public models.
    """

    def __init__(
        self, dims: int, num_heads: int, mlp_ratio: float = 4.0, *, drop_path: float = 0.0, norm_eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dims, eps=norm_eps)
        self.attn = SelfAttention(dims, num_heads)
        self.norm2 = nn.LayerNorm(dims, eps=norm_eps)
        self.mlp = MLP(dims, int(dims * mlp_ratio), dims)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """Turns (B, N, D) into (B, N, D); ``key_mask`` (B, N) is True where a token may be attended to."""
        x = x + self.drop_path(self.attn(halved(normalised(self.norm1, x)), key_mask))
        return x + self.drop_path(self.mlp(halved(normalised(self.norm2, x))))
