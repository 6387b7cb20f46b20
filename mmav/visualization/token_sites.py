"""Which blocks of a classifier read the tokens of a modality, and where its patches stand in what they read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from mmav.errors import ConfigError
from mmav.models import AVClassifier
from mmav.models.av_classifier import tokens_of
from mmav.models.backbones.base import input_shape
from mmav.models.layers import BLOCKS
from mmav.visualization.token_grid import Axis, even_axes, has_token_axes, token_axes

FINE_ENOUGH = 7


class Site(NamedTuple):
    """A place to look at a modality.

    Attributes:
        name: Name of the block, or of the backbone, in the model.
        block: The block whose input is looked at, or the backbone whose tokens are.
        axes: Axes of the grid of the patch tokens that it reads, or returns.
        tokens: Where these stand in the sequence that it reads, or returns.
        returned: Whether they are the tokens that a backbone returns.
    """

    name: str
    block: nn.Module
    axes: tuple[Axis, ...]
    tokens: slice
    returned: bool = False

    @property
    def num_tokens(self) -> int:
        """Number of the patch tokens."""
        return _count(self.axes)


def blocks_of(model: AVClassifier, modality: str) -> dict[str, nn.Module]:
    """The blocks that read tokens of a modality, by their names in the model: those of its encoder, then the neck's."""
    backbone: Any = model.backbones[modality]
    own = backbone.blocks if has_token_axes(backbone) else ()
    found = {f'backbones.{modality}.blocks.{k}': block for k, block in enumerate(own)}
    for name, block in model.neck.named_modules():
        # a block of the neck that reads one modality bears its name, one that reads all has a number only
        if isinstance(block, BLOCKS) and (name.endswith(f'.{modality}') or name.split('.')[-1].isdigit()):
            found[f'neck.{name}'] = block
    return found


def block_name(model: AVClassifier, modality: str, chosen: int | str) -> str:
    """The name of a block that is given by its name, or by its number in the encoder, negative from the end.

    Raises:
        ConfigError: There is none.
    """
    prefix, known = f'backbones.{modality}.blocks.', blocks_of(model, modality)
    depth = sum(name.startswith(prefix) for name in known)
    if isinstance(chosen, int):
        if not depth:
            raise ConfigError(
                f'{modality} has no block {chosen}: {type(model.backbones[modality]).__name__} has no blocks that read '
                'tokens; leave it out, and the tokens that it returns are looked at'
            )
        if not -depth <= chosen < depth:
            raise ConfigError(
                f'{modality} has no block {chosen}: its encoder has {depth}, give {-depth} to {depth - 1}'
            )
        return f'{prefix}{chosen % depth}'
    if chosen not in known:
        choices = f'choose one of {", ".join(known)}' if known else 'there is none, leave it out'
        raise ConfigError(f'no block {chosen!r} reads {modality}: {choices}')
    return chosen


def find_site(model: AVClassifier, modality: str, chosen: int | str | None, sizes: Mapping[str, Sequence[int]]) -> Site:
    """Finds the patch tokens of a modality in what a block reads.

    Args:
        model: The classifier.
        modality: The modality.
        chosen: As in :func:`block_name`. None for the last block of the encoder that reads at least 7 tokens along each
            of the last two axes, (H, W) or (F, T), or the first block where none does; of an encoder without blocks
            that read tokens, the tokens that it returns, as cells of one size side by side.
        sizes: Modality -> size of its input, (T, H, W) or (F, T).

    Raises:
        ConfigError: There is no such block, or the encoder's tokens cannot be placed.
    """
    backbones: Any = model.backbones
    if chosen is None and not has_token_axes(backbones[modality]):
        grid = _returned_grid(backbones[modality], sizes[modality], modality)
        return Site(f'backbones.{modality}', backbones[modality], even_axes(grid, sizes[modality]), slice(None), True)
    name = block_name(model, modality, _last_fine_block(model, modality, sizes[modality]) if chosen is None else chosen)
    block = blocks_of(model, modality)[name]
    if not name.startswith('neck.'):
        axes = token_axes(backbones[modality], sizes[modality], int(name.split('.')[-1]))
        return Site(name, block, axes, slice(-_count(axes), None))
    every = {other: token_axes(backbones[other], size, len(backbones[other].blocks)) for other, size in sizes.items()}
    neck: Any = model.neck
    before = () if name.endswith(f'.{modality}') else neck.order[: neck.order.index(modality)]
    start = 1 + sum(1 + _count(every[other]) for other in before)
    return Site(name, block, every[modality], slice(start, start + _count(every[modality])))


def _returned_grid(backbone: nn.Module, size: Sequence[int], modality: str) -> tuple[int, ...]:
    """The grid of the tokens that a backbone in evaluation mode returns for an input of this size."""
    channels, *_ = input_shape(backbone)
    like = next(backbone.parameters(), torch.empty(0))
    with torch.no_grad():
        x = torch.zeros(1, channels, *size, dtype=like.dtype, device=like.device)
        return tuple(tokens_of(backbone, x, modality).grid)


def _last_fine_block(model: AVClassifier, modality: str, size: Sequence[int]) -> int:
    backbone: Any = model.backbones[modality]
    grids = [token_axes(backbone, size, k) for k in range(len(backbone.blocks))]
    return max((k for k, axes in enumerate(grids) if min(a.length for a in axes[-2:]) >= FINE_ENOUGH), default=0)


def _count(axes: Sequence[Axis]) -> int:
    return math.prod(axis.length for axis in axes)
