"""The multiscale transformer for inputs of any rank, and MViTv2, its form for video clips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmav.models.backbones.base import Backbone
from mmav.models.init import DrawnModule
from mmav.models.layers import MultiscaleBlock, PatchEmbed
from mmav.models.layers.kept_grid import BlockLayout, Kept, drop_units, pooled, take_units, unit_of
from mmav.models.layers.patch_embed import to_tuple
from mmav.models.layers.token_drop import TokenDrop
from mmav.registry import MODELS
from mmav.structures import Tokens

# embed_dims and num_heads double in the blocks named by stage_blocks (Li et al. 2022, MViTv2, Table 1)
ARCHS: dict[str, dict[str, Any]] = {
    'tiny': dict(embed_dims=96, num_layers=10, num_heads=1, stage_blocks=(1, 3, 8)),
    'small': dict(embed_dims=96, num_layers=16, num_heads=1, stage_blocks=(1, 3, 14)),
    'base': dict(embed_dims=96, num_layers=24, num_heads=1, stage_blocks=(2, 5, 21)),
    'large': dict(embed_dims=144, num_layers=48, num_heads=2, stage_blocks=(2, 8, 44)),
}


def resolve_arch(arch: str | Mapping[str, Any], archs: Mapping[str, Mapping[str, Any]] = ARCHS) -> dict[str, Any]:
    """Returns the sizes that ``arch`` names, or a checked copy of ``arch`` if it is a dict.

    Args:
        arch: A name or a dict.
        archs: The sizes by name.

    Raises:
        ValueError: If the name is unknown or a size is missing, unknown or impossible.
    """
    if isinstance(arch, str):
        if arch not in archs:
            raise ValueError(f'arch={arch!r} is unknown: choose one of {", ".join(archs)}, or give a dict')
        return dict(archs[arch])
    keys = set(ARCHS['base'])
    if set(arch) != keys:
        raise ValueError(f'arch has the keys {sorted(arch)}, expected {sorted(keys)}')
    blocks = tuple(arch['stage_blocks'])
    if list(blocks) != sorted(set(blocks)) or (blocks and not 0 <= blocks[0] <= blocks[-1] < arch['num_layers']):
        raise ValueError(f'stage_blocks={blocks} must rise and stay below num_layers={arch["num_layers"]}')
    return {**arch, 'stage_blocks': blocks}


class MultiscaleTransformer(DrawnModule, Backbone):
    """Blocks of multihead multiscale self-attention over a grid; the length of ``input_size`` determines its rank.

    A stage begins at each of ``stage_blocks``: width and number of heads double, and the queries are pooled.
    Keys and values are pooled by ``kv_stride`` at first; each query stride divides it, down to 1 ("adaptive").

    At run time inputs may have another size than ``input_size``: the relative positions are then interpolated.

    Args:
        arch: A name in ``ARCHS``, or a dict of ``embed_dims``, ``num_layers``, ``num_heads``, ``stage_blocks``.
        input_size: Size of the input at construction: (F, T) of a spectrogram or (T, H, W) of a clip.
        in_channels: Channels of the input.
        patch_kernel: Kernel of the patch embedding, one entry per axis.
        patch_stride: Stride of the patch embedding, one entry per axis.
        q_strides: The stride of the queries of each stage block, one entry per axis.
        kv_stride: First stride of keys and values, one entry per axis.
        pool_kernel: Kernel of the pooling convolutions.
        mlp_ratio: Hidden width of the MLPs over the width.
        qkv_bias: Whether the projections to queries, keys and values have biases.
        drop_path_rate: Probability of dropping the last block's branches, rising linearly from 0 at the first.
        cls_token: Whether a class token is learned; without one ``Tokens.cls`` is the mean of the patches.
        rel_pos: Whether the attention has relative positions.
        residual_pooling: Whether the pooled queries are added to the output of attention.
        attention: Form of the attention, see :class:`~mmav.models.layers.MultiscaleAttention`.
        token_drop: Which patch tokens training leaves out: a dict of ``axes``, for each axis of the grid the share of
            its slices, see :class:`~mmav.models.layers.token_drop.TokenDrop`. A slice is as thick as all strides of the
            queries together (8 of MAT's 256 columns), so a kept one stays whole; what neighbours and positions are then
            says :mod:`mmav.models.layers.kept_grid`. The same for all clips of a batch.
        init_std: Standard deviation of the initial linear weights; small models need more than the usual 0.02.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If sizes contradict each other.
        ConfigError: If ``token_drop`` cannot be, or leaves out nothing.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any],
        input_size: Sequence[int],
        in_channels: int,
        *,
        patch_kernel: Sequence[int],
        patch_stride: Sequence[int],
        q_strides: Sequence[Sequence[int]],
        kv_stride: Sequence[int],
        pool_kernel: int | Sequence[int] = 3,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        cls_token: bool = True,
        rel_pos: bool = True,
        residual_pooling: bool = True,
        attention: str = 'auto',
        token_drop: Mapping[str, Any] | None = None,
        init_std: float = 0.02,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        sizes = resolve_arch(arch)
        super().__init__(
            input_size, in_channels, sizes['embed_dims'] * 2 ** len(sizes['stage_blocks']), init_cfg=init_cfg
        )
        rank = len(input_size)
        if len(patch_kernel) != rank:
            raise ValueError(
                f'patch_kernel={tuple(patch_kernel)} does not fit input_size={tuple(input_size)}: {rank} axes'
            )
        stage_blocks: tuple[int, ...] = sizes['stage_blocks']
        if len(q_strides) != len(stage_blocks):
            raise ValueError(
                f'q_strides has {len(q_strides)} entries, but there are {len(stage_blocks)} stage blocks {stage_blocks}'
                ': give one stride for each'
            )
        width, heads, depth = sizes['embed_dims'], sizes['num_heads'], sizes['num_layers']
        self.init_std = init_std
        self.patch_embed = PatchEmbed(in_channels, width, patch_kernel, stride=patch_stride)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if cls_token else None

        grid = self.patch_embed.grid_of(input_size)
        kv, self.kernel = to_tuple(kv_stride, rank, 'kv_stride'), to_tuple(pool_kernel, rank, 'pool_kernel')
        self.strides: list[tuple[tuple[int, ...], tuple[int, ...]]] = []  # of queries, and of keys, of each block
        self.blocks = nn.ModuleList()
        for index in range(depth):
            q_stride, out_width = (1,) * rank, width
            if index in stage_blocks:
                q_stride = to_tuple(q_strides[stage_blocks.index(index)], rank, 'q_strides')
                kv = tuple(max(s // q, 1) for s, q in zip(kv, q_stride, strict=True))
                out_width, heads = 2 * width, 2 * heads
            block = MultiscaleBlock(
                width,
                out_width,
                heads,
                q_stride=q_stride,
                mlp_ratio=mlp_ratio,
                drop_path=drop_path_rate * index / max(depth - 1, 1),
                grid=grid,
                kv_stride=kv,
                kernel=self.kernel,
                qkv_bias=qkv_bias,
                rel_pos=rel_pos,
                residual_pooling=residual_pooling,
                attention=attention,
            )
            self.blocks.append(block)
            self.strides.append((q_stride, kv))
            grid, width = block.attn.pool_q.out_grid(grid), out_width
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.token_drop: TokenDrop | None = None
        if token_drop is not None:
            self.drop_unit = unit_of(self.strides, self.kernel)
            first = self.patch_embed.grid_of(input_size)
            self.token_drop = TokenDrop.read(token_drop, first, unit=self.drop_unit, singly=False)
        self.draw_aside()

    def forward(self, x: Tensor) -> Tokens:
        """Encodes (B, C, *size) into tokens of width ``out_dims``.

        Raises:
            ValueError: If the input has another rank, other channels, or is too small.
        """
        x, grid = self.patch_embed(x)
        kept: Kept | None = None
        if self.token_drop is not None and self.training:
            kept = drop_units(grid, self.drop_unit, self.token_drop, x.device)
            x, grid = take_units(x, grid, kept)
        if self.cls_token is not None:
            x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        layouts: dict[Any, BlockLayout] = {}  # blocks of the same strides on the same grid share one
        for block, strides in zip(self.blocks, self.strides, strict=True):
            if kept is None:
                x, grid = block(x, grid)
                continue
            if strides not in layouts:
                layouts[strides] = BlockLayout.of(kept, grid, strides, self.kernel)
            x, grid = block(x, grid, layouts[strides])
            if math.prod(strides[0]) > 1:
                kept, layouts = pooled(kept, strides[0]), {}
        x = self.norm(x)
        if self.cls_token is None:
            return Tokens(x.mean(dim=1), x, grid)
        return Tokens(x[:, 0], x[:, 1:], grid)


@MODELS.register_module()
class MViTv2(MultiscaleTransformer):
    """Multiscale video transformer (Li et al. 2022; facebookresearch/SlowFast, configs/Kinetics/MVITv2_B_32x3.yaml).

    Takes clips (B, 3, T, H, W). ``base`` at 16x224x224 has 50.9 M parameters and pools 8x56x56 tokens of width 96 to
    8x7x7 tokens of width 768. With an ``input_size`` of length two (and other tuples likewise) it is the image model.

    Args:
        arch: See :class:`MultiscaleTransformer`.
        input_size: Clip size (T, H, W) at construction.
        in_channels: Channels of the input.
        patch_kernel: Kernel of the patch embedding (T, H, W).
        patch_stride: Stride of the patch embedding (T, H, W).
        q_strides: The stride of the queries of each stage block; defaults to (1, 2, 2), or (2, 2) for images.
        kv_stride: First stride of keys and values.
        **kwargs: Passed to :class:`MultiscaleTransformer`.

    >>> arch = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
    >>> tokens = MViTv2(arch, input_size=(4, 32, 32))(torch.zeros(2, 3, 4, 32, 32))
    >>> tokens.cls.shape, tokens.patches.shape, tokens.grid
    (torch.Size([2, 16]), torch.Size([2, 32, 16]), (2, 4, 4))
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = 'base',
        input_size: Sequence[int] = (16, 224, 224),
        in_channels: int = 3,
        *,
        patch_kernel: Sequence[int] = (3, 7, 7),
        patch_stride: Sequence[int] = (2, 4, 4),
        q_strides: Sequence[Sequence[int]] | None = None,
        kv_stride: Sequence[int] = (1, 8, 8),
        **kwargs: Any,
    ) -> None:
        if q_strides is None:
            stride = (1,) * (len(input_size) - 2) + (2, 2)
            q_strides = [stride] * len(resolve_arch(arch)['stage_blocks'])
        super().__init__(
            arch,
            input_size,
            in_channels,
            patch_kernel=patch_kernel,
            patch_stride=patch_stride,
            q_strides=q_strides,
            kv_stride=kv_stride,
            **kwargs,
        )
