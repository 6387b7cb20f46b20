"""How the weights of a public file are adapted to a backbone: as the user chooses, or with defaults for the two."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmav.adapting import Hints
from mmav.errors import CheckpointError, ConfigError, did_you_mean
from mmav.models.backbones.ast import TOKENS
from mmav.models.weights.own_checkpoint import KERNEL

OPTIONS = dict(rgb=('mean', 'sum'), inflate=('center', 'mean'), positions=('interpolate', 'cut'))
# With the center frame, a clip of equal frames responds like the image, even at its ends.
DEFAULTS = dict(rgb='mean', inflate='center', positions='interpolate')
# 128 mel bins in patches of 16 at stride 10: AST's public files, whatever their length
AST_ROWS = 12
_PUBLISHED = 12 * 101


def check_options(given: Mapping[str, Any], grid: Any = None) -> None:
    """Refuses invalid values.

    Args:
        given: ``rgb``, ``inflate`` and ``positions`` of :func:`~mmav.models.weights.load_public_weights`.
        grid: Its ``grid``.

    Raises:
        ConfigError: One is unknown, or the grid is invalid.
    """
    for name, value in given.items():
        if value is not None and value not in OPTIONS[name]:
            hint = did_you_mean(value, OPTIONS[name]) if isinstance(value, str) else ''
            raise ConfigError(f'{name}={value!r} is unknown: choose {" or ".join(OPTIONS[name])}{hint}')
    lengths = grid if isinstance(grid, (list, tuple)) else ()
    if grid is not None and not (lengths and all(type(each) is int and each > 0 for each in lengths)):
        raise ConfigError(f'grid={grid!r} is not a grid: give a number of positions for each axis, as in grid=(8, 64)')


def choose(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    given: Mapping[str, str | None],
    *,
    grid: Sequence[int] | None = None,
    noted: Mapping[str, tuple[int, ...]] | None = None,
    ours: bool = False,
    file: str = 'the file',
) -> tuple[Hints, dict[str, tuple[int, ...]]]:
    """Chooses how a file's weights are adapted to a backbone.

    Choices default to ``adapting`` of the backbone's class, then to ``DEFAULTS``. AST cuts positions only of files with
    a distillation token, DeiT's and its own, which are the files that its code reads.

    Args:
        module: The backbone.
        weights: The file's weights under our names.
        given: ``rgb``, ``inflate`` and ``positions`` of :func:`~mmav.models.weights.load_public_weights`.
        grid: The grid of the file's positions, if given by the user.
        noted: The grids stored in the file.
        ours: Whether it is our own checkpoint: its positions are then adapted as at run time.
        file: Its name for messages.

    Returns:
        Hints for the backbone's parts, and the grids of the position tables in the file.

    Raises:
        ConfigError: A choice is unknown or has no effect.
        CheckpointError: The grid of the file's positions is ambiguous.
    """
    check_options(given, grid)
    own = module.state_dict()
    kernel, theirs = own.get(KERNEL), weights.get(KERNEL)
    both = kernel is not None and theirs is not None and kernel.dim() > 2 and theirs.dim() > 2
    defaults = {**DEFAULTS, **getattr(module, 'adapting', {})}
    if ours or 'dist_token' not in weights:
        defaults['positions'] = DEFAULTS['positions']
    new = tuple(getattr(module, 'grid', ()))
    grids = _grids(own, new, weights, grid=grid, noted=noted or {}, ours=ours, file=file)
    old = grids.get('pos_embed')
    idle = dict(
        rgb=not both or theirs.shape[1] == kernel.shape[1] or kernel.shape[1] != 1,  # type: ignore[union-attr]
        inflate=not both or theirs.dim() != 4 or kernel.dim() != 5,  # type: ignore[union-attr]
        positions='pos_embed' not in weights or 'pos_embed' not in own or (old is not None and old == new),
    )
    why = dict(
        rgb='several channels do not become one here',
        inflate='kernels for images do not become kernels for clips here',
        positions='there are no positions of another grid',
    )
    # from the last axis on, as images have fewer axes than clips
    grows = old is not None and all(a <= b for a, b in zip(reversed(old), reversed(new), strict=False))
    if given.get('positions') == 'cut' and grows:
        idle['positions'], why['positions'] = True, f'no axis of {old} gets shorter in {new}'
    for name, value in given.items():
        if value is not None and idle[name]:
            raise ConfigError(f"{name}={value!r} has no effect on '{file}': {why[name]}; leave it out")
    chosen = {name: given.get(name) or defaults[name] for name in OPTIONS}
    return Hints(cut=chosen['positions'] == 'cut', rgb=chosen['rgb'], inflate=chosen['inflate']), grids


def _grids(
    own: Mapping[str, Tensor],
    new: tuple[int, ...],
    weights: Mapping[str, Tensor],
    *,
    grid: Sequence[int] | None,
    noted: Mapping[str, tuple[int, ...]],
    ours: bool,
    file: str,
) -> dict[str, tuple[int, ...]]:
    """The grids of the file's positions: given by the user, stored in the file, or known for files of its kind."""
    table = weights.get('pos_embed')
    if table is None or 'pos_embed' not in own or table.dim() != 3:
        if grid is not None:
            raise ConfigError(
                f"grid={tuple(grid)} has no effect on '{file}': no table of positions is read; leave it out"
            )
        return dict(noted)
    number = table.shape[1] - sum(token in weights for token in TOKENS)
    if grid is not None:
        if math.prod(grid) != number:
            raise ConfigError(f"grid={tuple(grid)} are {math.prod(grid)} positions, but '{file}' has {number}")
        if len(grid) != len(new) and (len(grid), len(new)) != (2, 3):  # pictures in clips
            raise ConfigError(f'grid={tuple(grid)} has {len(grid)} axes, that of the model {len(new)}: {new}')
        return dict(pos_embed=tuple(grid))
    if 'pos_embed' in noted:
        return dict(noted)
    found = None if ours else _grids_of_kind(weights, number, own.get(KERNEL), new)
    if found is None or (not found and table.shape == own['pos_embed'].shape):
        return {}  # left to the backbone, or apparently the same grid
    if len(found) != 1:
        could = ' or '.join(' x '.join(map(str, each)) for each in found) or 'of an unknown grid'
        raise CheckpointError(f"the {number} positions of '{file}' are {could}: say which, as in grid=(8, 64)")
    return dict(pos_embed=found[0])


