"""The plain transformer of any rank, at constant resolution, and AST, its form for spectrograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmav.models.init import init_transformer
from mmav.models.layers import PatchEmbed, TransformerBlock
from mmav.registry import MODELS
from mmav.structures import Tokens

MODES = {1: 'linear', 2: 'bilinear', 3: 'trilinear'}


def resize_positions(positions: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Interpolates the embeddings (1, N, D) of the positions of one grid, linearly along each axis, to another grid.

    >>> resize_positions(torch.tensor([[[0.0], [1.0]]]), (2,), (4,)).flatten()
    tensor([0.0000, 0.2500, 0.7500, 1.0000])
    """
    if tuple(old) == tuple(new):
        return positions
    grid = positions.transpose(1, 2).unflatten(2, tuple(old)).float()  # (1, D, *old)
    resized = F.interpolate(grid, size=tuple(new), mode=MODES[len(old)], align_corners=False)
    return resized.flatten(2).transpose(1, 2).to(positions.dtype)


def _grid_of(number: int, like: Sequence[int]) -> tuple[int, ...] | None:
    """The grid of so many positions that is like another, as far as a number can tell.

    Pictures of a clip keep their shape, else the clip its pictures and another length; a spectrogram differs along one
    axis, from the last on, or was a square.

    >>> _grid_of(12 * 50, (12, 101)), _grid_of(49, (12, 101)), _grid_of(50, (12, 101))
    ((12, 50), (7, 7), None)
    >>> _grid_of(4 * 4 * 4, (4, 8, 8)), _grid_of(2 * 6 * 8, (4, 6, 8))
    ((4, 4, 4), (2, 6, 8))
    """
    if len(like) > 2:
        *others, height, width = like
        area, rest = divmod(number, math.prod(others))
        side = math.isqrt(area * height // width)
        if area and not rest and side * side * width == area * height:
            return (*others, side, area // side)
    for axis in (*range(len(like) - 2), *reversed(range(max(len(like) - 2, 0), len(like)))):
        length, rest = divmod(number, math.prod(like) // like[axis])
        if length and not rest:
            return (*like[:axis], length, *like[axis + 1 :])
    side = math.isqrt(max(number, 0))
    return (side, side) if len(like) == 2 and side and side * side == number else None


class PlainTransformer(BaseModule):
    """ViT (Dosovitskiy et al. 2021): patches, learned absolute positions, blocks of self-attention of one width.

    The length of ``input_size`` decides the rank. Inputs may have another size at run time: the positions of the
    patches are interpolated.

    Args:
        input_size: Size of the input at construction: (F, T) of a spectrogram or (T, H, W) of a clip.
        in_channels: Channels of the input.
        patch_kernel: Kernel of the patch embedding, one entry per axis.
        patch_stride: Stride of the patch embedding, one entry per axis.
        patch_padding: Padding of the patch embedding, one entry per axis or one integer; half the kernel if None.
        embed_dims: Width D of the tokens.
        num_layers: Number of blocks.
        num_heads: Heads of each block.
        mlp_ratio: Hidden width of the MLPs over the width.
        drop_path_rate: Probability of dropping the last block's branches, rising linearly from 0 at the first.
        cls_token: Whether a class token is learned.
        dist_token: Whether a distillation token is learned (Touvron et al. 2021, DeiT). ``Tokens.cls`` is the mean of
            the class and the distillation token, and the mean of the patches where there is neither.
        final_norm: Whether the last block is followed by a LayerNorm; a neck that goes on with the same kind of blocks
            can do without.
        init_std: Standard deviation of the initial linear weights; a small model wants more than the usual 0.02.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If sizes contradict each other.
    """

    def __init__(
        self,
        input_size: Sequence[int],
        in_channels: int,
        patch_kernel: Sequence[int],
        *,
        patch_stride: Sequence[int],
        patch_padding: int | Sequence[int] | None = 0,
        embed_dims: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        cls_token: bool = True,
        dist_token: bool = False,
        final_norm: bool = True,
        init_std: float = 0.02,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if len(patch_kernel) != len(input_size):
            raise ValueError(
                f'patch_kernel={tuple(patch_kernel)} does not fit input_size={tuple(input_size)}: '
                f'{len(input_size)} axes'
            )
        self.input_size = tuple(input_size)
        self.init_std = init_std
        self.patch_embed = PatchEmbed(in_channels, embed_dims, patch_kernel, stride=patch_stride, padding=patch_padding)
        self.grid = self.patch_embed.grid_of(input_size)
        self.num_extra = int(cls_token) + int(dist_token)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims)) if cls_token else None
        self.dist_token = nn.Parameter(torch.zeros(1, 1, embed_dims)) if dist_token else None
        num_patches = torch.Size(self.grid).numel()
        # one table for tokens and patches, as public ViT checkpoints have it
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_extra + num_patches, embed_dims))
        self.blocks = nn.ModuleList(
            TransformerBlock(
                embed_dims, num_heads, mlp_ratio, drop_path=drop_path_rate * index / max(num_layers - 1, 1)
            )
            for index in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6) if final_norm else nn.Identity()
        self.out_dims = embed_dims

    def init_weights(self) -> None:
        """Draws all parameters anew, then applies ``init_cfg``."""
        init_transformer(self, [self.cls_token, self.dist_token, self.pos_embed], std=self.init_std)
        super().init_weights()

    def adapt_weight(self, name: str, value: Tensor) -> Tensor | None:
        """Positions of another input size, interpolated as they are at run time; None for other weights.

        A checkpoint does not say what its positions unroll: the size may differ along one axis, else it was a square.

        Args:
            name: Name of the parameter within this module.
            value: A checkpoint's.
        """
        own = self.pos_embed
        number = value.shape[1] - self.num_extra if value.dim() == 3 else 0
        old = _grid_of(number, self.grid)
        if name != 'pos_embed' or old is None or value.shape[2] != own.shape[2]:
            return None
        patches = resize_positions(value[:, self.num_extra :], old, self.grid)
        return torch.cat((value[:, : self.num_extra], patches), dim=1)

    def forward(self, x: Tensor) -> Tokens:
        """Encodes (B, C, *size) into tokens of width ``out_dims``.

        Raises:
            ValueError: If the input has another rank, other channels, or is too small.
        """
        x, grid = self.patch_embed(x)
        extra = [t.expand(x.shape[0], -1, -1) for t in (self.cls_token, self.dist_token) if t is not None]
        own, patches = self.pos_embed[:, : self.num_extra], self.pos_embed[:, self.num_extra :]
        positions = torch.cat((own, resize_positions(patches, self.grid, grid)), dim=1)
        x = torch.cat((*extra, x), dim=1) + positions  # (B, num_extra + N, D)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        tokens, patches = x[:, : self.num_extra], x[:, self.num_extra :]
        return Tokens((tokens if self.num_extra else patches).mean(dim=1), patches, grid)


