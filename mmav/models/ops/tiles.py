"""How (batch, rows, heads) are divided into batches of matrices that are worked on one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

# with fewer rows at a time, the gradients of keys and values pass through the cache too often
FEWEST_ROWS = 64

Tile = tuple[slice | int, slice, slice | int]


def tiles(batch: int, rows: int, heads: int, width: int, size: int) -> Iterator[Tile]:
    """Divides (batch, rows, heads) so that a tile has at most ``size`` scores if one row allows it.

    Batch entries are taken together only for a single head, or heads for a single entry: then a tile is a batch of
    matrices with equal strides, which products read where it lies.

    Args:
        batch: Batch entries.
        rows: Queries of each.
        heads: Heads.
        width: Keys.
        size: Most scores of a tile.

    Yields:
        Indices of the three axes; one of the outer ones is a number.
    """
    per_tile = min(rows, max(FEWEST_ROWS, size // width))
    # about equal tiles, of a multiple of 16 rows: products of 64 rows took a sixth less than of 63
    per_tile = min(rows, -(-math.ceil(rows / math.ceil(rows / per_tile)) // 16) * 16)
    group = max(1, size // (rows * width)) if per_tile == rows else 1
    pieces = [slice(start, min(start + per_tile, rows)) for start in range(0, rows, per_tile)]
    outer, inner = (heads, batch) if batch >= heads else (batch, heads)
    for one in range(outer):
        for start in range(0, inner, group):
            many = slice(start, min(start + group, inner))
            for piece in pieces:
                yield (many, piece, one) if batch >= heads else (one, piece, many)


def cut(x: Tensor, tile: Tile, *, rows: bool = True) -> Tensor:
    """The tile of (B, N, heads, d), or all its N, as a batch of matrices; as a matrix if it is only one."""
    batch, piece, head = tile
    many, part = (batch, x[:, :, head]) if isinstance(batch, slice) else (head, x[batch].transpose(0, 1))
    assert isinstance(many, slice)  # tiles() yields one number and one slice
    part = part[many.start] if many.stop == many.start + 1 else part[many]
    return part.narrow(-2, piece.start, piece.stop - piece.start) if rows else part


def multiply(a: Tensor, b: Tensor, out: Tensor, *, add: bool = False, scale: float = 1.0) -> None:
    """out = scale * a b, plus ``out`` if ``add``, of matrices or batches of them."""
    product = torch.addmm if a.dim() == 2 else torch.baddbmm
    product(out, a, b, beta=float(add), alpha=scale, out=out)


class Buffer:
    """Memory for the scores of one tile after the other."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.memory = like.new_empty(0)

    def take(self, *shape: int) -> Tensor:
        number = math.prod(shape)
        if self.memory.numel() < number:
            self.memory = self.like.new_empty(number)
        return self.memory[:number].view(shape)
