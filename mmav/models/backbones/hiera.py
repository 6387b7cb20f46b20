"""Hiera, the hierarchical transformer of plain attention, for inputs of any rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmav.adapting import Adapted, Hints
from mmav.errors import ConfigError
from mmav.models.backbones.base import Backbone
from mmav.models.backbones.mvit import resolve_arch
from mmav.models.init import DrawnModule
from mmav.models.layers import PatchEmbed
from mmav.models.layers.absolute_position import fit_positions, guess_grid, resize_positions
from mmav.models.layers.mask_unit_block import MaskUnitBlock, from_units, take_units, to_units
from mmav.models.layers.patch_embed import to_tuple
from mmav.models.layers.token_drop import TokenDrop
from mmav.registry import MODELS
from mmav.structures import Tokens

# width and heads double in the blocks named by stage_blocks
ARCHS: dict[str, dict[str, Any]] = {
    'tiny': dict(embed_dims=96, num_layers=12, num_heads=1, stage_blocks=(1, 3, 10)),
    'small': dict(embed_dims=96, num_layers=16, num_heads=1, stage_blocks=(1, 3, 14)),
    'base': dict(embed_dims=96, num_layers=24, num_heads=1, stage_blocks=(2, 5, 21)),
    'base_plus': dict(embed_dims=112, num_layers=24, num_heads=2, stage_blocks=(2, 5, 21)),
    'large': dict(embed_dims=144, num_layers=48, num_heads=2, stage_blocks=(2, 8, 44)),
    'huge': dict(embed_dims=256, num_layers=48, num_heads=4, stage_blocks=(2, 8, 44)),
}


@MODELS.register_module()
class Hiera(DrawnModule, Backbone):
    """Hierarchical transformer without convolutions or relative positions (Ryali et al. 2023; facebookresearch/hiera).

    Takes clips (B, 3, T, H, W). With an ``input_size`` of length two it is the image model, which also takes
    spectrograms (B, 1, F, T). ``base`` at 16x224x224 has 50.8 M parameters and pools 8x56x56 tokens of width 96 to
    8x7x7 of width 768. The first ``unit_stages`` stages attend within units of neighbouring tokens, the others over
    all tokens. Arguments that are None depend on the rank only, as in the public models.

    ``Tokens.cls`` is the LayerNorm of the mean of the patches; the patches are those of the last block, without norm.
    At run time inputs may have another size: the positions are then interpolated. Units at the end of a grid that they
    do not divide are filled with tokens that nothing attends to.

    Args:
        arch: A name in ``ARCHS``, or a dict of ``embed_dims``, ``num_layers``, ``num_heads``, ``stage_blocks``.
        input_size: Size of the input at construction: (T, H, W) of a clip, (H, W) of an image or (F, T) of a
            spectrogram.
        in_channels: Channels of the input; 3, or 1 for a spectrogram.
        patch_kernel: Kernel of the patch embedding; (3, 7, 7) or (7, 7) if None.
        patch_stride: Stride of the patch embedding; (2, 4, 4) or (4, 4) if None.
        unit: Size of a unit in tokens; (1, 8, 8) or (8, 8) if None.
        q_stride: Stride of the pooling where a stage begins; (1, 2, 2) or (2, 2) if None.
        q_pool: How many of the stages begin with pooling; all but the first if None.
        unit_stages: How many stages attend within units.
        mlp_ratio: Hidden width of the MLPs over the width.
        drop_path_rate: Probability of dropping the last block's branches, rising linearly from 0 at the first.
        token_drop: Which units of tokens training leaves out, the same of all clips of a batch: a dict of ``ratio``,
            the share of units, ``axes``, for each axis that of slices of units, or both; see
            :class:`~mmav.models.layers.token_drop.TokenDrop`.
        init_std: Standard deviation of the initial linear weights; small models need more than the usual 0.02.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If sizes contradict each other.
        ConfigError: If ``token_drop`` cannot be, or leaves out nothing.

    >>> arch = dict(embed_dims=8, num_layers=4, num_heads=1, stage_blocks=(1, 2, 3))
    >>> tokens = Hiera(arch, input_size=(4, 64, 64))(torch.zeros(2, 3, 4, 64, 64))
    >>> tokens.cls.shape, tokens.patches.shape, tokens.grid
    (torch.Size([2, 64]), torch.Size([2, 8, 64]), (2, 2, 2))
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = 'base',
        input_size: Sequence[int] = (16, 224, 224),
        in_channels: int = 3,
        *,
        patch_kernel: Sequence[int] | None = None,
        patch_stride: Sequence[int] | None = None,
        unit: Sequence[int] | None = None,
        q_stride: Sequence[int] | None = None,
        q_pool: int | None = None,
        unit_stages: int = 2,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        token_drop: Mapping[str, Any] | None = None,
        init_std: float = 0.02,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        sizes = resolve_arch(arch, ARCHS)
        stages: tuple[int, ...] = sizes['stage_blocks']
        super().__init__(input_size, in_channels, sizes['embed_dims'] * 2 ** len(stages), init_cfg=init_cfg)
        rank = len(input_size)
        q_pool = len(stages) if q_pool is None else q_pool
        if not 0 <= q_pool <= len(stages):
            raise ValueError(f'q_pool={q_pool}: there are {len(stages)} stages that can begin with pooling')
        kernel = to_tuple(patch_kernel or _by_rank(rank, 3, 7), rank, 'patch_kernel')
        self.unit = to_tuple(unit or _by_rank(rank, 1, 8), rank, 'unit')
        stride = to_tuple(q_stride or _by_rank(rank, 1, 2), rank, 'q_stride')
        if any(u % s**q_pool for u, s in zip(self.unit, stride, strict=True)):
            raise ValueError(
                f'unit={self.unit} cannot be pooled {q_pool} times by q_stride={stride}: give multiples of '
                f'{tuple(s**q_pool for s in stride)}'
            )
        width, heads, depth = sizes['embed_dims'], sizes['num_heads'], sizes['num_layers']
        self.init_std = init_std
        self.patch_embed = PatchEmbed(in_channels, width, kernel, stride=patch_stride or _by_rank(rank, 2, 4))
        self.grid = self.patch_embed.grid_of(input_size)
        for name, grid in self.position_grids().items():
            setattr(self, name, nn.Parameter(torch.zeros(1, math.prod(grid), width)))
        self.blocks = nn.ModuleList()
        for index in range(depth):
            out_width, begins, stage = width, index in stages, sum(index > first for first in stages)
            if begins:
                out_width, heads = 2 * width, 2 * heads
            pools = begins and stages.index(index) < q_pool
            block = MaskUnitBlock(
                width,
                out_width,
                heads,
                stride=stride if pools else (1,) * rank,
                # the first block of a stage still attends as the stage before, on its many tokens
                within=stage < unit_stages,
                mlp_ratio=mlp_ratio,
                drop_path=drop_path_rate * index / max(depth - 1, 1),
            )
            self.blocks.append(block)
            width = out_width
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.token_drop = TokenDrop.read(token_drop, self._units_along(self.grid))
        if self.token_drop is not None and any(u != s**q_pool for u, s in zip(self.unit, stride, strict=True)):
            raise ConfigError(
                f'token_drop: unit={self.unit} is not pooled to one token by q_stride={stride}, {q_pool} times, so '
                'what is left of a grid is none; give such a unit'
            )
        self.draw_aside()

    def position_grids(self) -> dict[str, tuple[int, ...]]:
        """The grids behind the tables of positions: of clips, one for space and one for time."""
        if len(self.grid) == 3:
            return dict(pos_embed_spatial=self.grid[1:], pos_embed_temporal=self.grid[:1])
        return dict(pos_embed=self.grid)

    def adapt_weight(self, name: str, value: Tensor, hints: Hints) -> Adapted | None:
        """Positions of another grid, interpolated as at run time, or cut; None for other weights.

        Args:
            name: Name of the parameter within this module.
            value: The value in the file.
            hints: The grid of its positions, and whether they are cut.
        """
        new = self.position_grids().get(name)
        if new is None or value.dim() != 3 or value.shape[2] != getattr(self, name).shape[2]:
            return None
        number = value.shape[1]
        old = hints.grid or ((number,) if len(new) == 1 else guess_grid(number, new))
        if old is None or math.prod(old) != number or len(old) != len(new):
            return None
        return Adapted(*fit_positions(value, old, new, cut=hints.cut))

    def _units_along(self, grid: Sequence[int]) -> tuple[int, ...]:
        return tuple(-(-n // u) for n, u in zip(grid, self.unit, strict=True))

    def _positions(self, grid: tuple[int, ...]) -> Tensor:
        if len(grid) != 3:
            return resize_positions(self.pos_embed, self.grid, grid)
        space = resize_positions(self.pos_embed_spatial, self.grid[1:], grid[1:])
        time = resize_positions(self.pos_embed_temporal, self.grid[:1], grid[:1])
        return (time[:, :, None] + space[:, None]).flatten(1, 2)

    def forward(self, x: Tensor) -> Tokens:
        """Encodes (B, C, *size) into tokens of width ``out_dims``.

        Raises:
            ValueError: If the input has another rank, other channels, or is too small.
        """
        x, grid = self.patch_embed(x)
        units = to_units(x + self._positions(grid), grid, self.unit)
        kept = None
        if self.token_drop is not None and self.training:
            places, kept = self.token_drop.draw(self._units_along(grid), x.device)
            units = take_units(units, places)
        for block in self.blocks:
            units = block(units)
        if kept is not None:  # one token of each unit is left
            x = units.x.flatten(1, 2)
            return Tokens(self.norm(x.mean(dim=1)), x, kept)
        pooled = tuple(u // v for u, v in zip(self.unit, units.unit, strict=True))
        grid = tuple(-(-n // s) for n, s in zip(grid, pooled, strict=True))
        x = from_units(units, grid)
        return Tokens(self.norm(x.mean(dim=1)), x, grid)


def _by_rank(rank: int, time: int, space: int) -> tuple[int, ...]:
    """One entry per axis; time is the first of three."""
    return (time,) * (rank - 2) + (space,) * min(rank, 2)
