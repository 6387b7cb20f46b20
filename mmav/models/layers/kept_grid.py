"""A grid of which slices were dropped, for encoders that pool their tokens: what convolutions and positions need.

Along each axis, units of neighbouring cells stay or go together. A unit is as long as all strides of the encoder
together, so that pooling never joins cells of two units, and a kept unit stays whole until the last block. The tokens
that stay form a smaller grid. Three things must know that it has gaps:

* The convolutions that pool queries, keys and values read zeros in place of dropped cells, as they do at the border.
  Two kept cells are neighbours there only if they were neighbours before.
* The maximum of the skip path is taken over kept cells only.
* Relative positions are those of the cells' places in the whole grid.

So the kept tokens have the values of an encoder of all tokens in which the dropped ones are zero in convolutions, minus
infinity in maxima, and attended to by nobody: tests/models/layers/test_kept_grid.py computes it that way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmav.errors import ConfigError
from mmav.models.layers.token_drop import TokenDrop, draw_kept
from mmav.models.ops.relative_bias import relative_index_of


class KeptAxis(NamedTuple):
    """What is kept of an axis.

    Attributes:
        size: Its cells before anything was dropped.
        unit: How many neighbouring cells stay or go together.
        units: The units that stay, rising (W',). If the last unit has fewer cells, it always stays.
    """

    size: int
    unit: int
    units: Tensor

    @property
    def length(self) -> int:
        """How many cells are kept."""
        return len(self.units) * self.unit - -self.size % self.unit

    def cells(self) -> Tensor:
        """The places of the kept cells in the whole axis (length,)."""
        return _cells(self.units * self.unit, self.unit, self.length)

    def pooled(self, stride: int) -> KeptAxis:
        """The axis after pooling with a stride that divides the unit."""
        return KeptAxis(-(-self.size // stride), self.unit // stride, self.units)


# one entry per axis; None where the whole axis is kept
Kept = tuple[KeptAxis | None, ...]


def _cells(starts: Tensor, unit: int, length: int) -> Tensor:
    return (starts[:, None] + torch.arange(unit, device=starts.device)).flatten()[:length]


def drop_units(grid: Sequence[int], unit: Sequence[int], drop: TokenDrop, device: torch.device) -> Kept:
    """Draws what is kept of a grid, the same for all clips of a batch.

    >>> drop = TokenDrop(axes=(0.0, 0.5))
    >>> whole, time = drop_units((4, 16), (2, 4), drop, torch.device('cpu'))
    >>> whole, time.length
    (None, 8)
    """
    counts = [size // cells for size, cells in zip(grid, unit, strict=True)]
    kept: list[KeptAxis | None] = []
    for size, cells, count, dropped in zip(grid, unit, counts, drop.dropped(counts), strict=True):
        if not dropped:
            kept.append(None)
            continue
        units = draw_kept(count, dropped, device)
        if size % cells:  # the last one is not whole
            units = torch.cat((units, units.new_full((1,), count)))
        kept.append(KeptAxis(size, cells, units))
    return tuple(kept)


def pooled(kept: Kept, stride: Sequence[int]) -> Kept:
    """What is kept of a grid after pooling."""
    return tuple(axis and axis.pooled(step) for axis, step in zip(kept, stride, strict=True))


def take_units(x: Tensor, grid: Sequence[int], kept: Kept) -> tuple[Tensor, tuple[int, ...]]:
    """The kept tokens (B, N', D) of (B, N, D), and the smaller grid that N' unrolls."""
    x = x.unflatten(1, tuple(grid))
    for number, axis in enumerate(kept, start=1):
        if axis is not None:
            x = x.index_select(number, axis.cells())
    return x.flatten(1, -2), tuple(x.shape[1:-1])


class Spread(NamedTuple):
    """Where kept cells lie when an operator with a window runs over them, per axis; None for whole axes.

    Between units that are no neighbours there is a gap, at least as wide as the window reaches or as many cells as were
    dropped; it is a multiple of the stride, so that the windows keep their centres. How wide all gaps are together is
    only known on the device, but not more than ``sizes``, which thus are the same in every step.

    Attributes:
        places: Place of each kept cell.
        sizes: Lengths of the axes with gaps.
        results: Place of each result.
    """

    places: tuple[Tensor | None, ...]
    sizes: tuple[int, ...]
    results: tuple[Tensor | None, ...]

    @classmethod
    def of(cls, kept: Kept, kernel: Sequence[int], stride: Sequence[int]) -> Spread:
        """For an operator with padding ``kernel // 2``."""
        found: list[tuple[Tensor | None, int, Tensor | None]] = []
        for axis, reach, step in zip(kept, (k // 2 for k in kernel), stride, strict=True):
            if axis is None:
                found.append((None, 0, None))
                continue
            most = -(-reach // step) * step
            gaps = ((axis.units.diff() - 1) * axis.unit).clamp(max=most)
            starts = torch.arange(len(axis.units), device=gaps.device) * axis.unit + F.pad(gaps.cumsum(0), (1, 0))
            widest = min((len(axis.units) - 1) * most, axis.size - axis.length)
            results = _cells(starts // step, axis.unit // step, axis.pooled(step).length)
            found.append((_cells(starts, axis.unit, axis.length), axis.length + widest, results))
        return cls(*map(tuple, zip(*found, strict=True)))


def spread_cells(cells: Tensor, places: Sequence[Tensor | None], sizes: Sequence[int], fill: float) -> Tensor:
    """Puts cells (B, *grid, C) to their places between gaps that are filled with a constant."""
    for axis, (place, size) in enumerate(zip(places, sizes, strict=True), start=1):
        if place is not None:
            shape = (*cells.shape[:axis], size, *cells.shape[axis + 1 :])
            cells = cells.new_full(shape, fill).index_copy(axis, place, cells)
    return cells


def take_results(cells: Tensor, results: Sequence[Tensor | None]) -> Tensor:
    """The results (B, *grid, C) that belong to kept cells."""
    for axis, place in enumerate(results, start=1):
        if place is not None:
            cells = cells.index_select(axis, place)
    return cells


class BlockLayout(NamedTuple):
    """What a multiscale block needs to know of the dropped cells; blocks of the same strides share it.

    Attributes:
        q: For the pooling of queries.
        kv: For the pooling of keys and values.
        skip: For the maximum of the skip path.
        q_grid: The grid of the pooled queries if nothing were dropped.
        k_grid: That of the pooled keys.
        rows: Per axis which row of the table of relative positions belongs to each kept query and key; None where the
            whole axis is kept.
    """

    q: Spread
    kv: Spread
    skip: Spread
    q_grid: tuple[int, ...]
    k_grid: tuple[int, ...]
    rows: tuple[Tensor | None, ...]

    @classmethod
    def of(
        cls, kept: Kept, grid: Sequence[int], strides: tuple[Sequence[int], Sequence[int]], kernel: Sequence[int]
    ) -> BlockLayout:
        """The layout of a block.

        Args:
            kept: What is kept of the block's grid.
            grid: The kept grid.
            strides: Those of the queries, and of keys and values.
            kernel: Kernel of their pooling.
        """
        q_stride, kv_stride = strides
        whole = tuple(size if axis is None else axis.size for size, axis in zip(grid, kept, strict=True))
        q_grid, k_grid = (tuple(-(-n // s) for n, s in zip(whole, stride, strict=True)) for stride in strides)
        rows = [
            None if axis is None else relative_index_of(q, k, axis.pooled(of_q).cells(), axis.pooled(of_k).cells())
            for axis, q, k, of_q, of_k in zip(kept, q_grid, k_grid, q_stride, kv_stride, strict=True)
        ]
        skip_kernel = [s + 1 if s > 1 else 1 for s in q_stride]  # as in max_pool_tokens
        return cls(
            Spread.of(kept, kernel, q_stride),
            Spread.of(kept, kernel, kv_stride),
            Spread.of(kept, skip_kernel, q_stride),
            q_grid,
            k_grid,
            tuple(rows),
        )


def unit_of(strides: Sequence[tuple[Sequence[int], Sequence[int]]], kernel: Sequence[int]) -> tuple[int, ...]:
    """The unit of an encoder, in cells of its first grid: a common multiple of all strides from there.

    Args:
        strides: For each block the strides of queries and of keys and values.
        kernel: Kernel of the pooling convolutions.

    Raises:
        ConfigError: The kernel is even, so that the grid after pooling does not follow from the units.

    >>> unit_of([((1, 1), (2, 2)), ((2, 2), (1, 1)), ((1, 2), (1, 1))], (3, 3))
    (2, 4)
    """
    if any(k % 2 == 0 for k in kernel):
        raise ConfigError(f'token_drop needs odd pooling kernels, not pool_kernel={tuple(kernel)}')
    unit, reached = [1] * len(kernel), [1] * len(kernel)
    for q_stride, kv_stride in strides:
        for axis, (q, kv) in enumerate(zip(q_stride, kv_stride, strict=True)):
            unit[axis] = math.lcm(unit[axis], reached[axis] * q, reached[axis] * kv)
            reached[axis] *= q
    return tuple(unit)
