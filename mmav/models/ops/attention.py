"""Attention with decomposed relative positions: its forms, their thresholds and layouts, and the residual.

Start with :func:`attend`. All forms compute the same function; the explicit one is the definition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmav.errors import ConfigError, did_you_mean
from mmav.models.ops import tiled_attention as tiled_attention_operator  # noqa: F401 (it registers the operator)
from mmav.models.ops.eager import cheap, halved, is_lean, on_eager_cpu, under_transform
from mmav.models.ops.flex_attention import flex_attention
from mmav.models.ops.relative_bias import along, cached_onehot, relative_bias
from mmav.models.ops.sdpa_backends import expected_backend, gpu_capability
from mmav.models.ops.triton_attention import triton_attention

FORMS = ('auto', 'explicit', 'folded', 'tiled', 'flex', 'triton')
# Forms implemented as one operator with its own backward pass.
OPERATORS = ('tiled', 'triton')
# The form that ``auto`` chooses on a GPU.
ON_GPU = 'folded'
# With fewer scores than this in total, the overhead of the tiles exceeds what they save (docs/performance.md). The same
# holds with fewer keys than the width of a head, as the scores are then smaller than the queries.
LEAST_SCORES = 256 * 1024
# Up to this many columns the form ``tiled`` adds the bias with a matrix product; broadcasting is slower there, as its
# inner loops are as short as the last axis of the keys (docs/performance.md).
PRODUCT_COLUMNS = 32
# Outside of lean passes, the form ``tiled`` keeps rows of scores for the backward pass if they are at most this many
# times the width of a head: that saves a seventh of the time. Longer rows would be most of what a block keeps.
KEPT_WIDTHS = 6


def explicit_attention(q: Tensor, k: Tensor, v: Tensor, bias: Sequence[Tensor], k_grid: Sequence[int]) -> Tensor:
    """softmax(q k^T / sqrt(d) + E_rel) v with E_rel written out.

    Args:
        q: Queries (B, heads, c + Nq, d), c = 1 with a class token, else 0.
        k: Keys (B, heads, c + Nk, d).
        v: Values (B, heads, c + Nk, d).
        bias: Per axis (B, heads, Nq, k_grid[axis]); empty for no relative positions.
        k_grid: The grid that Nk unrolls.

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
    """The same value with one of PyTorch's fused kernels: extra columns of queries and keys carry the bias.

    A decomposed bias is an inner product: with q' = [q, bias_1, bias_2, ...] and k' = [k, onehot of the key's position
    on axis 1, on axis 2, ...], q' k'^T / sqrt(d) = q k^T / sqrt(d) + E_rel, so no Nq x Nk matrix is kept. These columns
    are zero for the class token. Values are padded with columns of zeros if PyTorch then has a flash kernel for the
    GPU, as that kernel supports only equal widths.

    The kernel divides everything by sqrt(d), so the bias is passed multiplied by sqrt(d). Dividing queries of a half
    type first would round them once more, which made the error of the result in bfloat16 a third larger; the tables
    behind the bias can be scaled before they are rounded.

    Args:
        q: Queries (B, heads, c + Nq, d), c = 1 with a class token, else 0.
        k: Keys (B, heads, c + Nk, d).
        v: Values (B, heads, c + Nk, d).
        bias: Per axis (B, heads, Nq, k_grid[axis]), sqrt(d) times that of :func:`explicit_attention`; may be empty.
        k_grid: The grid that Nk unrolls.

    Returns:
        (B, heads, c + Nq, d).
    """
    dim = q.shape[-1]
    num_cls = k.shape[2] - math.prod(k_grid) if bias else 0
    # fused GPU kernels need rows of a multiple of 8 elements
    fill = -(dim + sum(k_grid)) % 8 if bias else -dim % 8 if _on_gpu(q) else 0
    q = cheap(_folded_queries, q, list(bias), fill, num_cls)
    k = cheap(_folded_keys, k, tuple(k_grid) if bias else (), fill, num_cls)
    v = cheap(_filled, v, _value_fill(q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=dim**-0.5)[..., :dim]


# Columns are concatenated with the heads after the tokens, as in memory, so copies and the result are contiguous.
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
    """How many columns of zeros the values need for the GPU's fastest kernel for folded queries and keys."""
    if not _on_gpu(q):
        return 0
    capability, fused = gpu_capability(q.device), ('cudnn', 'flash')
    if expected_backend(q, k, v, capability=capability) in fused:
        return 0
    # as wide as the keys
    if expected_backend(q, k, k, capability=capability) in fused:
        return k.shape[-1] - v.shape[-1]
    return -v.shape[-1] % 8


def _on_gpu(x: Tensor) -> bool:
    return x.device.type == 'cuda'


def tiled_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Sequence[Tensor],
    k_grid: Sequence[int],
    *,
    classes: Sequence[Tensor] = (),
    residual: bool = False,
) -> Tensor:
    """The same value tile by tile on a CPU, see :mod:`mmav.models.ops.tiled_attention`; also adds the residual.

    Args:
        q: Queries of the patch tokens (B, Nq, heads, d).
        k: Their keys (B, Nk, heads, d).
        v: Their values (B, Nk, heads, d).
        bias: Per axis (B, Nq, heads, k_grid[axis]); empty for no relative positions.
        k_grid: The grid that Nk unrolls; only used with ``bias``.
        classes: As in :func:`attend`.
        residual: As in :func:`attend`.

    Returns:
        (B, c + Nq, heads, d), contiguous, c = 1 with a class token, else 0.
    """
    onehot = None
    if bias and sum(k_grid) <= PRODUCT_COLUMNS:
        fill = -sum(k_grid) % 8  # products of a width that is not a multiple of 8 take up to 1.5 times as long
        bias = [F.pad(torch.cat(list(bias), dim=-1), (0, fill))]
        onehot = cached_onehot(k_grid, fill, k)
    needs_grad = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, *classes, *bias))
    keep = needs_grad and not is_lean() and k.shape[1] <= KEPT_WIDTHS * q.shape[-1]
    arguments = (q, k, v, *(classes or (None,) * 3), onehot, list(bias), list(k_grid), residual, keep)
    return torch.ops.mmav.tiled_attention(*arguments)[0]


