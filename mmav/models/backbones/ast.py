"""The plain transformer at constant resolution, for inputs of any rank, and AST, its form for spectrograms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from mmav.adapting import Adapted, Hints
from mmav.models.backbones.base import Backbone
from mmav.models.init import DrawnModule
from mmav.models.layers import PatchEmbed, TransformerBlock
from mmav.models.layers.absolute_position import fit_positions, guess_grid, resize_positions, sincos_positions
from mmav.models.layers.token_drop import TokenDrop
from mmav.registry import MODELS
from mmav.structures import Tokens

TOKENS = ('cls_token', 'dist_token')


class PlainTransformer(DrawnModule, Backbone):
    """ViT (Dosovitskiy et al. 2021): patches, learned absolute positions, self-attention blocks of one width.

    The length of ``input_size`` determines the rank. At run time inputs may have another size: the positions of the
    patches are then interpolated.

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
            the class and the distillation token, or the mean of the patches without either.
        final_norm: Whether a LayerNorm follows the last block; a neck that continues with the same kind of blocks does
            not need it.
        norm_after_mean: Whether that LayerNorm is applied to ``Tokens.cls`` alone, after the mean, and the patches are
            left as the last block returns them (VideoMAE's ``fc_norm``).
        norm_eps: Epsilon of all LayerNorms.
        fixed_positions: Whether the positions are not learned: sines and cosines of the place in the order of the
            patches (VideoMAE), or what ``init_cfg`` loads.
        token_drop: Which patch tokens training leaves out, the same of all clips of a batch: a dict of ``axes``, for
            each axis of the grid the share of its slices, ``ratio``, the share of single tokens, or both; see
            :class:`~mmav.models.layers.token_drop.TokenDrop`. They are left out once they have their positions.
        init_std: Standard deviation of the initial linear weights; small models need more than the usual 0.02.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If sizes contradict each other.
        ConfigError: If ``token_drop`` cannot be, or leaves out nothing.
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
        norm_after_mean: bool = False,
        norm_eps: float = 1e-6,
        fixed_positions: bool = False,
        token_drop: Mapping[str, Any] | None = None,
        init_std: float = 0.02,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(input_size, in_channels, embed_dims, init_cfg=init_cfg)
        if len(patch_kernel) != len(input_size):
            raise ValueError(
                f'patch_kernel={tuple(patch_kernel)} does not fit input_size={tuple(input_size)}: '
                f'{len(input_size)} axes'
            )
        if norm_after_mean and not final_norm:
            raise ValueError('norm_after_mean=True has no effect with final_norm=False; leave it out')
        self.init_std = init_std
        self.norm_after_mean = norm_after_mean
        self.fixed_positions = fixed_positions
        self.patch_embed = PatchEmbed(in_channels, embed_dims, patch_kernel, stride=patch_stride, padding=patch_padding)
        self.grid = self.patch_embed.grid_of(input_size)
        self.token_drop = TokenDrop.read(token_drop, self.grid)
        self.num_extra = int(cls_token) + int(dist_token)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims)) if cls_token else None
        self.dist_token = nn.Parameter(torch.zeros(1, 1, embed_dims)) if dist_token else None
        num_patches = torch.Size(self.grid).numel()
        # one table for tokens and patches, as in public ViT checkpoints
        table = torch.zeros(1, self.num_extra + num_patches, embed_dims)
        self.pos_embed = nn.Parameter(table, requires_grad=not fixed_positions)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                embed_dims,
                num_heads,
                mlp_ratio,
                drop_path=drop_path_rate * index / max(num_layers - 1, 1),
                norm_eps=norm_eps,
            )
            for index in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dims, eps=norm_eps) if final_norm else nn.Identity()
        self.draw_aside()

    def draw(self) -> None:
        """Draws all parameters again; fixed positions are computed."""
        super().draw()
        if self.fixed_positions and not isinstance(self.pos_embed, FakeTensor):
            with torch.no_grad():
                self.pos_embed[:, : self.num_extra] = 0
                self.pos_embed[:, self.num_extra :] = sincos_positions(math.prod(self.grid), self.out_dims)

    def position_grids(self) -> dict[str, tuple[int, ...]]:
        """The grid behind the positions of the patches; checkpoints store it."""
        return dict(pos_embed=self.grid)

    def adapt_weight(self, name: str, value: Tensor, hints: Hints) -> Adapted | None:
        """Positions of another grid, interpolated as at run time, or cut; None for other weights.

        The positions of an image are repeated over a clip. Tokens missing from the file keep their positions.

        Args:
            name: Name of the parameter within this module.
            value: The value in the file.
            hints: Which tokens the file has, the grid of its positions, and whether they are cut. If the grid is
                unknown, its size may differ along one axis, or it is assumed to be square.
        """
        if name != 'pos_embed' or value.dim() != 3 or value.shape[2] != self.out_dims:
            return None
        theirs = [token for token in TOKENS if token in hints.names]
        ours = [token for token in TOKENS if getattr(self, token) is not None]
        number = value.shape[1] - len(theirs)
        old = hints.grid or guess_grid(number, self.grid)
        if old is None or torch.Size(old).numel() != number or len(old) > len(self.grid):
            return None
        patches, how = fit_positions(value[:, len(theirs) :], old, self.grid, cut=hints.cut)
        rows = [
            value[:, [theirs.index(token)]] if token in theirs else self.pos_embed[:, [index]].detach().to(value)
            for index, token in enumerate(ours)
        ]
        changes = [how] if how else []
        changes += [f'that of {token} kept' for token in ours if token not in theirs]
        changes += [f'that of {token} left out' for token in theirs if token not in ours]
        return Adapted(torch.cat((*rows, patches), dim=1), ', '.join(changes))

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
        if self.token_drop is not None and self.training:
            patches, grid = self.token_drop.keep(x[:, self.num_extra :], grid)
            x = torch.cat((x[:, : self.num_extra], patches), dim=1)
        for block in self.blocks:
            x = block(x)
        x = x if self.norm_after_mean else self.norm(x)
        tokens, patches = x[:, : self.num_extra], x[:, self.num_extra :]
        cls = (tokens if self.num_extra else patches).mean(dim=1)
        return Tokens(self.norm(cls) if self.norm_after_mean else cls, patches, grid)


