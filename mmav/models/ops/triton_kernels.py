# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# ruff: noqa: ANN001, ANN201
"""Attention with decomposed relative positions: the Triton kernel of the forward pass, and what both passes share.

Importing this module requires triton and decides how the kernels run: with ``TRITON_INTERPRET=1`` as numpy on a CPU,
otherwise compiled for a GPU.

A tile of keys covers ``BN // W`` rows of the grid and ``W`` positions on its last axis, W a power of two. The bias of
the last axis is then one tile that stays constant while the kernel moves over the rows, and its gradient is the plain
sum of their score gradients. The bias of the outer axes is a product with one-hot positions, as narrow as these axes
are long. Class tokens are one row or column of scores, computed without matrix products.

A head is split into two pieces with widths that are powers of two, as Triton requires; the second is padded and may be
absent. 96 = 64 + 32 takes three quarters of the operations and of the shared memory of 96 padded to 128. ``x0`` and
``x1`` are these pieces of x.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)

# The kernels call only built-ins of the language: tl.sum, tl.zeros and others are kernels themselves, interpreted or
# not depending on the variable when triton was first imported, perhaps by PyTorch, which may differ from this module.


@triton.jit
def sum_over(x, AXIS: tl.constexpr):
    return tl.reduce(x, AXIS, tl.standard._sum_combine)


@triton.jit
def max_over(x, AXIS: tl.constexpr):
    return tl.reduce(x, AXIS, tl.standard._elementwise_max)


@triton.jit
def dot(a, b, acc, PRECISION: tl.constexpr, WIDEN: tl.constexpr):
    """acc + a b, summed in float32; WIDEN is needed because the interpreter cannot multiply bfloat16."""
    if WIDEN:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), acc, input_precision='ieee')
    else:
        return tl.dot(a, b, acc, input_precision=PRECISION)


@triton.jit
def products(
    x0, x1, y0, y1, ROWS: tl.constexpr, COLUMNS: tl.constexpr, D1: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """x y^T, the products of all rows of x with all rows of y."""
    total = dot(x0, tl.trans(y0), tl.full((ROWS, COLUMNS), 0.0, tl.float32), PRECISION, WIDEN)
    if D1 > 0:
        total = dot(x1, tl.trans(y1), total, PRECISION, WIDEN)
    return total


@triton.jit
def inner_products(x0, x1, y0, y1, D1: tl.constexpr):
    """The product of each row of x with the same row of y, or with its only row; y is in float32."""
    total = sum_over(x0.to(tl.float32) * y0, 1)
    if D1 > 0:
        total += sum_over(x1.to(tl.float32) * y1, 1)
    return total


@triton.jit
def zeros(ROWS: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr):
    x0 = tl.full((ROWS, D0), 0.0, tl.float32)
    x1 = x0
    if D1 > 0:
        x1 = tl.full((ROWS, D1), 0.0, tl.float32)
    return x0, x1


@triton.jit
def load_rows(base, stride, rows, valid, D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr):
    """Loads rows of width D; zeros for invalid rows."""
    at = base + rows[:, None] * stride
    columns = tl.arange(0, D0)
    x0 = tl.load(at + columns[None, :], mask=valid[:, None] & (columns < D)[None, :], other=0.0)
    x1 = x0
    if D1 > 0:
        columns1 = D0 + tl.arange(0, D1)
        x1 = tl.load(at + columns1[None, :], mask=valid[:, None] & (columns1 < D)[None, :], other=0.0)
    return x0, x1


@triton.jit
def store_rows(base, stride, rows, valid, x0, x1, D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr):
    at = base + rows[:, None] * stride
    columns = tl.arange(0, D0)
    tl.store(at + columns[None, :], x0.to(base.dtype.element_ty), mask=valid[:, None] & (columns < D)[None, :])
    if D1 > 0:
        columns1 = D0 + tl.arange(0, D1)
        tl.store(at + columns1[None, :], x1.to(base.dtype.element_ty), mask=valid[:, None] & (columns1 < D)[None, :])


@triton.jit
def load_one(base, D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr):
    """Loads one row (1, D) in float32."""
    columns = tl.arange(0, D0)[None, :]
    x0 = tl.load(base + columns, mask=columns < D, other=0.0).to(tl.float32)
    x1 = x0
    if D1 > 0:
        columns1 = D0 + tl.arange(0, D1)[None, :]
        x1 = tl.load(base + columns1, mask=columns1 < D, other=0.0).to(tl.float32)
    return x0, x1


@triton.jit
def store_sum(base, weight, x0, x1, D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr):
    """Stores the sum of all rows of x, each times its weight, as one row."""
    columns = tl.arange(0, D0)
    tl.store(base + columns, sum_over(weight[:, None] * x0.to(tl.float32), 0), mask=columns < D)
    if D1 > 0:
        columns1 = D0 + tl.arange(0, D1)
        tl.store(base + columns1, sum_over(weight[:, None] * x1.to(tl.float32), 0), mask=columns1 < D)


@triton.jit
def as_number(x, DTYPE: tl.constexpr):
    return x.to(tl.float32).to(DTYPE)  # in two steps, as the interpreter only converts to bfloat16 from float32


@triton.jit
def onehot_outer(rows, outer_a, outer_b, OUTER: tl.constexpr, RANK: tl.constexpr, DTYPE: tl.constexpr):
    """One-hot positions (OUTER, len(rows)) of rows of the keys' grid on all axes but the last."""
    columns = tl.arange(0, OUTER)[:, None]
    if RANK == 3:
        hot = (columns == (rows // outer_b)[None, :]) | (columns == (outer_a + rows % outer_b)[None, :])
    else:
        hot = columns == rows[None, :]
    return as_number(hot, DTYPE)


@triton.jit
def tile_of_queries(q, q_cls, q_b, q_n, q_h, qc_b, qc_h, heads, q_len, BM: tl.constexpr, CLS: tl.constexpr):
    """The tile of queries that this program handles; with a class token the first tile is that token.

    Returns the batch entry, head, number and first query of the tile, the position of its rows, its first row of the
    result, which of its rows are patches, and which are valid queries.
    """
    tiles = (q_len + BM - 1) // BM + CLS
    tile = tl.program_id(0) % tiles
    head = tl.program_id(0) // tiles
    b = (head // heads).to(tl.int64)  # offsets may pass 2^31
    h = (head % heads).to(tl.int64)
    start = (tile - CLS) * BM
    row = tl.arange(0, BM)
    patch = row < q_len - start
    valid = patch
    at = q + b * q_b + h * q_h + start.to(tl.int64) * q_n
    place = start + CLS
    if CLS:
        if tile == 0:
            at = q_cls + b * qc_b + h * qc_h
            place = start * 0
        patch = patch & (tile > 0)
        valid = tl.where(tile > 0, patch, row < 1)
    return b, h, tile, start, at, place, patch, valid


@triton.jit
def load_last(bias, patch, last, k_last, OUTER: tl.constexpr):
    """Loads the bias of positions on the last axis (BM, len(last))."""
    return tl.load(bias + (OUTER + last)[None, :], mask=patch[:, None] & (last < k_last)[None, :], other=0.0)


@triton.jit
def attention_forward(
    q, k, v, q_cls, k_cls, v_cls, bias, out, lse,
    q_b, q_n, q_h, k_b, k_n, k_h, v_b, v_n, v_h, qc_b, qc_h, kc_b, kc_h, vc_b, vc_h,
    heads, q_len, k_rows, k_last, outer_a, outer_b, bias_width, scale,
    D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, W: tl.constexpr,
    OUTER: tl.constexpr, RANK: tl.constexpr, CLS: tl.constexpr, RESIDUAL: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """One tile of queries against all keys: the result, and the log-sum-exp of each row."""
    dtype = q.dtype.element_ty
    b, h, _tile, start, q_at, place, patch, valid = tile_of_queries(
        q, q_cls, q_b, q_n, q_h, qc_b, qc_h, heads, q_len, BM, CLS
    )
    row = tl.arange(0, BM)
    q0, q1 = load_rows(q_at, q_n, row, valid, D, D0, D1)
    top = tl.full((BM,), float('-inf'), tl.float32)
    total = tl.full((BM,), 0.0, tl.float32)
    acc0, acc1 = zeros(BM, D0, D1)
    if CLS:
        x0, x1 = load_one(k_cls + b * kc_b + h * kc_h, D, D0, D1)
        top = inner_products(q0, q1, x0, x1, D1) * scale
        total += 1.0
        x0, x1 = load_one(v_cls + b * vc_b + h * vc_h, D, D0, D1)
        acc0 += x0
        if D1 > 0:
            acc1 += x1

    bias_at = bias + ((b * q_len + start) * heads + h) * bias_width + row[:, None] * (heads * bias_width)
    if OUTER > 0:
        outer = tl.load(bias_at + tl.arange(0, OUTER)[None, :], mask=patch[:, None], other=0.0)
    column = tl.arange(0, BN)
    key = (column // W) * k_last + column % W
    for first in range(0, k_last, W):
        last = first + column % W
        if RANK > 0:
            of_last = load_last(bias_at, patch, last, k_last, OUTER).to(tl.float32)
        for begin in range(0, k_rows, BN // W):
            k_row = begin + column // W
            seen = (k_row < k_rows) & (last < k_last)
            skip = tl.cast(begin, tl.int64) * k_last + first
            k0, k1 = load_rows(k + b * k_b + h * k_h + skip * k_n, k_n, key, seen, D, D0, D1)
            scores = products(q0, q1, k0, k1, BM, BN, D1, PRECISION, WIDEN) * scale
            if OUTER > 0:
                onehot = onehot_outer(k_row, outer_a, outer_b, OUTER, RANK, dtype)
                scores += dot(outer, onehot, of_last, PRECISION, WIDEN)
            elif RANK > 0:
                scores += of_last
            scores = tl.where(seen[None, :], scores, float('-inf'))
            higher = tl.maximum(top, max_over(scores, 1))
            fade = tl.exp2((top - higher) * LOG2E)
            p = tl.exp2((scores - higher[:, None]) * LOG2E)
            total = total * fade + sum_over(p, 1)
            top = higher
            v0, v1 = load_rows(v + b * v_b + h * v_h + skip * v_n, v_n, key, seen, D, D0, D1)
            acc0 = dot(p.to(dtype), v0, acc0 * fade[:, None], PRECISION, WIDEN)
            if D1 > 0:
                acc1 = dot(p.to(dtype), v1, acc1 * fade[:, None], PRECISION, WIDEN)

    acc0 = acc0 / total[:, None]
    if D1 > 0:
        acc1 = acc1 / total[:, None]
    if RESIDUAL:
        acc0 += tl.where(patch[:, None], q0.to(tl.float32), 0.0)
        if D1 > 0:
            acc1 += tl.where(patch[:, None], q1.to(tl.float32), 0.0)
    length = q_len + CLS
    store_rows(out + ((b * length + place) * heads + h) * D, heads * D, row, valid, acc0, acc1, D, D0, D1)
    tl.store(lse + (b * heads + h) * length + place + row, top + tl.log2(total) / LOG2E, mask=valid)
