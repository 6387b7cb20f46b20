"""Decomposed relative positions as a bias, axis by axis: E_rel[i, j] = Q_i . (R^1[i, j] + R^2[i, j] + ...), Eq. 2.

Also one-hot positions of a grid's cells: a product with them expands a bias per axis to all cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmav.models.ops.eager import cached, cheap, halved


def along(axis: int, sizes: Sequence[int]) -> list[int]:
    """The shape of a tensor that varies along one axis only.

    >>> along(1, (2, 3, 4))
    [1, 3, 1]
    """
    return [size if number == axis else 1 for number, size in enumerate(sizes)]


def onehot_positions(grid: Sequence[int], like: Tensor) -> Tensor:
    """Returns the one-hot positions of each cell on all axes, concatenated (N, sum of the sizes).

    >>> onehot_positions((2, 2), torch.zeros(1)).int().tolist()
    [[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]]
    """
    columns = []
    for axis, size in enumerate(grid):
        eye = torch.eye(size, dtype=like.dtype, device=like.device)
        columns.append(eye.reshape(*along(axis, grid), size).expand(*grid, size).flatten(0, -2))
    return torch.cat(columns, dim=-1)


_onehots: dict[tuple[tuple[int, ...], int, torch.dtype, torch.device], Tensor] = {}


def cached_onehot(grid: Sequence[int], fill: int, like: Tensor) -> Tensor:
    """:func:`onehot_positions`, cached, with ``fill`` columns of zeros on the right; do not change it in place."""
    key = (tuple(grid), fill, like.dtype, like.device)
    return cached(_onehots, key, lambda: F.pad(onehot_positions(grid, like), (0, fill)))


def relative_index(q_size: int, k_size: int, device: torch.device | str = 'cpu') -> Tensor:
    """Returns which row of a table of 2 * max(q_size, k_size) - 1 rows belongs to a query and a key (q_size, k_size).

    If one of the two is pooled, its positions are stretched to the scale of the other (facebookresearch/SlowFast,
    slowfast/models/attention.py, ``cal_rel_pos_spatial``).

    >>> relative_index(2, 2)
    tensor([[1, 0],
            [2, 1]])
    """
    q_ratio = max(k_size / q_size, 1.0)
    k_ratio = max(q_size / k_size, 1.0)
    # in float64, and on the CPU by default, even inside `with torch.device('meta')`: an index is data, not a parameter
    q = torch.arange(q_size, dtype=torch.float64, device=device)[:, None] * q_ratio
    k = torch.arange(k_size, dtype=torch.float64, device=device)[None, :] * k_ratio
    return (q - k + (k_size - 1) * k_ratio).long()


_indices: dict[tuple[int, int, torch.device], Tensor] = {}


def _cached_index(q_size: int, k_size: int, device: torch.device) -> Tensor:
    def make() -> Tensor:
        # in a compiled graph it is created on the device instead of copied to it
        return relative_index(q_size, k_size, device if torch.compiler.is_compiling() else 'cpu').to(device)

    return cached(_indices, (q_size, k_size, device), make)


def relative_index_of(q_size: int, k_size: int, q_places: Tensor, k_places: Tensor) -> Tensor:
    """:func:`relative_index` of some queries and keys: (queries, keys).

    Args:
        q_size: Queries of the whole axis.
        k_size: Keys of the whole axis.
        q_places: The places of the queries on it.
        k_places: Those of the keys.
    """
    index = _cached_index(q_size, k_size, q_places.device)
    return index.index_select(0, q_places).index_select(1, k_places)


def relative_bias(q: Tensor, tables: Sequence[Tensor], q_grid: Sequence[int], k_grid: Sequence[int]) -> list[Tensor]:
    """Returns, per axis, the product of each query with the table rows selected by the positions of its keys.

    Args:
        q: Pooled, unscaled queries of the patch tokens (B, Nq, heads, d).
        tables: Per axis (2 * max(q_grid[axis], k_grid[axis]) - 1, d), see :func:`relative_index`; or, for positions
            that are not evenly spaced, a row of its own for each query and key, (q_grid[axis] * k_grid[axis], d).
        q_grid: The grid that Nq unrolls.
        k_grid: The grid of the keys.

    Returns:
        One tensor (B, Nq, heads, k_grid[axis]) per axis.
    """
    q = halved(q)
    products = []
    for axis, table in enumerate(tables):
        size = q_grid[axis]
        heads = q.shape[2] if axis == len(q_grid) - 1 else 1
        index = None if _of_pairs(table, size, k_grid[axis]) else _cached_index(size, k_grid[axis], q.device)
        rows = cheap(_rows, table, index, size, q.dtype, heads)
        products.append(cheap(_product, q, rows, axis, q_grid))
    return products


def _of_pairs(table: Tensor, q_size: int, k_size: int) -> bool:
    """Whether a table has a row for each query and key; with one of each the two kinds of tables are the same."""
    return len(table) == q_size * k_size


def _rows(table: Tensor, index: Tensor | None, size: int, dtype: torch.dtype, heads: int) -> Tensor:
    """Rows of a table for all positions of queries and keys, each repeated for the heads: (size * heads, d, k)."""
    # F.embedding, as the backward pass of indexing is slow on a CPU
    rows = (table.unflatten(0, (size, -1)) if index is None else F.embedding(index, table)).to(dtype)
    return (rows if heads == 1 else rows.repeat_interleave(heads, dim=0)).transpose(1, 2)


def _product(q: Tensor, rows: Tensor, axis: int, q_grid: Sequence[int]) -> Tensor:
    """Queries (B, Nq, heads, d) times the rows of their positions on an axis, see :func:`_rows`: (B, Nq, heads, k)."""
    # One batched product for all queries: those that share a position on this axis are the rows of a matrix. For the
    # last axis, all other positions and heads lie between them in memory.
    product = _by_position(q, axis, q_grid) @ rows
    product = product.transpose(0, 1) if axis == len(q_grid) - 1 else product
    return product.reshape(-1, *q.shape[1:3], rows.shape[-1])


def relative_bias_backward(
    grads: Sequence[Tensor],
    q: Tensor,
    tables: Sequence[Tensor],
    q_grid: Sequence[int],
    k_grid: Sequence[int],
    *,
    grad_q: Tensor,
) -> list[Tensor]:
    """Adds the gradient of the queries to ``grad_q`` and returns those of the tables, summed in a fixed order.

    For operators with their own backward pass; elsewhere autograd does this.

    Args:
        grads: Gradients of the results of :func:`relative_bias`.
        q: Its argument.
        tables: Its argument.
        q_grid: Its argument.
        k_grid: Its argument.
        grad_q: Contiguous, with the shape of ``q``; changed in place.
    """
    of_tables = []
    for axis, (grad, table) in enumerate(zip(grads, tables, strict=True)):
        size, is_last = q_grid[axis], axis == len(q_grid) - 1
        pairs = _of_pairs(table, size, k_grid[axis])
        index = None if pairs else _cached_index(size, k_grid[axis], q.device)
        rows = (table.unflatten(0, (size, -1)) if index is None else F.embedding(index, table)).to(q.dtype)
        grad, queries, target = (_by_position(x, axis, q_grid) for x in (grad, q, grad_q))
        target += grad @ (rows.repeat_interleave(q.shape[2], dim=0) if is_last else rows)
        of_rows = grad.transpose(-1, -2) @ queries
        if is_last:
            of_rows = of_rows.unflatten(0, (size, -1)).sum(1, dtype=torch.float32)
        else:
            of_rows = of_rows.sum(0, dtype=torch.float32)
        if index is None:
            of_table = of_rows.flatten(0, 1)
        else:
            of_table = torch.ops.aten.embedding_dense_backward(of_rows, index, len(table), -1, False)
        of_tables.append(of_table.to(table.dtype))
    return of_tables


def _by_position(x: Tensor, axis: int, grid: Sequence[int]) -> Tensor:
    """Views (B, N, heads, width) as batches of matrices whose rows share a position on the axis.

    (size * heads, positions before it, width) for the last axis, (positions before it, size, those after it * heads,
    width) for others.
    """
    size, heads, width = grid[axis], *x.shape[2:]
    if axis == len(grid) - 1:
        return x.reshape(-1, size * heads, width).transpose(0, 1)
    return x.reshape(-1, size, math.prod(grid[axis + 1 :]) * heads, width)
