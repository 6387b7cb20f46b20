"""Positions of the cells of a grid, one-hot: products with them spread what belongs to an axis over all cells."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmav.models.ops.constants import kept


def along(axis: int, sizes: Sequence[int]) -> list[int]:
    """The shape of what varies along one axis only.

    >>> along(1, (2, 3, 4))
    [1, 3, 1]
    """
    return [size if number == axis else 1 for number, size in enumerate(sizes)]


def onehot_positions(grid: Sequence[int], like: Tensor) -> Tensor:
    """Returns the position of each cell on each axis, one-hot and side by side (N, sum of the sizes).

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
    """:func:`onehot_positions`, computed once, with ``fill`` columns of zeros on the right; not to be changed."""
    key = (tuple(grid), fill, like.dtype, like.device)
    return kept(_onehots, key, lambda: F.pad(onehot_positions(grid, like), (0, fill)))
