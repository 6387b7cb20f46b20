"""The form ``triton``: attention with decomposed relative positions, in Triton kernels for GPUs.

Between the passes it keeps q, k, v, its result and one number per row; it writes no matrix of scores. The bias of a
score is a sum of one number per axis, q_i . R^axis[i, j], so the operator first multiplies each query with the table
rows selected by its keys: about sum(k_grid) numbers per query, in q's dtype, freed once the kernels have read them.
These are plain batched products (:func:`~mmav.models.ops.relative_bias.relative_bias`): inside a kernel, a tile of
queries would have to be multiplied with all 2 * max(q, k) - 1 rows of a table, because positions differ from query to
query. For MViTv2's 8x56x56 queries and 8x7x7 keys that would be 237 products of width d per query instead of 22, in
addition to the 784 of attention itself; the workspace is a third of q. The backward pass recomputes the products, and
turns the gradients of the bias, summed over the keys that share it, into gradients of the tables with the same kind of
products. Every sum has a fixed order and there are no atomic operations, so two runs are bitwise equal.

``TRITON_INTERPRET=1`` runs the kernels on a CPU. Their speed on a GPU has not been measured yet.
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
from mmav.models.ops.eager import halved

WIDEST = 128
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
# The most positions on all axes but the last together: columns of a one-hot product.
MOST_OUTER = 512


def triton_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tables: Sequence[Tensor],
    grids: tuple[Sequence[int], Sequence[int]],
    *,
    classes: Sequence[Tensor] = (),
    residual: bool = False,
) -> Tensor:
    """Computes :func:`~mmav.models.ops.attention.attend` without a matrix of scores.

    Under autocast everything is computed in its dtype and summed in float32; float32 uses TF32 only if
    ``torch.backends.cuda.matmul.allow_tf32`` allows it. Only first derivatives are supported.

    Args:
        q: Queries of the patch tokens (B, Nq, heads, d), d at most 128.
        k: Their keys (B, Nk, heads, d).
        v: Their values (B, Nk, heads, d).
        tables: Relative positions per axis (2 * max(q_grid[axis], k_grid[axis]) - 1, d); empty for none.
        grids: The grids that Nq and Nk unroll; one to three axes with tables.
        classes: Query, key and value of the class token, each (B, 1, heads, d); empty for none.
        residual: Whether to add the queries of the patch tokens to the result.

    Returns:
        (B, c + Nq, heads, d), c = 1 with a class token, else 0.

    Raises:
        ConfigError: The kernels do not support the dtype, width, grid or device, or triton is missing.
    """
    tokens = [halved(x) for x in (q, k, v, *classes)]
    _check(tokens, tables, *grids)
    q_grid, k_grid = (list(grid) for grid in grids)
    given = (*tokens, *[None] * (6 - len(tokens)), list(tables), q_grid, k_grid, residual)
    return torch.ops.mmav.pooled_attention(*given)[0]


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


# Registered with PyTorch, so that selective activation checkpointing can keep the result, memory and operations can be
# counted without a GPU, and compilers do not trace into them.
_operator = torch.library.custom_op(
    'mmav::pooled_attention', triton_launch.forward, mutates_args=(), schema=f'({_ARGUMENTS}) -> (Tensor, Tensor)'
)


@_operator.register_fake
def _like_forward(q: Tensor, k: Tensor, v: Tensor, q_cls: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:
    batch, length, heads, dim = q.shape
    length = length + (q_cls is not None)
    return q.new_empty(batch, length, heads, dim), q.new_empty(batch, heads, length, dtype=torch.float32)


_backward_operator = torch.library.custom_op(
    'mmav::pooled_attention_backward',
    triton_launch.backward,
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


def _operations(given: Sequence[Any]) -> tuple[int, int]:
    """FLOPs of one product of the size of q k^T, and of the products for the bias; a multiply-add counts as 2."""
    q, k, _, q_cls, _, _, tables, _, k_grid, *_ = given
    batch, q_len, heads, dim = q
    num_cls = int(q_cls is not None)
    both = 2 * batch * heads * dim
    return both * (num_cls + q_len) * (num_cls + k[1]), both * q_len * sum(k_grid if tables else ())


@register_flop_formula(torch.ops.mmav.pooled_attention)
def _forward_flops(*given: Any, **_: Any) -> int:
    product, bias = _operations(given)
    return 2 * product + bias


@register_flop_formula(torch.ops.mmav.pooled_attention_backward)
def _backward_flops(grad: Any, *given: Any, **_: Any) -> int:
    product, bias = _operations(given)
    # scores and gradients of q, k, v and probabilities; the bias and gradients of its queries and tables
    return 5 * product + 3 * bias
