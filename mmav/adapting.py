"""Weights of one shape made to fit parameters of another: each part of a model says what becomes of its own.

A part says so by a method ``adapt_weight(name, value, hints)``, which returns an :class:`Adapted`, or None for what it
cannot fit; one with learned positions says by ``position_grids()`` what they unroll. Our own checkpoints
(:func:`mmav.engine.loading.load_weights`) and public files (:func:`mmav.models.weights.load_public_weights`) are
fitted by the same methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from mmav.errors import CheckpointError


@dataclass(frozen=True)
class Hints:
    """What a part is told of the file that a weight is from, and what is wanted of it.

    Attributes:
        names: The weights that the file has for this part, under the part's own names.
        grid: What the positions in this weight unroll; None where nobody has said.
        cut: Whether the positions of a larger grid are cut out of its middle, as AST does, in place of interpolation.
        rgb: What becomes of a kernel of several channels where there is one: their ``mean`` or ``sum``; None: nothing.
        inflate: What becomes of a kernel of pictures where there are clips: it stands in the ``center`` frame, or its
            ``mean`` share in each; None: nothing.
    """

    names: frozenset[str] = frozenset()
    grid: tuple[int, ...] | None = None
    cut: bool = False
    rgb: str | None = None
    inflate: str | None = None


class Adapted(NamedTuple):
    """A weight that fits, and what was changed in it; empty for nothing."""

    value: Tensor
    how: str


def adapt_weights(
    model: nn.Module,
    weights: Mapping[str, Any],
    hints: Hints | None = None,
    *,
    grids: Mapping[str, Any] | None = None,
) -> dict[str, Adapted]:
    """Asks the parts of a model what becomes of weights that do not fit as they are.

    Those are weights of another shape, and tables of positions of a known grid: 24 x 24 positions are as many as
    12 x 48.

    Args:
        model: The model, not wrapped for distribution.
        weights: A file's weights under the model's names.
        hints: What is known of the file as a whole; only positions are adapted if None.
        grids: Name of a table of positions -> what it unrolls in the file, as far as known.

    Returns:
        Name -> what fits and is another weight than the file's; what cannot be fitted is left out.
    """
    own = model.state_dict()
    adapted: dict[str, Adapted] = {}
    for name, value in weights.items():
        grid = (grids or {}).get(name)
        if name not in own or not isinstance(value, Tensor) or (value.shape == own[name].shape and grid is None):
            continue
        answer = _ask(
            model, name, value, replace(hints or Hints(), grid=None if grid is None else tuple(grid)), weights
        )
        if answer is not None and answer.how and answer.value.shape == own[name].shape:
            adapted[name] = answer
    return adapted


def _ask(model: nn.Module, name: str, value: Tensor, hints: Hints, weights: Mapping[str, Any]) -> Adapted | None:
    """The answer of the innermost part around a parameter that has one."""
    parts = name.split('.')
    for k in reversed(range(len(parts))):
        adapt = getattr(model.get_submodule('.'.join(parts[:k])), 'adapt_weight', None)
        if adapt is not None:
            prefix = ''.join(f'{word}.' for word in parts[:k])
            names = frozenset(each.removeprefix(prefix) for each in weights if each.startswith(prefix))
            return adapt('.'.join(parts[k:]), value, replace(hints, names=names))
    return None


def position_grids(model: nn.Module) -> dict[str, list[int]]:
    """What the tables of positions in a model unroll, under the names of its parameters, for its checkpoints to say."""
    return {
        f'{prefix}.{name}' if prefix else name: list(grid)
        for prefix, part in model.named_modules()
        if hasattr(part, 'position_grids')
        for name, grid in part.position_grids().items()
    }


def noted_grids(checkpoint: Mapping[str, Any], prefix: str = '') -> dict[str, tuple[int, ...]]:
    """What the tables of positions in a checkpoint unroll, as far as it notes so.

    Args:
        checkpoint: What its file holds.
        prefix: Of the weights that are asked for.

    Returns:
        Name without prefix -> grid.

    Raises:
        CheckpointError: What it notes is no grid.
    """
    meta = checkpoint.get('meta')
    noted = meta.get('position_grids') if isinstance(meta, Mapping) else None
    if noted is not None and not (isinstance(noted, Mapping) and all(map(_is_entry, noted.items()))):
        raise CheckpointError(f'the checkpoint notes position_grids={noted!r}, which are no grids: leave the entry out')
    return {name.removeprefix(prefix): tuple(grid) for name, grid in (noted or {}).items() if name.startswith(prefix)}


def _is_entry(entry: tuple[Any, Any]) -> bool:
    name, grid = entry
    lengths = grid if isinstance(grid, (list, tuple)) else ()
    return isinstance(name, str) and bool(lengths) and all(type(each) is int and each > 0 for each in lengths)
