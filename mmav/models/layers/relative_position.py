"""Decomposed relative positions: E_rel[i, j] = Q_i . (R^1[i, j] + R^2[i, j] + ...), one table per axis (Eq. 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def relative_index(q_size: int, k_size: int, device: torch.device | str = 'cpu') -> Tensor:
    """Returns which row of a table of 2 * max(q_size, k_size) - 1 rows belongs to a query and a key (q_size, k_size).

    Where one of the two is pooled, its positions are stretched to the other's scale (facebookresearch/SlowFast,
    slowfast/models/attention.py, ``cal_rel_pos_spatial``).

    >>> relative_index(2, 2)
    tensor([[1, 0],
            [2, 1]])
    """
    q_ratio = max(k_size / q_size, 1.0)
    k_ratio = max(q_size / k_size, 1.0)
    # float64 and, unless told otherwise, on the CPU even inside a `with torch.device('meta')` block: the index is data,
    # not a parameter
    q = torch.arange(q_size, dtype=torch.float64, device=device)[:, None] * q_ratio
    k = torch.arange(k_size, dtype=torch.float64, device=device)[None, :] * k_ratio
    return (q - k + (k_size - 1) * k_ratio).long()


def resize_table(table: Tensor, length: int) -> Tensor:
    """Interpolates a table (rows, D) linearly to ``length`` rows, as public MViTv2 code does for other input sizes."""
    if table.shape[0] == length:
        return table
    resized = F.interpolate(table.t()[None].float(), size=length, mode='linear')
    return resized[0].t().to(table.dtype)


class RelativePosition(nn.Module):
    """The tables of one attention layer, shared by its heads.

    Args:
        head_dim: Width of one head.
        q_grid: Grid of the pooled queries at the input size of construction.
        k_grid: Grid of the pooled keys at that size.
    """

    def __init__(self, head_dim: int, q_grid: Sequence[int], k_grid: Sequence[int]) -> None:
        super().__init__()
        self.tables = nn.ParameterList(
            nn.Parameter(torch.zeros(2 * max(q, k) - 1, head_dim)) for q, k in zip(q_grid, k_grid, strict=True)
        )
        self._index_cache: dict[tuple[int, int, torch.device], Tensor] = {}

    def adapt_weight(self, name: str, value: Tensor) -> Tensor | None:
        """A table of another input size, interpolated as one is at run time; None for what is no such table.

        Args:
            name: Name of the parameter within this module.
            value: A checkpoint's.
        """
        own = self.get_parameter(name)
        fits = value.dim() == 2 and value.shape[1] == own.shape[1]
        return resize_table(value, own.shape[0]) if fits else None

    def _index(self, q_size: int, k_size: int, device: torch.device) -> Tensor:
        if torch.compiler.is_compiling():
            # a constant of the graph, which may not fill a cache inside a checkpointed block and would be compiled anew
            # when the cache is full
            return relative_index(q_size, k_size, device)
        key = (q_size, k_size, device)
        if key not in self._index_cache:
            if len(self._index_cache) > 64:  # inputs of ever new sizes must not fill the memory
                self._index_cache.clear()
            with torch.inference_mode(False):  # training may follow and keep it for its gradients
                self._index_cache[key] = relative_index(q_size, k_size).to(device)
        return self._index_cache[key]

    def forward(self, q: Tensor, q_grid: Sequence[int], k_grid: Sequence[int]) -> list[Tensor]:
        """Returns, per axis, the products of every query with the rows that its keys' positions select.

        Args:
            q: Pooled, unscaled queries of the patch tokens (B, Nq, heads, head_dim).
            q_grid: What Nq unrolls.
            k_grid: The keys' grid.

        Returns:
            One tensor (B, Nq, heads, k_grid[axis]) per axis.
        """
        length, heads, dim = q.shape[1:]
        products = []
        for axis, table in enumerate(self.tables):
            size = q_grid[axis]
            rows = resize_table(table, 2 * max(size, k_grid[axis]) - 1)
            # (size, k, head_dim); an embedding, as the backward pass of indexing is slow on a CPU
            rows = F.embedding(self._index(size, k_grid[axis], q.device), rows).to(q.dtype)
            # One batched product for all queries, which stay where they lie: those of one position on this axis are
            # the rows of a matrix. On the last axis they lie apart, with all other positions and heads between them.
            if axis == len(q_grid) - 1:
                rows = rows.repeat_interleave(heads, dim=0).transpose(1, 2)
                product = (q.reshape(-1, size * heads, dim).transpose(0, 1) @ rows).transpose(0, 1)
            else:
                product = q.reshape(-1, size, math.prod(q_grid[axis + 1 :]) * heads, dim) @ rows.transpose(1, 2)
            products.append(product.reshape(-1, length, heads, k_grid[axis]))
        return products
