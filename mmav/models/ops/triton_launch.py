"""Launches the Triton kernels: tile sizes, workspace, and the plain products before and after them."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmav.errors import ConfigError
from mmav.models.ops.relative_bias import relative_bias, relative_bias_backward

# For the gradients of keys, queries are split among more programs if there are fewer tiles of keys than this: four per
# multiprocessor of an A100, which has 108. The same on every device, so that all sum in the same order.
PROGRAMS = 432


@dataclass(frozen=True)
class Blocks:
    """Tile sizes of queries and keys, and the numbers of warps and pipeline stages."""

    queries: int
    keys: int
    warps: int
    stages: int


def choose_blocks(kernel: str, dtype: torch.dtype, *, dim: int, outer: int) -> Blocks:
    """The tile sizes of a kernel: fixed, because with autotuning results would depend on timings.

    Not measured on a GPU yet, but compiled for an A100 and an H100. A thread has 255 registers, and these are the
    largest tiles whose inner loops spill none or almost none of them to memory, for heads of width 96. With 128
    queries, 64 keys and 8 warps, a thread of the forward kernel holds 48 elements of the result, 32 scores and 32
    elements of the last axis's bias; the gradients of queries need four tiles of the size of the scores, hence fewer
    keys. Keys and values being loaded, two tiles each of 64 x 96 elements of 2 bytes, take 48 KiB of the 84 KiB of
    shared memory that the forward kernel needs in bfloat16; the others need 45 to 95 KiB. An A100 has 163 KiB, consumer
    cards have 99 KiB, enough for widths up to 128 if the axes before the last have at most 32 positions together.

    Args:
        kernel: Its name.
        dtype: Type of the queries.
        dim: Width of a head.
        outer: Number of one-hot columns.
    """
    wide = dim > 96
    if kernel == 'attention_forward':
        of_half = Blocks(128, 64, 8, 2 if wide else 3)
        of_float32 = Blocks(64, 32, 4, 2) if wide else Blocks(128, 32, 8, 2)
    elif kernel == 'attention_backward_queries':
        of_half, of_float32 = Blocks(128, 32, 8, 2), Blocks(64, 16, 8, 2)
    else:
        of_half = Blocks(32, 64, 4, 2)
        of_float32 = Blocks(32, 32, 4, 2) if wide else Blocks(32, 64, 8, 2)
    blocks = of_float32 if dtype == torch.float32 else of_half
    if outer <= 32:
        return blocks
    most = max(16, 4096 // outer)  # fewer rows make room for positions on long axes
    return Blocks(min(blocks.queries, most), min(blocks.keys, most), 4, blocks.stages)


def pieces(dim: int) -> tuple[int, int]:
    """The two widths, powers of two, that a head is split into; the second may be padded or 0.

    >>> pieces(96), pieces(64), pieces(80), pieces(100)
    ((64, 32), (64, 0), (64, 16), (64, 64))
    """
    first = max(16, 1 << (dim.bit_length() - 1))
    rest = dim - first
    return first, _power(rest) if rest > 0 else 0


def _power(size: int) -> int:
    """The next power of two, but at least 16, the minimum for a product of tiles."""
    return max(16, 1 << (size - 1).bit_length())


_FILES = ('triton_kernels', 'triton_backward')
_loaded: dict[bool, dict[str, Any]] = {}


def load_kernel(name: str) -> Any:
    """A kernel, interpreted if ``TRITON_INTERPRET=1`` is set at the time of the call, else compiled.

    Triton reads the variable when kernels are defined, so their modules are imported once for each value.

    Raises:
        ConfigError: Triton is missing.
    """
    interpreted = is_interpreted()
    if interpreted not in _loaded:
        paths = [f'{__package__}.{file}' for file in _FILES]
        others = {path: sys.modules.pop(path) for path in paths if path in sys.modules}
        try:
            modules = [importlib.import_module(path) for path in paths]
        finally:
            for path in paths:
                sys.modules.pop(path, None)
            sys.modules.update(others)
        _loaded[interpreted] = {key: value for module in modules for key, value in vars(module).items()}
    return _loaded[interpreted][name]


def is_interpreted() -> bool:
    """Whether Triton is told to run kernels on a CPU.

    Raises:
        ConfigError: Triton is missing.
    """
    try:
        from triton import knobs
    except ImportError as error:
        raise ConfigError(f"triton attention needs triton ({error}): use attention='auto'") from error
    return bool(knobs.runtime.interpret)


@dataclass(frozen=True)
class Plan:
    """What all three kernels need to know about a call.

    Attributes:
        grid: The keys' grid as (rows, last axis); without positions all keys are rows.
        outer_axes: Sizes of the two axes before the last, 1 if missing.
        outer: Number of one-hot columns for them.
        rank: Number of axes with positions.
        num_cls: Number of class tokens, 1 or 0.
    """

    grid: tuple[int, int]
    outer_axes: tuple[int, int]
    outer: int
    rank: int
    num_cls: int

    @classmethod
    def of(cls, k_grid: Sequence[int], *, has_tables: bool, has_class: bool) -> Plan:
        outer_axes = k_grid[:-1]
        if not has_tables:
            return cls((math.prod(k_grid), 1), (1, 1), 0, 0, int(has_class))
        outer = _power(sum(outer_axes)) if outer_axes else 0
        first, second = (1, 1, *outer_axes)[-2:]
        return cls((math.prod(outer_axes), k_grid[-1]), (first, second), outer, len(k_grid), int(has_class))

    @property
    def width(self) -> int:
        """Columns of the bias workspace: those of the outer axes, padded, then those of the last axis."""
        # a multiple of 16, so that the compiler can assume aligned rows
        return self.outer + -(-self.grid[1] // 16) * 16 if self.rank else 0

    def options(self, kernel: str, q: Tensor) -> dict[str, Any]:
        """The compile-time constants of a kernel."""
        dim = q.shape[-1]
        blocks = choose_blocks(kernel, q.dtype, dim=dim, outer=self.outer)
        first, second = pieces(dim)
        precise = q.dtype == torch.float32 and not torch.backends.cuda.matmul.allow_tf32
        return dict(
            D=dim,
            D0=first,
            D1=second,
            BM=blocks.queries,
            BN=blocks.keys,
            W=min(blocks.keys, 1 << (self.grid[1] - 1).bit_length()),
            OUTER=self.outer,
            RANK=self.rank,
            CLS=self.num_cls,
            PRECISION='ieee' if precise else 'tf32',
            WIDEN=is_interpreted() and q.dtype == torch.bfloat16,
            num_warps=blocks.warps,
            num_stages=blocks.stages,
        )

    def bias(self, q: Tensor, tables: Sequence[Tensor], q_grid: Sequence[int], k_grid: Sequence[int]) -> Tensor:
        """The workspace (B, Nq, heads, width): products of queries and table rows, with zeros as padding."""
        if not self.rank:
            return q
        workspace = q.new_zeros(*q.shape[:3], self.width)
        for place, part in zip(self._places(k_grid), relative_bias(q, tables, q_grid, k_grid), strict=True):
            workspace[..., place] = part
        return workspace

    def parts(self, workspace: Tensor, k_grid: Sequence[int]) -> list[Tensor]:
        """The parts of a workspace for each axis."""
        return [workspace[..., place] for place in self._places(k_grid)]

    def _places(self, k_grid: Sequence[int]) -> list[slice]:
        starts = [sum(k_grid[:axis]) for axis in range(len(k_grid) - 1)] + [self.outer]
        return [slice(start, start + size) for start, size in zip(starts, k_grid, strict=True)]


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_cls: Tensor | None,
    k_cls: Tensor | None,
    v_cls: Tensor | None,
    tables: Sequence[Tensor],
    q_grid: Sequence[int],
    k_grid: Sequence[int],
    residual: bool,
) -> tuple[Tensor, Tensor]:
    """The result (B, c + Nq, heads, d) and the log-sum-exp of each row (B, heads, c + Nq).

    Raises:
        ConfigError: The tensors are not on a GPU, or triton is missing.
    """
    if q.device.type not in ('cuda', 'meta') and not is_interpreted():
        raise ConfigError(
            f"triton attention takes tensors on a GPU, not on {q.device.type}: use attention='auto' (or "
            'set TRITON_INTERPRET=1 to try it slowly on a CPU)'
        )
    plan = Plan.of(k_grid, has_tables=bool(tables), has_class=q_cls is not None)
    batch, q_len, heads, dim = q.shape
    out = q.new_empty(batch, plan.num_cls + q_len, heads, dim)
    lse = q.new_empty(batch, heads, plan.num_cls + q_len, dtype=torch.float32)
    if not out.numel():
        return out, lse
    q, k, v = (_row_major(x) for x in (q, k, v))
    of_class = [q if x is None else _row_major(x) for x in (q_cls, k_cls, v_cls)]
    options = plan.options('attention_forward', q)
    programs = (-(-q_len // options['BM']) + plan.num_cls) * batch * heads
    with _on_device_of(q):
        load_kernel('attention_forward')[(programs,)](
            *(q, k, v, *of_class, plan.bias(q, tables, q_grid, k_grid), out, lse),
            *_strides(q, k, v),
            *_class_strides(of_class),
            *(heads, q_len, *plan.grid, *plan.outer_axes, plan.width, dim**-0.5),
            RESIDUAL=residual,
            **options,
        )
    return out, lse


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_cls: Tensor | None,
    k_cls: Tensor | None,
    v_cls: Tensor | None,
    tables: Sequence[Tensor],
    q_grid: Sequence[int],
    k_grid: Sequence[int],
    residual: bool,
    out: Tensor,
    lse: Tensor,
) -> list[Tensor]:
    """Gradients of q, k, v, of those of the class token, if any, and of the tables."""
    plan = Plan.of(k_grid, has_tables=bool(tables), has_class=q_cls is not None)
    batch, q_len, heads, dim = q.shape
    if not out.numel():
        given = [x for x in (q, k, v, q_cls, k_cls, v_cls, *tables) if x is not None]
        return [torch.zeros_like(x, memory_format=torch.contiguous_format) for x in given]
    q, k, v, grad = (_row_major(x) for x in (q, k, v, grad))
    of_class = [q if x is None else _row_major(x) for x in (q_cls, k_cls, v_cls)]
    bias = plan.bias(q, tables, q_grid, k_grid)
    delta, scale = torch.empty_like(lse), dim**-0.5
    sizes = (*plan.grid, *plan.outer_axes, plan.width, scale)
    strides = (*_strides(q, k, v), *_class_strides(of_class))
    with _on_device_of(q):
        options = plan.options('attention_backward_queries', q)
        tiles = -(-q_len // options['BM']) + plan.num_cls
        grad_q = q.new_empty(q.shape)
        grad_q_cls = q.new_empty(batch, plan.num_cls, heads, dim)
        grad_bias = torch.empty_like(bias) if plan.rank else q
        shares = q.new_empty(2, batch, heads, tiles * plan.num_cls, dim, dtype=torch.float32)
        load_kernel('attention_backward_queries')[(tiles * batch * heads,)](
            *(q, k, v, *of_class, bias, out, lse, grad, delta, grad_q, grad_q_cls, grad_bias, shares[0], shares[1]),
            *strides,
            *_strides(grad),
            *(heads, q_len, *sizes),
            RESIDUAL=residual,
            **options,
        )
        options = plan.options('attention_backward_keys', q)
        k_tiles = -(-plan.grid[0] // (options['BN'] // options['W'])) * -(-plan.grid[1] // options['W'])
        q_tiles = -(-q_len // options['BM'])
        per_split = -(-q_tiles // max(1, min(q_tiles, PROGRAMS // (k_tiles * batch * heads))))
        splits = -(-q_tiles // per_split)
        dtype = q.dtype if splits == 1 else torch.float32
        grad_k, grad_v = (q.new_empty(splits, *k.shape, dtype=dtype) for _ in range(2))
        load_kernel('attention_backward_keys')[(k_tiles * splits * batch * heads,)](
            *(q, k, v, of_class[0], bias, lse, grad, delta, grad_k, grad_v),
            *(*_strides(q, k, v), *_class_strides(of_class[:1]), *_strides(grad)),
            *(batch, heads, q_len, *sizes, splits, per_split),
            **options,
        )
    grads = [grad_q, *(x.sum(0).to(q.dtype) if splits > 1 else x[0] for x in (grad_k, grad_v))]
    if plan.num_cls:
        of_keys, of_values = (share.sum(2).unsqueeze(1) for share in shares)
        grads += [grad_q_cls, (of_keys * scale).to(q.dtype), of_values.to(q.dtype)]
    if tables:
        parts = plan.parts(grad_bias, k_grid)
        grads += relative_bias_backward(parts, q, tables, q_grid, k_grid, grad_q=grad_q)
    return grads


def _row_major(x: Tensor) -> Tensor:
    """Makes rows contiguous, as the kernels need; the gradient of a sum, for example, is an expanded scalar."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for x in tensors for stride in x.stride()[:3]]


def _class_strides(tensors: Sequence[Tensor]) -> list[int]:
    return [stride for x in tensors for stride in (x.stride(0), x.stride(2))]


def _on_device_of(x: Tensor) -> AbstractContextManager[Any]:
    return torch.cuda.device(x.device) if x.device.type == 'cuda' else nullcontext()
