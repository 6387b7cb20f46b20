"""The one place of attention with decomposed relative positions: its forms, which one is taken, and layouts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmav.models.ops.eager_cpu import on_eager_cpu
from mmav.models.ops.relative_bias import relative_bias
from mmav.models.ops.tiled_attention import Classes, along, onehot_positions, tiled_attention

FORMS = ('auto', 'explicit', 'folded', 'tiled')
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

    A decomposed bias is an inner product: with q' = [q / sqrt(d), bias_1, bias_2, ...] and k' = [k, onehot of the
    key's position on axis 1, on axis 2, ...], q' k'^T = q k^T / sqrt(d) + E_rel, so that no Nq x Nk matrix is kept
    for it. The class token has zeros there. Arguments and result as :func:`explicit_attention`.
    """
    dim = q.shape[-1]
    q = q * dim**-0.5
    if bias:
        num_cls = k.shape[2] - math.prod(k_grid)
        extra = sum(k_grid)
        # fused GPU kernels ask for rows of a multiple of 8 elements
        fill = -(dim + extra) % 8
        q_cols = F.pad(torch.cat(list(bias), dim=-1), (0, fill, num_cls, 0))
        k_cols = F.pad(onehot_positions(k_grid, k), (0, fill, num_cls, 0)).expand(*k.shape[:2], -1, -1)
        q = torch.cat((q, q_cols), dim=-1)
        k = torch.cat((k, k_cols), dim=-1)
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)


def choose_form(q: Tensor, k: Tensor) -> str:
    """The form that ``auto`` is for queries and keys (B, N, heads, d) of patch tokens.

    Folded but on a CPU; there tiled, or explicit where there are few scores or keys and when traced, compiled or in a
    half type.
    """
    large = math.prod(q.shape[:3]) * k.shape[1] >= LEAST_SCORES and k.shape[1] > q.shape[-1]
    return 'folded' if q.device.type != 'cpu' else 'tiled' if large and on_eager_cpu(q) else 'explicit'


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
        form: One of ``FORMS``.

    Returns:
        (B, c + Nq, heads, d), c = 1 with a class token, else 0.
    """
    form = choose_form(q, k) if form == 'auto' else form
    bias = relative_bias(q, tables, q_grid, k_grid) if tables else []
    if form == 'tiled':
        return tiled_attention(q, k, v, bias, k_grid, classes=classes, residual=residual)
    by_head = explicit_attention if form == 'explicit' else folded_attention
    tokens = (q, k, v) if classes is None else [torch.cat(pair, dim=1) for pair in zip(classes, (q, k, v), strict=True)]
    heads_first = [x.transpose(1, 2) for x in (*tokens, *bias)]  # (B, heads, c + N, d)
    out = by_head(heads_first[0], heads_first[1], heads_first[2], heads_first[3:], k_grid).transpose(1, 2)
    if not residual:
        return out
    # tests/models/layers/test_multiscale_attention.py guards that the class token gets none
    return out + (q if classes is None else F.pad(q, (0, 0, 0, 0, 1, 0)))
