"""The attention that the encoders of a config have: sizes, generated inputs, and a pass in one of its forms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from mmav.engine.precision import DTYPES
from mmav.errors import ConfigError
from mmav.models.backbones.mvit import MultiscaleTransformer
from mmav.models.ops import attention
from mmav.registry import MODELS


@dataclass(frozen=True)
class Shape:
    """Sizes of the attention in a block.

    Attributes:
        encoder: Name of the backbone.
        q_grid: Grid of the pooled queries.
        k_grid: Grid of the pooled keys and values.
        heads: Number of heads.
        dim: Width of one.
        num_cls: 1 with a class token, else 0.
        rel_pos: Whether there are relative positions.
    """

    encoder: str
    q_grid: tuple[int, ...]
    k_grid: tuple[int, ...]
    heads: int
    dim: int
    num_cls: int = 1
    rel_pos: bool = True

    @property
    def operations(self) -> int:
        """Of the two products of a forward pass of one clip, a multiplication and an addition being two."""
        queries, keys = (math.prod(grid) + self.num_cls for grid in (self.q_grid, self.k_grid))
        return 4 * queries * keys * self.heads * self.dim


def attention_shapes(cfg: Config) -> dict[Shape, int]:
    """Sizes of the multiscale attention of a config's encoders, from the first block on -> number of blocks.

    Raises:
        ConfigError: No backbone has multiscale attention.
    """
    init_default_scope('mmav')
    # None is how a config leaves out a backbone of the one that it is based on
    backbones = {name: part for name, part in (cfg.model.get('backbones') or {}).items() if part}
    found: Counter[Shape] = Counter()
    for name, backbone in backbones.items():
        with torch.device('meta'):
            encoder = MODELS.build(backbone)
        if not isinstance(encoder, MultiscaleTransformer):
            continue
        grid: Sequence[int] = encoder.patch_embed.grid_of(encoder.input_size)
        for block in encoder.blocks:
            attn: Any = block.attn
            q_grid, k_grid = attn.pool_q.out_grid(grid), attn.pool_k.out_grid(grid)
            dim, num_cls = attn.qkv.out_features // 3 // attn.num_heads, int(encoder.cls_token is not None)
            found[Shape(name, q_grid, k_grid, attn.num_heads, dim, num_cls, attn.rel_pos is not None)] += 1
            grid = q_grid
    if not found:
        types = ', '.join(f'{name}: {backbone["type"]}' for name, backbone in backbones.items()) or 'none'
        raise ConfigError(f'no backbone has multiscale attention ({types}): take a config with MAT or MViTv2')
    return dict(found)


def grid_name(grid: Sequence[int]) -> str:
    """``8x14x14``."""
    return 'x'.join(map(str, grid))


@dataclass
class Inputs:
    """What a block hands to the attention: tokens (B, N, heads, width), as its pooling leaves them, and tables.

    Attributes:
        patches: Queries, keys and values.
        classes: Those of the class token, or none.
        tables: Of relative positions, in float32 as parameters are, or none.
        q_grid: What the queries unroll.
        k_grid: What keys and values unroll.
    """

    patches: list[Tensor]
    classes: list[Tensor]
    tables: list[Tensor]
    q_grid: tuple[int, ...]
    k_grid: tuple[int, ...]

    def leaves(self) -> list[Tensor]:
        """All tensors, which the gradients are of."""
        return [*self.patches, *self.classes, *self.tables]

    def first(self, dtype: torch.dtype) -> Inputs:
        """The first clip, in another type."""
        patches, classes = ([x[:1].detach().to(dtype) for x in xs] for xs in (self.patches, self.classes))
        return Inputs(patches, classes, [x.detach() for x in self.tables], self.q_grid, self.k_grid)


def make_inputs(shape: Shape, batch_size: int = 1, *, device: str = 'cpu', dtype: str = 'float32') -> Inputs:
    """Normally distributed queries, keys, values, class tokens and tables, the same ones every time."""
    generator = torch.Generator().manual_seed(0)

    def draw(length: int) -> Tensor:
        x = torch.randn(batch_size, length, shape.heads, shape.dim, generator=generator)
        return x.to(device, DTYPES[dtype]).requires_grad_()

    queries, keys = math.prod(shape.q_grid), math.prod(shape.k_grid)
    patches, classes = [draw(length) for length in (queries, keys, keys)], [draw(1) for _ in range(3 * shape.num_cls)]
    sizes = [max(pair) for pair in zip(shape.q_grid, shape.k_grid, strict=True) if shape.rel_pos]
    # products with queries are about as large as with keys
    tables = [torch.randn(2 * size - 1, shape.dim, generator=generator) * shape.dim**-0.5 for size in sizes]
    tables = [table.to(device).requires_grad_() for table in tables]
    return Inputs(patches, classes, tables, shape.q_grid, shape.k_grid)


def attend(form: str, inputs: Inputs) -> Tensor:
    """The attention in one of its forms, from what the pooling leaves to what the last projection reads.

    Returns:
        (B, c + Nq, heads * d), without residual pooling.
    """
    q, k, v = inputs.patches
    grids = (inputs.q_grid, inputs.k_grid)
    return attention.attend(q, k, v, inputs.tables, grids, classes=inputs.classes, form=form).flatten(2)