@MODELS.register_module()
class AST(PlainTransformer):
    """Audio spectrogram transformer (Gong et al. 2021; YuanGongND/ast, src/models/ast_models.py).

    Takes log-mel spectrograms (B, 1, F, T). ViT-B/16 on overlapping patches with stride 10: 12x101 tokens of width 768
    for 128x1024, 87 M parameters, 131 G multiply-accumulates (paper, Table 2). With ``num_layers=3``, MAT's patches and
    no distillation token it is the audio encoder of the paper's "AVBottle w/o MAT".

    Args:
        input_size: Spectrogram size (F, T) at construction.
        in_channels: Channels of the input.
        patch_kernel: Kernel of the patch embedding (F, T).
        patch_stride: Stride of the patch embedding (F, T).
        dist_token: See :class:`PlainTransformer`.
        **kwargs: Passed to :class:`PlainTransformer`.

    Public weights are adapted as in AST's own code: see :func:`~mmav.models.weights.load_public_weights`.

    >>> model = AST(input_size=(32, 64), embed_dims=8, num_layers=2, num_heads=2)
    >>> tokens = model(torch.zeros(2, 1, 32, 64))
    >>> tokens.cls.shape, tokens.patches.shape, tokens.grid
    (torch.Size([2, 8]), torch.Size([2, 10, 8]), (2, 5))
    """

    # How AST's code adapts the kernel of an image model, and more positions than a spectrogram has.
    adapting: ClassVar[dict[str, str]] = dict(rgb='sum', positions='cut')

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
