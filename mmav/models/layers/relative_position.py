"""Decomposed relative positions: one table per axis, shared by the heads of a layer (Eq. 2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmav.adapting import Adapted, Hints
from mmav.models.ops.relative_bias import relative_bias


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

    def adapt_weight(self, name: str, value: Tensor, hints: Hints) -> Adapted | None:
        """A table of another input size, interpolated as one is at run time; None for what is no such table.

        Args:
            name: Name of the parameter within this module.
            value: A file's.
            hints: Not needed: a table's length says all.
        """
        own = self.get_parameter(name)
        if value.dim() != 2 or value.shape[1] != own.shape[1]:
            return None
        return Adapted(resize_table(value, own.shape[0]), f'{value.shape[0]} rows interpolated to {own.shape[0]}')

    def sized(self, q_grid: Sequence[int], k_grid: Sequence[int]) -> list[Tensor]:
        """Returns the tables, interpolated where the grids are not those of construction."""
        sizes = (2 * max(q, k) - 1 for q, k in zip(q_grid, k_grid, strict=True))
        return [resize_table(table, size) for table, size in zip(self.tables, sizes, strict=True)]

    def forward(self, q: Tensor, q_grid: Sequence[int], k_grid: Sequence[int]) -> list[Tensor]:
        """Returns the bias per axis, see :func:`~mmav.models.ops.relative_bias.relative_bias`."""
        return relative_bias(q, self.sized(q_grid, k_grid), q_grid, k_grid)
