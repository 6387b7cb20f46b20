"""The one place of attention with decomposed relative positions: its forms, which one is taken, and layouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmav.errors import ConfigError, did_you_mean
from mmav.models.ops.eager_cpu import on_eager_cpu, under_transform
from mmav.models.ops.flex_attention import flex_attention
from mmav.models.ops.lean import cheap, halved
from mmav.models.ops.onehot import along, cached_onehot
from mmav.models.ops.relative_bias import relative_bias
from mmav.models.ops.sdpa_backends import expected_backend, gpu_capability
from mmav.models.ops.tiled_attention import Classes, tiled_attention
from mmav.models.ops.triton_attention import triton_attention

FORMS = ('auto', 'explicit', 'folded', 'tiled', 'flex', 'triton')
# those that are one operator, with a backward pass of our own
OPERATORS = ('tiled', 'triton')
# what ``auto`` is on a GPU
ON_GPU = 'folded'
# With fewer scores in all, what is done around the tiles takes longer than they save (docs/performance.md); so it does
# where there are fewer keys than a head is wide, and the matrix is smaller than the queries.
LEAST_SCORES = 256 * 1024


def explicit_attention(q: Tensor, k: Tensor, v: Tensor, bias: Sequence[Tensor], k_grid: Sequence[int]) -> Tensor:
    """softmax(q k^T / sqrt(d) + E_rel) v with E_rel written out.

    Args:
        q: Queries (B, heads, c + Nq, d), c = 1 with a class token, else 0.
        k: Keys (B, heads, c + Nk, d).
        v: Values (B, heads, c + Nk, d).
        bias: Per axis (B, heads, Nq, k_grid[axis]); empty for no relative positions.
        k_grid: What Nk unrolls.

    Returns:
        (B, heads, c + Nq, d).
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if bias:
        num_cls = k.shape[2] - math.prod(k_grid)
        total: Tensor | int = 0
        for axis, part in enumerate(bias):
            total = total + part.unflatten(-1, along(axis, k_grid))
        scores = scores + F.pad(total.flatten(3), (num_cls, 0, num_cls, 0))  # type: ignore[union-attr]
    return scores.softmax(dim=-1) @ v


