"""Learned absolute positions of a grid of tokens, adapted to another grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MODES = {1: 'linear', 2: 'bilinear', 3: 'trilinear'}


def sincos_positions(number: int, dims: int) -> Tensor:
    """Fixed positions (1, number, dims): sines at even, cosines at odd places (Vaswani et al. 2017, 3.5).

    As in VideoMAE, the position is the place in the order of the patches, whatever their grid.

    >>> [round(value, 4) for value in sincos_positions(2, 4)[0, 1].tolist()]  # sin 1, cos 1, sin 0.01, cos 0.01
    [0.8415, 0.5403, 0.01, 0.9999]
    """
    places = torch.arange(number, dtype=torch.float64)[:, None]
    angles = places / 10000 ** (torch.arange(0, dims, 2, dtype=torch.float64) / dims)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[None, :, :dims].float()


def resize_positions(positions: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """Interpolates position embeddings (1, N, D) from one grid to another, linearly along each axis.

    >>> import torch
    >>> resize_positions(torch.tensor([[[0.0], [1.0]]]), (2,), (4,)).flatten()
    tensor([0.0000, 0.2500, 0.7500, 1.0000])
    """
    if tuple(old) == tuple(new):
        return positions
    grid = positions.transpose(1, 2).unflatten(2, tuple(old)).float()  # (1, D, *old)
    resized = F.interpolate(grid, size=tuple(new), mode=MODES[len(old)], align_corners=False)
    return resized.flatten(2).transpose(1, 2).to(positions.dtype)


def fit_positions(
    positions: Tensor, old: Sequence[int], new: Sequence[int], *, cut: bool = False
) -> tuple[Tensor, str]:
    """Adapts position embeddings (1, N, D) from one grid to another.

    A grid with fewer axes, such as an image's in a clip model, covers the last axes and is repeated over the others.

    Args:
        positions: The embeddings.
        old: The grid that N unrolls.
        new: The new grid.
        cut: If an axis gets shorter, take its middle instead of interpolating (YuanGongND/ast,
            src/models/ast_models.py): neighbours stay as far apart as the model has learned.

    Returns:
        The embeddings, and a description of the changes.

    >>> import torch
    >>> fit_positions(torch.arange(5.0).reshape(1, 5, 1), (5,), (3,), cut=True)[0].flatten()
    tensor([1., 2., 3.])
    """
    others, inner = tuple(new[: len(new) - len(old)]), tuple(new[len(new) - len(old) :])
    middle = tuple(min(a, b) for a, b in zip(old, inner, strict=True)) if cut else tuple(old)
    table = positions.unflatten(1, tuple(old))  # (1, *old, D)
    for axis, (length, kept) in enumerate(zip(old, middle, strict=True), start=1):
        table = table.narrow(axis, length // 2 - kept // 2, kept)
    table = resize_positions(table.flatten(1, -2), middle, inner)
    table = table.repeat(1, math.prod(others), 1)
    steps = [
        *(['cut'] if middle != tuple(old) else []),
        *(['interpolated'] if middle != inner else []),
        *(['repeated'] if others else []),
    ]
    return table, f'positions of {tuple(old)} {", ".join(steps)} to {tuple(new)}' if steps else ''


def guess_grid(number: int, like: Sequence[int]) -> tuple[int, ...] | None:
    """Guesses the grid of a number of positions from a similar grid; None if nothing fits.

    For a clip, frames of the same shape come first, then another number of frames. A spectrogram may differ along one
    axis, the last one first, or be square. Only for files that do not say: 12 x 48 positions could also be 24 x 24.

    >>> guess_grid(12 * 50, (12, 101)), guess_grid(49, (12, 101)), guess_grid(50, (12, 101))
    ((12, 50), (7, 7), None)
    >>> guess_grid(4 * 4 * 4, (4, 8, 8)), guess_grid(2 * 6 * 8, (4, 6, 8))
    ((4, 4, 4), (2, 6, 8))
    """
    if len(like) > 2:
        *others, height, width = like
        area, rest = divmod(number, math.prod(others))
        side = math.isqrt(area * height // width)
        if area and not rest and side * side * width == area * height:
            return (*others, side, area // side)
    for axis in (*range(len(like) - 2), *reversed(range(max(len(like) - 2, 0), len(like)))):
        length, rest = divmod(number, math.prod(like) // like[axis])
        if length and not rest:
            return (*like[:axis], length, *like[axis + 1 :])
    side = math.isqrt(max(number, 0))
    return (side, side) if len(like) == 2 and side and side * side == number else None
