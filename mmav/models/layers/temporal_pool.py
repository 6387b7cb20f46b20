"""Frames of a clip as images of a batch, and what an image encoder makes of them as the tokens of the clip."""

from __future__ import annotations

from torch import Tensor, nn

from mmav.errors import ConfigError, did_you_mean
from mmav.structures import Tokens

POOLS = ('mean', 'attention')


class TemporalPool(nn.Module):
    """Embeddings of frames (B, T, D) -> embedding of the clip (B, D).

    Args:
        pool: ``mean``, or ``attention``: a weighted mean, whose weights are a softmax over the frames of one learned
            score of each. It begins close to the mean.
        dims: Width D.

    Raises:
        ConfigError: If ``pool`` is unknown.

    >>> import torch
    >>> TemporalPool('attention', 8)(torch.zeros(2, 5, 8)).shape
    torch.Size([2, 8])
    """

    def __init__(self, pool: str, dims: int) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ConfigError(f'pool={pool!r} is unknown: choose {" or ".join(POOLS)}{did_you_mean(str(pool), POOLS)}')
        self.score = None
        if pool == 'attention':
            linear = nn.Linear(dims, 1)
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
            self.score = nn.Sequential(nn.LayerNorm(dims), linear)

    def forward(self, x: Tensor) -> Tensor:
        if self.score is None:
            return x.mean(dim=1)
        return (x * self.score(x).softmax(dim=1)).sum(dim=1)


def split_frames(clips: Tensor) -> Tensor:
    """Clips (B, C, T, H, W) -> images (B * T, C, H, W).

    Raises:
        ConfigError: If these are no clips.
    """
    if clips.dim() != 5:
        raise ConfigError(f'expected clips (B, C, T, H, W), got shape {tuple(clips.shape)}')
    return clips.transpose(1, 2).flatten(0, 1)


def join_frames(tokens: Tokens, frames: int, pool: TemporalPool) -> Tokens:
    """Tokens of B * T images -> tokens of B clips of T frames; all patches are kept.

    Args:
        tokens: Of images, with grid (h, w).
        frames: T.
        pool: Combines the class embeddings of the frames.

    Returns:
        Tokens with grid (T, h, w).
    """
    cls = pool(tokens.cls.unflatten(0, (-1, frames)))
    return Tokens(cls, tokens.patches.unflatten(0, (-1, frames)).flatten(1, 2), (frames, *tokens.grid))
