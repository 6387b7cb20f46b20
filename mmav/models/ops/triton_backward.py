# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False
# ruff: noqa: ANN001, ANN201
"""Attention with decomposed relative positions: the Triton kernels of the backward pass, see triton_kernels.py."""

from __future__ import annotations

import triton
import triton.language as tl

from mmav.models.ops.triton_kernels import (
    LOG2E,
    as_number,
    dot,
    inner_products,
    load_last,
    load_one,
    load_rows,
    onehot_outer,
    products,
    store_rows,
    store_sum,
    sum_over,
    tile_of_queries,
    zeros,
)


@triton.jit
def attention_backward_queries(
    q, k, v, q_cls, k_cls, v_cls, bias, out, lse, grad, delta, grad_q, grad_q_cls, grad_bias, grad_k_cls, grad_v_cls,
    q_b, q_n, q_h, k_b, k_n, k_h, v_b, v_n, v_h, qc_b, qc_h, kc_b, kc_h, vc_b, vc_h, g_b, g_n, g_h,
    heads, q_len, k_rows, k_last, outer_a, outer_b, bias_width, scale,
    D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, W: tl.constexpr,
    OUTER: tl.constexpr, RANK: tl.constexpr, CLS: tl.constexpr, RESIDUAL: tl.constexpr,
    PRECISION: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """One tile of queries against all keys: gradients of the queries and their bias.

    Also writes ``delta``, each row's product of output and gradient, which the gradients of the keys need, and this
    tile's share of the gradients of the class key and value (B, heads, tiles, D), the former without ``scale``.
    """
    dtype = q.dtype.element_ty
    b, h, tile, start, q_at, place, patch, valid = tile_of_queries(
        q, q_cls, q_b, q_n, q_h, qc_b, qc_h, heads, q_len, BM, CLS
    )
    row = tl.arange(0, BM)
    q0, q1 = load_rows(q_at, q_n, row, valid, D, D0, D1)
    g0, g1 = load_rows(grad + b * g_b + h * g_h + place.to(tl.int64) * g_n, g_n, row, valid, D, D0, D1)
    length = q_len + CLS
    of_row = (b * heads + h) * length + place + row
    log_sum = tl.load(lse + of_row, mask=valid, other=float('inf'))
    x0, x1 = load_rows(out + ((b * length + place) * heads + h) * D, heads * D, row, valid, D, D0, D1)
    inner = inner_products(g0, g1, x0.to(tl.float32), x1.to(tl.float32), D1)
    if RESIDUAL:
        inner -= tl.where(patch, inner_products(g0, g1, q0.to(tl.float32), q1.to(tl.float32), D1), 0.0)
    tl.store(delta + of_row, inner, mask=valid)

    acc0, acc1 = zeros(BM, D0, D1)
    if CLS:
        tiles = (q_len + BM - 1) // BM + 1
        share = ((b * heads + h) * tiles + tile) * D
        x0, x1 = load_one(v_cls + b * vc_b + h * vc_h, D, D0, D1)
        dp_cls = inner_products(g0, g1, x0, x1, D1)
        x0, x1 = load_one(k_cls + b * kc_b + h * kc_h, D, D0, D1)
        p_cls = tl.exp2((inner_products(q0, q1, x0, x1, D1) * scale - log_sum) * LOG2E)
        ds_cls = p_cls * (dp_cls - inner)
        acc0 += ds_cls[:, None] * x0
        if D1 > 0:
            acc1 += ds_cls[:, None] * x1
        store_sum(grad_k_cls + share, ds_cls, q0, q1, D, D0, D1)
        store_sum(grad_v_cls + share, p_cls, g0, g1, D, D0, D1)

    bias_row = ((b * q_len + start) * heads + h) * bias_width + row[:, None] * (heads * bias_width)
    if OUTER > 0:
        outer_row = bias_row + tl.arange(0, OUTER)[None, :]
        outer = tl.load(bias + outer_row, mask=patch[:, None], other=0.0)
        grad_outer = tl.full((BM, OUTER), 0.0, tl.float32)
    column = tl.arange(0, BN)
    key = (column // W) * k_last + column % W
    for first in range(0, k_last, W):
        last = first + column % W
        if RANK > 0:
            of_last = load_last(bias + bias_row, patch, last, k_last, OUTER).to(tl.float32)
            grad_last = tl.full((BM, BN), 0.0, tl.float32)
        for begin in range(0, k_rows, BN // W):
            k_row = begin + column // W
            seen = (k_row < k_rows) & (last < k_last)
            skip = tl.cast(begin, tl.int64) * k_last + first
            k0, k1 = load_rows(k + b * k_b + h * k_h + skip * k_n, k_n, key, seen, D, D0, D1)
            v0, v1 = load_rows(v + b * v_b + h * v_h + skip * v_n, v_n, key, seen, D, D0, D1)
            scores = products(q0, q1, k0, k1, BM, BN, D1, PRECISION, WIDEN) * scale
            if OUTER > 0:
                onehot = onehot_outer(k_row, outer_a, outer_b, OUTER, RANK, dtype)
                scores += dot(outer, onehot, of_last, PRECISION, WIDEN)
            elif RANK > 0:
                scores += of_last
            p = tl.where(seen[None, :], tl.exp2((scores - log_sum[:, None]) * LOG2E), 0.0)
            ds = p * (products(g0, g1, v0, v1, BM, BN, D1, PRECISION, WIDEN) - inner[:, None])
            if RANK > 0:
                grad_last += ds
            ds = ds.to(dtype)
            if OUTER > 0:
                grad_outer = dot(ds, tl.trans(onehot), grad_outer, PRECISION, WIDEN)
            acc0 = dot(ds, k0, acc0, PRECISION, WIDEN)
            if D1 > 0:
                acc1 = dot(ds, k1, acc1, PRECISION, WIDEN)
        if RANK > 0:
            of_rows = sum_over(tl.reshape(grad_last, (BM, BN // W, W)), 1).to(dtype)
            last = first + tl.arange(0, W)
            to = grad_bias + bias_row + (OUTER + last)[None, :]
            tl.store(to, of_rows, mask=patch[:, None] & (last < k_last)[None, :])
    if OUTER > 0:
        tl.store(grad_bias + outer_row, grad_outer.to(dtype), mask=patch[:, None])
    acc0 *= scale
    if D1 > 0:
        acc1 *= scale
    if RESIDUAL:
        acc0 += tl.where(patch[:, None], g0.to(tl.float32), 0.0)
        if D1 > 0:
            acc1 += tl.where(patch[:, None], g1.to(tl.float32), 0.0)
    to = grad_q + ((b * q_len + start) * heads + h) * D
    if CLS:  # noqa: SIM102 (one is decided by the compiler, the other on the GPU)
        if tile == 0:
            to = grad_q_cls + (b * heads + h) * D
    store_rows(to, heads * D, row, valid, acc0, acc1, D, D0, D1)


@triton.jit
def attention_backward_keys(
    q, k, v, q_cls, bias, lse, grad, delta, grad_k, grad_v,
    q_b, q_n, q_h, k_b, k_n, k_h, v_b, v_n, v_h, qc_b, qc_h, g_b, g_n, g_h,
    batch, heads, q_len, k_rows, k_last, outer_a, outer_b, bias_width, scale, splits, per_split,
    D: tl.constexpr, D0: tl.constexpr, D1: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, W: tl.constexpr,
    OUTER: tl.constexpr, RANK: tl.constexpr, CLS: tl.constexpr, PRECISION: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    """One tile of keys against a share of the queries: this share's gradients (splits, B, Nk, heads, D).

    Scores are transposed, keys by queries, so that products use them without another transposition.
    """
    dtype = q.dtype.element_ty
    row_tiles = (k_rows + BN // W - 1) // (BN // W)
    tiles = row_tiles * ((k_last + W - 1) // W)
    tile = tl.program_id(0) % tiles
    split = (tl.program_id(0) // tiles) % splits
    head = tl.program_id(0) // (tiles * splits)
    b = (head // heads).to(tl.int64)
    h = (head % heads).to(tl.int64)
    first = (tile // row_tiles) * W
    begin = (tile % row_tiles) * (BN // W)
    column = tl.arange(0, BN)
    k_row = begin + column // W
    last = first + column % W
    seen = (k_row < k_rows) & (last < k_last)
    skip = begin.to(tl.int64) * k_last + first
    key = (column // W) * k_last + column % W
    k0, k1 = load_rows(k + b * k_b + h * k_h + skip * k_n, k_n, key, seen, D, D0, D1)
    v0, v1 = load_rows(v + b * v_b + h * v_h + skip * v_n, v_n, key, seen, D, D0, D1)
    dk0, dk1 = zeros(BN, D0, D1)
    dv0, dv1 = zeros(BN, D0, D1)
    of_row = (b * heads + h) * (q_len + CLS)
    if CLS:  # the class query belongs to the first share
        x0, x1 = load_one(q_cls + b * qc_b + h * qc_h, D, D0, D1)
        scores_cls = inner_products(k0, k1, x0, x1, D1) * scale
        p_cls = tl.where(seen & (split == 0), tl.exp2((scores_cls - tl.load(lse + of_row)) * LOG2E), 0.0)
        y0, y1 = load_one(grad + b * g_b + h * g_h, D, D0, D1)
        ds_cls = p_cls * (inner_products(v0, v1, y0, y1, D1) - tl.load(delta + of_row))
        dk0 += ds_cls[:, None] * x0
        dv0 += p_cls[:, None] * y0
        if D1 > 0:
            dk1 += ds_cls[:, None] * x1
            dv1 += p_cls[:, None] * y1

    if OUTER > 0:
        onehot = tl.trans(onehot_outer(k_row, outer_a, outer_b, OUTER, RANK, dtype))
    WIDTH: tl.constexpr = W if W > 16 else 16
    if RANK > 0 and W < BN:
        narrow = tl.arange(0, WIDTH)
        onehot_last = as_number((column % W)[:, None] == narrow[None, :], dtype)
    row = tl.arange(0, BM)
    for i in range(per_split):
        start = (split * per_split + i) * BM
        far = start.to(tl.int64)
        valid = row < q_len - start
        q0, q1 = load_rows(q + b * q_b + h * q_h + far * q_n, q_n, row, valid, D, D0, D1)
        scores = products(k0, k1, q0, q1, BN, BM, D1, PRECISION, WIDEN) * scale
        bias_at = bias + ((b * q_len + start) * heads + h) * bias_width + row[:, None] * (heads * bias_width)
        if RANK > 0 and W < BN:
            of_last = load_last(bias_at, valid, first + narrow, k_last, OUTER)
            scores = dot(onehot_last, tl.trans(of_last), scores, PRECISION, WIDEN)
        elif RANK > 0:
            scores += tl.trans(load_last(bias_at, valid, last, k_last, OUTER)).to(tl.float32)
        if OUTER > 0:
            outer = tl.load(bias_at + tl.arange(0, OUTER)[None, :], mask=valid[:, None], other=0.0)
            scores = dot(onehot, tl.trans(outer), scores, PRECISION, WIDEN)
        log_sum = tl.load(lse + of_row + CLS + start + row, mask=valid, other=float('inf'))
        inner = tl.load(delta + of_row + CLS + start + row, mask=valid, other=0.0)
        p = tl.exp2((scores - log_sum[None, :]) * LOG2E)
        g0, g1 = load_rows(grad + b * g_b + h * g_h + (CLS + far) * g_n, g_n, row, valid, D, D0, D1)
        ds = (p * (products(v0, v1, g0, g1, BN, BM, D1, PRECISION, WIDEN) - inner[None, :])).to(dtype)
        dv0 = dot(p.to(dtype), g0, dv0, PRECISION, WIDEN)
        dk0 = dot(ds, q0, dk0, PRECISION, WIDEN)
        if D1 > 0:
            dv1 = dot(p.to(dtype), g1, dv1, PRECISION, WIDEN)
            dk1 = dot(ds, q1, dk1, PRECISION, WIDEN)

    dk0 *= scale
    if D1 > 0:
        dk1 *= scale
    to = (((split.to(tl.int64) * batch + b) * (k_rows * k_last) + skip) * heads + h) * D
    store_rows(grad_k + to, heads * D, key, seen, dk0, dk1, D, D0, D1)
    store_rows(grad_v + to, heads * D, key, seen, dv0, dv1, D, D0, D1)
