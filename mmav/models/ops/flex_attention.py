"""The form ``flex``: attention with decomposed relative positions in PyTorch's FlexAttention, for comparison."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmav.errors import ConfigError
from mmav.models.ops.relative_bias import along

# The most attention sizes per process: each is compiled once for training and once for evaluation. PyTorch's default is
# 8, and the paper's model has 14 sizes.
MOST_COMPILED = 256


def flex_attention(q: Tensor, k: Tensor, v: Tensor, bias: Sequence[Tensor], k_grid: Sequence[int]) -> Tensor:
    """softmax(q k^T / sqrt(d) + E_rel) v with a kernel that PyTorch generates, adding the bias to each score.

    On a GPU the kernel is compiled at the first call with each size. It keeps no Nq x Nk matrix. It sums the gradients
    of the bias with atomic operations, so two runs differ in their last bits. On a CPU it is not compiled, materialises
    all scores and has no backward pass, so it is only useful for tests.

    Args:
        q: Queries (B, heads, c + Nq, d), c = 1 with a class token, else 0.
        k: Keys (B, heads, c + Nk, d).
        v: Values (B, heads, c + Nk, d).
        bias: Per axis (B, heads, Nq, k_grid[axis]); empty for no relative positions.
        k_grid: The grid that Nk unrolls.

    Returns:
        (B, heads, c + Nq, d).

    Raises:
        ConfigError: If gradients are needed on a CPU, or with deterministic algorithms.
    """
    _refuse(q, k, v, bias)
    num_cls = k.shape[2] - math.prod(k_grid) if bias else 0
    # row 0 and column 0 belong to the class token and are zero
    padded = [F.pad(part, (num_cls, 0, num_cls, 0)) for part in bias]
    columns = [_columns(k_grid, axis, num_cls, q.device) for axis in range(len(bias))]

    def add_bias(score: Tensor, clip: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        for part, column in zip(padded, columns, strict=True):
            score = score + part[clip, head, query, column[key]]
        return score

    return _generated(q, k, v, add_bias if bias else None)


def _refuse(q: Tensor, k: Tensor, v: Tensor, bias: Sequence[Tensor]) -> None:
    if not torch.is_grad_enabled() or not any(x.requires_grad for x in (q, k, v, *bias)):
        return
    if q.device.type == 'cpu':
        raise ConfigError("attention='flex' has no backward pass on a CPU: use auto there")
    if bias and torch.are_deterministic_algorithms_enabled():
        raise ConfigError("attention='flex' is not deterministic: use auto, or leave out --deterministic")


def _columns(k_grid: Sequence[int], axis: int, num_cls: int, device: torch.device) -> Tensor:
    """The column of the bias that each key has on an axis (c + Nk,)."""
    positions = torch.arange(k_grid[axis], device=device).view(along(axis, k_grid)).expand(tuple(k_grid)).reshape(-1)
    return F.pad(positions + num_cls, (num_cls, 0))


def _generated(q: Tensor, k: Tensor, v: Tensor, change: Callable[..., Tensor] | None) -> Tensor:
    """FlexAttention with scores modified by ``change``."""
    # imported here: the import is slow, and this form is rarely used
    from torch.nn.attention.flex_attention import flex_attention as uncompiled

    if torch.compiler.is_compiling():  # part of a larger graph
        return uncompiled(q, k, v, score_mod=change)
    if q.device.type != 'cpu':
        with torch._dynamo.config.patch(recompile_limit=MOST_COMPILED):
            return _compiled()(q, k, v, score_mod=change)
    with warnings.catch_warnings():  # it warns that it is slow
        warnings.filterwarnings('ignore', message='flex_attention called without torch.compile')
        return uncompiled(q, k, v, score_mod=change)


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention as uncompiled

    return torch.compile(uncompiled, dynamic=False)