def _grids_of_kind(
    weights: Mapping[str, Tensor], number: int, own: Tensor | None, like: tuple[int, ...]
) -> list[tuple[int, ...]] | None:
    """The possible grids for a number of positions in such a file; None if its kind does not tell."""
    kernel = weights.get(KERNEL, torch.empty(0))
    side = math.isqrt(max(number, 0))
    square: list[tuple[int, ...]] = [(side, side)] if side * side == number else []
    if kernel.dim() == 5 and len(like) == 3:
        return _grids_of_clips(number, like)
    if kernel.dim() != 4:
        return None
    if kernel.shape[1] > 1:  # pictures
        found = list(square)
        if found and own is not None and own.dim() == 4 and own.shape[1] > 1 and number == math.prod(like):
            found += [like] if like != found[0] else []  # a rectangle of the model's own kind
        return found
    if number == math.prod(like):
        return [like]
    if 'dist_token' not in weights:  # of another length, or an image model's for grey images
        longer = [(like[0], number // like[0])] if len(like) == 2 and number % like[0] == 0 else []
        return list(dict.fromkeys(longer + square))
    rows = {AST_ROWS} if number == _PUBLISHED or len(like) != 2 else {AST_ROWS, like[0]}
    return [(each, number // each) for each in sorted(rows) if number % each == 0]


def _grids_of_clips(number: int, like: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Grids of clips with another number of the model's frames, or else of square frames."""
    frames, *picture = like
    length, rest = divmod(number, math.prod(picture))
    if length and not rest:
        return [(length, *picture)]
    area, rest = divmod(number, frames)
    side = math.isqrt(area)
    return [(frames, side, side)] if not rest and side * side == area else []
