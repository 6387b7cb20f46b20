"""The attention that the encoders of a config have: sizes, generated inputs, and the kernels that compute it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.sdpa_calls import noted_sdpa
from mmav.engine.memory.fused_sdpa import fused_sdpa
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
        """Of the two products of a forward pass for one clip; a multiplication and an addition count as two."""
        queries, keys = (math.prod(grid) + self.num_cls for grid in (self.q_grid, self.k_grid))
        return 4 * queries * keys * self.heads * self.dim


def attention_shapes(cfg: Config) -> dict[Shape, int]:
    """Sizes of the multiscale attention of a config's encoders, from the first block on -> number of blocks.

    Raises:
        ConfigError: No backbone has multiscale attention.
    """
    init_default_scope('mmav')
    # None is how a config drops a backbone of its base
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
    """What a block passes to the attention: tokens (B, N, heads, width) after pooling, and tables.

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
        """All tensors, those that gradients are computed for."""
        return [*self.patches, *self.classes, *self.tables]

    def first(self, dtype: torch.dtype) -> Inputs:
        """The first clip, in another type."""
        patches, classes = ([x[:1].detach().to(dtype) for x in xs] for xs in (self.patches, self.classes))
        return Inputs(patches, classes, [x.detach() for x in self.tables], self.q_grid, self.k_grid)


def make_inputs(shape: Shape, batch_size: int = 1, *, device: str = 'cpu', dtype: str = 'float32') -> Inputs:
    """Normally distributed queries, keys, values, class tokens and tables, the same every time."""
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
    """The attention in one of its forms, between the pooling and the last projection.

    Returns:
        (B, c + Nq, heads * d), without residual pooling.
    """
    q, k, v = inputs.patches
    grids = (inputs.q_grid, inputs.k_grid)
    return attention.attend(q, k, v, inputs.tables, grids, classes=inputs.classes, form=form).flatten(2)


def read_capability(text: str) -> tuple[int, int]:
    """``8.0`` as (8, 0).

    Raises:
        ConfigError: It is something else.
    """
    major, dot, minor = text.partition('.')
    if not dot or not (major.isdecimal() and minor.isdecimal()):
        raise ConfigError(f'--capability {text}: give it as NVIDIA writes it, 8.0 for an A100, 9.0 for an H100')
    return int(major), int(minor)


def folded_kernels(inputs: Inputs, capability: tuple[int, int] | None = None) -> dict[str, tuple[int, int, str]]:
    """Which kernel computes folded attention, without gradients and with.

    Args:
        inputs: On a GPU, where PyTorch is asked; or fake ones.
        capability: Of a GPU that is not in this machine, whose rules then apply.

    Returns:
        ``forward`` and ``backward``: width of queries and keys, width of values, kernel.
    """
    found = {}
    # PyTorch may choose another kernel for a forward pass alone
    for name, needs_grad in dict(forward=False, backward=True).items():
        with torch.set_grad_enabled(needs_grad), noted_sdpa(capability) as noted:
            attend('folded', inputs)
        (found[name],) = noted.calls
    return found


def expected_kernels(
    cfg: Config, capability: tuple[int, int], *, dtype: str = 'bfloat16', batch_size: int = 1
) -> list[dict[str, Any]]:
    """The kernels that PyTorch chooses at a config's sizes on a GPU of some capability, by its rules; needs no GPU.

    Returns:
        One dict per size: the attributes of :class:`Shape`, ``blocks``, and what :func:`folded_kernels` returns.

    Raises:
        ConfigError: No backbone has multiscale attention.
    """
    results = []
    for shape, blocks in attention_shapes(cfg).items():
        with FakeTensorMode(), fused_sdpa(capability=capability):
            found = folded_kernels(make_inputs(shape, batch_size, device='cuda', dtype=dtype), capability)
        results.append(dict(asdict(shape), blocks=blocks, **found))
    return results


def kernel_rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A table of what :func:`expected_kernels` found; the first row is the header."""
    header = ('encoder', 'blocks', 'queries', 'keys', 'heads', 'q, k', 'v', 'kernel', 'in a forward pass alone')
    return [
        header,
        *((*first_cells(found), *map(str, found['backward']), found['forward'][-1]) for found in results),
    ]


def first_cells(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells that a row of a table begins with: encoder, blocks, grids of queries and keys, heads x width."""
    heads = f'{found["heads"]} x {found["dim"]}'
    return found['encoder'], str(found['blocks']), grid_name(found['q_grid']), grid_name(found['k_grid']), heads


def kernel_name(found: Mapping[str, Sequence[Any]]) -> str:
    """The kernel in words: one, or that of a forward pass alone before that of a pass with gradients."""
    return ' / '.join(dict.fromkeys(found[name][-1] for name in ('forward', 'backward')))