@MODELS.register_module()
class AST(PlainTransformer):
    """Audio spectrogram transformer (Gong et al. 2021; YuanGongND/ast, src/models/ast_models.py).

    Takes log-mel spectrograms (B, 1, F, T). ViT-B/16 on patches that overlap, stride 10: 12x101 tokens of 768 for
    128x1024, 87 M parameters, 131 G multiply-accumulates (paper, Table 2). With ``num_layers=3``, MAT's patches and no
    distillation token it is the sound encoder of the paper's "AVBottle w/o MAT".

    Args:
        input_size: Spectrogram size (F, T) at construction.
        in_channels: Channels of the input.
        patch_kernel: Kernel of the patch embedding (F, T).
        patch_stride: Stride of the patch embedding (F, T).
        dist_token: See :class:`PlainTransformer`.
        **kwargs: What else :class:`PlainTransformer` takes.

    >>> model = AST(input_size=(32, 64), embed_dims=8, num_layers=2, num_heads=2)
    >>> tokens = model(torch.zeros(2, 1, 32, 64))
    >>> tokens.cls.shape, tokens.patches.shape, tokens.grid
    (torch.Size([2, 8]), torch.Size([2, 10, 8]), (2, 5))
    """

    def __init__(
        self,
        input_size: Sequence[int] = (128, 1024),
        in_channels: int = 1,
        patch_kernel: Sequence[int] = (16, 16),
        *,
        patch_stride: Sequence[int] = (10, 10),
        dist_token: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            input_size, in_channels, patch_kernel, patch_stride=patch_stride, dist_token=dist_token, **kwargs
        )