def folded_attention(q: Tensor, k: Tensor, v: Tensor, bias: Sequence[Tensor], k_grid: Sequence[int]) -> Tensor:
    """The same value through one fused kernel: the bias rides in extra columns of queries and keys.

    A decomposed bias is an inner product: with q' = [q, bias_1, bias_2, ...] and k' = [k, onehot of the key's position
    on axis 1, on axis 2, ...], q' k'^T / sqrt(d) = q k^T / sqrt(d) + E_rel, so that no Nq x Nk matrix is kept for it.
    The class token has zeros there. Where it gets PyTorch a flash kernel on a GPU, which takes one width only, the
    values get columns of zeros, too.

    The bias is taken times sqrt(d), so that the kernel divides all by it: queries of a half type that were divided
    before would be rounded once more, which made the error of the result in bfloat16 a third larger. The tables that
    the bias comes from can be scaled before they are rounded.

    Args:
        q: Queries (B, heads, c + Nq, d), c = 1 with a class token, else 0.
        k: Keys (B, heads, c + Nk, d).
        v: Values (B, heads, c + Nk, d).
        bias: Per axis (B, heads, Nq, k_grid[axis]), sqrt(d) times that of :func:`explicit_attention`; may be empty.
        k_grid: What Nk unrolls.

    Returns:
        (B, heads, c + Nq, d).
    """
    dim = q.shape[-1]
    num_cls = k.shape[2] - math.prod(k_grid) if bias else 0
    # fused GPU kernels ask for rows of a multiple of 8 elements
    fill = -(dim + sum(k_grid)) % 8 if bias else -dim % 8 if _on_gpu(q) else 0
    q = cheap(_folded_queries, q, list(bias), fill, num_cls)
    k = cheap(_folded_keys, k, tuple(k_grid) if bias else (), fill, num_cls)
    v = cheap(_filled, v, _value_fill(q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=dim**-0.5)[..., :dim]


# Pieces are put side by side where they lie, heads after tokens: copies are straight, and so will be the result's.
def _folded_queries(q: Tensor, bias: Sequence[Tensor], fill: int, num_cls: int) -> Tensor:
    if not bias:
        return _filled(q, fill)
    zeros = q.new_zeros(()).expand(q.shape[0], q.shape[2] - num_cls, q.shape[1], fill)
    columns = torch.cat((*(x.transpose(1, 2) for x in bias), zeros), dim=-1)
    columns = F.pad(columns, (0, 0, 0, 0, num_cls, 0)) if num_cls else columns
    return torch.cat((q.transpose(1, 2), columns), dim=-1).transpose(1, 2)


def _folded_keys(k: Tensor, k_grid: Sequence[int], fill: int, num_cls: int) -> Tensor:
    if not k_grid:
        return _filled(k, fill)
    columns = F.pad(cached_onehot(k_grid, fill, k), (0, 0, num_cls, 0))[:, None].expand(k.shape[0], -1, k.shape[1], -1)
    return torch.cat((k.transpose(1, 2), columns), dim=-1).transpose(1, 2)


def _filled(x: Tensor, fill: int) -> Tensor:
    return F.pad(x.transpose(1, 2), (0, fill)).transpose(1, 2) if fill else x


def _value_fill(q: Tensor, k: Tensor, v: Tensor) -> int:
    """Columns of zeros that the fastest kernel which a GPU has for folded queries and keys asks for in the values."""
    if not _on_gpu(q):
        return 0
    capability, fused = gpu_capability(q.device), ('cudnn', 'flash')
    if expected_backend(q, k, v, capability=capability) in fused:
        return 0
    # keys are as values of their width would be
    if expected_backend(q, k, k, capability=capability) in fused:
        return k.shape[-1] - v.shape[-1]
    return -v.shape[-1] % 8


def _on_gpu(x: Tensor) -> bool:
    return x.device.type == 'cuda'


def _without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Has all computed in the type that it has: products that write into a tile cannot be cast."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def check_form(form: str) -> None:
    """Raises a ConfigError if a form is none of ``FORMS``."""
    if form not in FORMS:
        near = did_you_mean(str(form), FORMS)
        raise ConfigError(f'attention={form!r} is unknown: choose one of {", ".join(FORMS)}{near}')


def choose_form(q: Tensor, k: Tensor) -> str:
    """The form that ``auto`` is for queries and keys (B, N, heads, d) of patch tokens.

    ``ON_GPU`` on a GPU; on a CPU tiled, or explicit where there are few scores or keys and when traced, compiled or in
    a half type; folded elsewhere.
    """
    if q.device.type != 'cpu':
        return ON_GPU if q.device.type == 'cuda' else 'folded'
    large = math.prod(q.shape[:3]) * k.shape[1] >= LEAST_SCORES and k.shape[1] > q.shape[-1]
    return 'tiled' if large and on_eager_cpu(q) else 'explicit'


def usable_forms(device: str, dtype: torch.dtype) -> tuple[str, ...]:
    """The forms other than ``auto`` that there are on a device ('cpu', 'cuda') in a type, with their backward pass."""
    if device != 'cpu':
        return ('explicit', 'folded', 'flex', 'triton') if dtype != torch.float64 else ('explicit', 'folded', 'flex')
    return ('explicit', 'folded', 'tiled') if dtype in (torch.float32, torch.float64) else ('explicit', 'folded')


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_grid: Sequence[int],
    k_grid: Sequence[int],
    *,
    tables: Sequence[Tensor] = (),
    classes: Classes | None = None,
    residual: bool = False,
    form: str = 'auto',
) -> Tensor:
    """softmax(q k^T / sqrt(d) + E_rel) v, plus q where there is a residual (Eq. 2).

    E_rel comes from the unscaled queries. The class token has no relative position and no residual, as public MViTv2
    weights expect (facebookresearch/SlowFast, slowfast/models/attention.py).

    Args:
        q: Queries of the patch tokens (B, Nq, heads, d).
        k: Their keys (B, Nk, heads, d).
        v: Their values (B, Nk, heads, d).
        q_grid: What Nq unrolls.
        k_grid: What Nk unrolls.
        tables: Of relative positions, per axis (2 * max(q_grid[axis], k_grid[axis]) - 1, d); empty for none.
        classes: Query, key and value of the class token, each (B, 1, heads, d).
        residual: Whether the patches' queries are added to their result.
        form: One of ``FORMS``: written out (:func:`explicit_attention`), through a kernel of PyTorch's
            (:func:`folded_attention`, :func:`~mmav.models.ops.flex_attention.flex_attention`), in tiles for a CPU
            (:func:`~mmav.models.ops.tiled_attention.tiled_attention`), in Triton kernels for a GPU
            (:func:`~mmav.models.ops.triton_attention.triton_attention`), or what :func:`choose_form` says (auto).

    Returns:
        (B, c + Nq, heads, d), c = 1 with a class token, else 0.

    Raises:
        ConfigError: If ``form`` is unknown or cannot run here.
    """
    check_form(form)
    form = choose_form(q, k) if form == 'auto' else form
    if form in OPERATORS and under_transform():
        raise ConfigError(
            f'attention={form!r} has no forward mode and no other transforms of torch.func: take explicit'
        )
    if form == 'triton':
        return triton_attention(q, k, v, tables, q_grid, k_grid, classes=classes, residual=residual)
    if form == 'tiled':
        with _without_autocast(q):
            bias = relative_bias(q, tables, q_grid, k_grid)
            return tiled_attention(q, k, v, bias, k_grid, classes=classes, residual=residual)
    queries, tokens = q, [q, k, v]
    if form != 'explicit':  # once for the bias and the kernel; plain products cast what they need, scaled queries say
        tokens = [halved(x) for x in tokens]
    if form == 'folded':
        tables = [table * q.shape[-1] ** 0.5 for table in tables]
    bias = relative_bias(tokens[0], tables, q_grid, k_grid)
    if classes is not None:
        tokens = [cheap(_joined, cls, x) for cls, x in zip(classes, tokens, strict=True)]
    q, k, v, *bias = (x.transpose(1, 2) for x in (*tokens, *bias))  # (B, heads, c + N, d)
    by_head = dict(explicit=explicit_attention, folded=folded_attention, flex=flex_attention)[form]
    out = by_head(q, k, v, bias, k_grid).transpose(1, 2)
    if not residual:
        return out
    # tests/models/layers/test_multiscale_attention.py guards that the class token gets none
    return cheap(_plus_queries, out, queries, classes is not None)


def _joined(cls: Tensor, patches: Tensor) -> Tensor:
    return torch.cat((cls.to(patches.dtype), patches), dim=1)


def _plus_queries(out: Tensor, queries: Tensor, with_cls: bool) -> Tensor:
    return out + (F.pad(queries, (0, 0, 0, 0, 1, 0)) if with_cls else queries)
