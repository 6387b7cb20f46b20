"""Attention with decomposed relative positions as one operator: Triton kernels, forward and backward.

Between the passes it keeps q, k, v, its result and one number a row; no matrix of scores is written. The bias of a
score is a sum of one number per axis, q_i . R^axis[i, j], so the operator begins with the products of each query with
the rows of the tables that its keys select: about sum(k_grid) numbers a query, in q's type, which the kernels read and
forget. They are plain batched products (:func:`~mmav.models.ops.relative_bias.relative_bias`), as within a kernel a
tile of queries would have to be multiplied with all 2 * max(q, k) - 1 rows of a table: positions differ from query to
query. For MViTv2's 8x56x56 queries and 8x7x7 keys those are 237 products of width d a query in place of 22, besides
the 784 of attention itself; the workspace is a third of q. The backward pass computes them again, and the gradients
of the bias, summed over the keys that share it, become those of the tables by such products, too. Every sum has its
place and its order: there are no atomic operations, and two runs give equal bits.

``TRITON_INTERPRET=1`` runs the kernels on a CPU. How fast they are on a GPU is not measured yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mmav.errors import ConfigError
from mmav.models.ops import triton_launch
from mmav.models.ops.lean import halved
from mmav.models.ops.tiled_attention import Classes

WIDEST = 128
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
# positions on all axes but the last, together: columns of a one-hot product
MOST_OUTER = 512


def triton_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tables: Sequence[Tensor],
    q_grid: Sequence[int],
    k_grid: Sequence[int],
    *,
    classes: Classes | None = None,
    residual: bool = False,
) -> Tensor:
    """softmax(q k^T / sqrt(d) + E_rel) v, plus q where there is a residual (Eq. 2), without a matrix of scores.

    E_rel comes from the unscaled queries. The class token has no relative position and no residual. Under autocast all
    is computed in its type, summed in float32; float32 takes TF32 only where
    ``torch.backends.cuda.matmul.allow_tf32`` says so. There are first derivatives only.

    Args:
        q: Queries of the patch tokens (B, Nq, heads, d), d at most 128.
        k: Their keys (B, Nk, heads, d).
        v: Their values (B, Nk, heads, d).
        tables: Of relative positions, per axis (2 * max(q_grid[axis], k_grid[axis]) - 1, d); empty for none.
        q_grid: What Nq unrolls.
        k_grid: What Nk unrolls; one to three axes where there are tables.
        classes: Query, key and value of the class token, each (B, 1, heads, d).
        residual: Whether the patches' queries are added to their result.

    Returns:
        (B, c + Nq, heads, d), c = 1 with a class token, else 0.

    Raises:
        ConfigError: For types, widths, grids or devices that the kernels do not take, or without triton.
    """
    tokens = [halved(x) for x in (q, k, v, *(classes or ()))]
    _check(tokens, tables, q_grid, k_grid)
    q_cls, k_cls, v_cls = tokens[3:] or (None, None, None)
    arguments = (*tokens[:3], q_cls, k_cls, v_cls, list(tables), list(q_grid), list(k_grid), residual)
    return torch.ops.mmav.pooled_attention(*arguments)[0]


def _check(tensors: Sequence[Tensor], tables: Sequence[Tensor], q_grid: Sequence[int], k_grid: Sequence[int]) -> None:
    q, k = tensors[:2]
    dtypes = {x.dtype for x in tensors}
    if len(dtypes) > 1 or q.dtype not in DTYPES:
        names = ' and '.join(sorted(str(dtype).removeprefix('torch.') for dtype in dtypes))
        raise ConfigError(f'triton attention takes float32, float16 or bfloat16, one for all, not {names}')
    if q.shape[-1] > WIDEST:
        raise ConfigError(f'triton attention takes heads of a width up to {WIDEST}, not {q.shape[-1]}: use folded')
    shapes = [tuple(x.shape) for x in tensors]
    lengths = (q.shape[1], k.shape[1], k.shape[1], 1, 1, 1)[: len(shapes)]
    if shapes != [(len(q), length, *q.shape[2:]) for length in lengths]:
        raise ConfigError(f'queries, keys and values of shapes {", ".join(map(str, shapes))} do not belong together')
    if q.shape[1] != math.prod(q_grid) or k.shape[1] != math.prod(k_grid):
        raise ConfigError(
            f'{q.shape[1]} queries and {k.shape[1]} keys are not the grids {tuple(q_grid)} and {tuple(k_grid)}'
        )
    if not tables:
        return
    if len(k_grid) > 3 or sum(k_grid[:-1]) > MOST_OUTER:
        raise ConfigError(
            f'triton attention takes keys on up to 3 axes, those before the last at most {MOST_OUTER} long together, '
            f'not {tuple(k_grid)}: use folded'
        )
    needed = [(2 * max(pair) - 1, q.shape[-1]) for pair in zip(q_grid, k_grid, strict=True)]
    given = [tuple(table.shape) for table in tables]
    if given != needed:
        raise ConfigError(f'tables of shapes {given} are given, but these grids need {needed}')


_ARGUMENTS = (
    'Tensor q, Tensor k, Tensor v, Tensor? q_cls, Tensor? k_cls, Tensor? v_cls, Tensor[] tables, SymInt[] q_grid, '
    'SymInt[] k_grid, bool residual'
)


def _forward(
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
    return triton_launch.forward(q, k, v, (q_cls, k_cls, v_cls), tables, q_grid, k_grid, residual=residual)


# Operators of PyTorch's, so that selective activation checkpointing can keep the result, memory and operations are
# counted without a GPU, and compilers leave it as it is.
_operator = torch.library.custom_op(
    'mmav::pooled_attention', _forward, mutates_args=(), schema=f'({_ARGUMENTS}) -> (Tensor, Tensor)'
)


@_operator.register_fake
def _like_forward(q: Tensor, k: Tensor, v: Tensor, q_cls: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:
    batch, length, heads, dim = q.shape
    length = length + (q_cls is not None)
    return q.new_empty(batch, length, heads, dim), q.new_empty(batch, heads, length, dtype=torch.float32)


def _backward_op(
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
    classes = (q_cls, k_cls, v_cls)
    return triton_launch.backward(grad, q, k, v, classes, tables, out, lse, q_grid, k_grid, residual=residual)


_backward_operator = torch.library.custom_op(
    'mmav::pooled_attention_backward',
    _backward_op,
    mutates_args=(),
    schema=f'(Tensor grad, {_ARGUMENTS}, Tensor out, Tensor lse) -> Tensor[]',
)


@_backward_operator.register_fake
def _like_backward(grad: Tensor, *given: Any) -> list[Tensor]:
    tensors = [x for x in (*given[:6], *given[6]) if x is not None]
    return [x.new_empty(x.shape) for x in tensors]


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tokens, tables, q_grid, k_grid, residual = inputs
    ctx.about = (len(tables), q_grid, k_grid, residual)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*tokens, *tables, *output)


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
    num_tables, q_grid, k_grid, residual = ctx.about
    saved = ctx.saved_tensors
    tokens, tables, (out, lse) = saved[:6], saved[6 : 6 + num_tables], saved[6 + num_tables :]
    arguments = (grad, *tokens, list(tables), q_grid, k_grid, residual, out, lse)
    grads = torch.ops.mmav.pooled_attention_backward(*arguments)
    split = len(grads) - num_tables
    of_tokens = (*grads[:split], None, None, None)[:6]
    return (*of_tokens, grads[split:], None, None, None)


_operator.register_autograd(_backward, setup_context=_keep_for_backward)


def _operations(q: Sequence[int], k: Sequence[int], with_class: bool, k_grid: Sequence[int]) -> tuple[int, int]:
    """Those of one product of the size of q k^T, and of the products for the bias; a multiplication and sum are two."""
    batch, q_len, heads, dim = q
    num_cls = int(with_class)
    both = 2 * batch * heads * dim
    return both * (num_cls + q_len) * (num_cls + k[1]), both * q_len * sum(k_grid)


@register_flop_formula(torch.ops.mmav.pooled_attention)
def _forward_flops(
    q: Any, k: Any, v: Any, q_cls: Any, k_cls: Any, v_cls: Any, tables: Any, *rest: Any, **_: Any
) -> int:
    product, bias = _operations(q, k, q_cls is not None, rest[1] if tables else ())
    return 2 * product + bias


@register_flop_formula(torch.ops.mmav.pooled_attention_backward)
def _backward_flops(
    grad: Any, q: Any, k: Any, v: Any, q_cls: Any, k_cls: Any, v_cls: Any, tables: Any, *rest: Any, **_: Any
) -> int:
    product, bias = _operations(q, k, q_cls is not None, rest[1] if tables else ())
    # scores again, and the gradients of q, k, v and probabilities; the bias again, and its queries' and tables'
    return 5 * product + 3 * bias