def check_form(form: str) -> None:
    """Raises a ConfigError if a form is not in ``FORMS``."""
    if form not in FORMS:
        near = did_you_mean(str(form), FORMS)
        raise ConfigError(f'attention={form!r} is unknown: choose one of {", ".join(FORMS)}{near}')


def choose_form(q: Tensor, k: Tensor) -> str:
    """The form that ``auto`` chooses for queries and keys (B, N, heads, d) of patch tokens.

    On a GPU ``ON_GPU``. On a CPU ``tiled``, or ``explicit`` with few scores or keys, in half types, and when traced or
    compiled. Elsewhere ``folded``.
    """
    if q.device.type != 'cpu':
        return ON_GPU if _on_gpu(q) else 'folded'
    large = math.prod(q.shape[:3]) * k.shape[1] >= LEAST_SCORES and k.shape[1] > q.shape[-1]
    return 'tiled' if large and on_eager_cpu(q) else 'explicit'


def usable_forms(device: str, dtype: torch.dtype) -> tuple[str, ...]:
    """The forms other than ``auto`` that have a forward and backward pass on a device ('cpu', 'cuda') in a dtype."""
    if device != 'cpu':
        return ('explicit', 'folded', 'flex', 'triton') if dtype != torch.float64 else ('explicit', 'folded', 'flex')
    return ('explicit', 'folded', 'tiled') if dtype in (torch.float32, torch.float64) else ('explicit', 'folded')


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tables: Sequence[Tensor],
    grids: tuple[Sequence[int], Sequence[int]],
    *,
    classes: Sequence[Tensor] = (),
    residual: bool = False,
    form: str = 'auto',
) -> Tensor:
    """softmax(q k^T / sqrt(d) + E_rel) v, plus q with the residual (Eq. 2).

    E_rel comes from the unscaled queries. The class token has no relative position and no residual, as public MViTv2
    weights expect (facebookresearch/SlowFast, slowfast/models/attention.py).

    Args:
        q: Queries of the patch tokens (B, Nq, heads, d).
        k: Their keys (B, Nk, heads, d).
        v: Their values (B, Nk, heads, d).
        tables: Relative positions per axis (2 * max(q_grid[axis], k_grid[axis]) - 1, d); empty for none.
        grids: ``(q_grid, k_grid)``, the grids that Nq and Nk unroll.
        classes: Query, key and value of the class token, each (B, 1, heads, d); empty for none.
        residual: Whether to add the queries of the patch tokens to the result.
        form: One of ``FORMS``. ``explicit`` materialises the scores (:func:`explicit_attention`). ``folded`` and
            ``flex`` use PyTorch's kernels (:func:`folded_attention`,
            :func:`~mmav.models.ops.flex_attention.flex_attention`). ``tiled`` is for CPUs (:func:`tiled_attention`),
            ``triton`` for GPUs (:func:`~mmav.models.ops.triton_attention.triton_attention`). ``auto`` uses
            :func:`choose_form`.

    Returns:
        (B, c + Nq, heads, d), c = 1 with a class token, else 0.

    Raises:
        ConfigError: If ``form`` is unknown or cannot run here.
    """
    check_form(form)
    form = choose_form(q, k) if form == 'auto' else form
    if form in OPERATORS and under_transform():
        raise ConfigError(
            f'attention={form!r} does not support forward mode or other transforms of torch.func: use explicit'
        )
    if form == 'triton':
        return triton_attention(q, k, v, tables, grids, classes=classes, residual=residual)
    if form == 'tiled':
        kind = q.device.type if torch.amp.is_autocast_available(q.device.type) else 'cpu'
        with torch.autocast(kind, enabled=False):  # autocast cannot cast products that write into a tile
            bias = relative_bias(q, tables, *grids)
            return tiled_attention(q, k, v, bias, grids[1], classes=classes, residual=residual)
    # Cast once for the bias and the kernel. Explicit products cast the queries themselves, after scaling.
    tokens = [q if form == 'explicit' else halved(q), halved(k), halved(v)]
    if form == 'folded':
        tables = [table * q.shape[-1] ** 0.5 for table in tables]
    bias = relative_bias(tokens[0], tables, *grids)
    if classes:
        tokens = [cheap(_joined, cls, x) for cls, x in zip(classes, tokens, strict=True)]
    by_head = dict(explicit=explicit_attention, folded=folded_attention, flex=flex_attention)[form]
    queries = q
    q, k, v, *bias = (x.transpose(1, 2) for x in (*tokens, *bias))  # (B, heads, c + N, d)
    out = by_head(q, k, v, bias, grids[1]).transpose(1, 2)
    # tests/models/layers/test_multiscale_block.py checks that the class token gets no residual
    return cheap(_plus_queries, out, queries, bool(classes)) if residual else out


def _joined(cls: Tensor, patches: Tensor) -> Tensor:
    return torch.cat((cls.to(patches.dtype), patches), dim=1)


def _plus_queries(out: Tensor, queries: Tensor, with_cls: bool) -> Tensor:
    return out + (F.pad(queries, (0, 0, 0, 0, 1, 0)) if with_cls else queries)
