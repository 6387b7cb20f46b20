"""Which blocks of a classifier read the tokens of a modality, and where its patches stand in what they read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from mmav.errors import ConfigError
from mmav.models import AVClassifier
from mmav.models.layers import BLOCKS
from mmav.visualization.token_grid import Axis, token_axes

FINE_ENOUGH = 7


class Site(NamedTuple):
    """A place to look at a modality.

    Attributes:
        name: Name of the block in the model.
        block: The block.
        axes: Axes of the grid of the patch tokens that it reads.
        tokens: Where these stand in the sequence that it reads.
    """

    name: str
    block: nn.Module
    axes: tuple[Axis, ...]
    tokens: slice

    @property
    def num_tokens(self) -> int:
        """Number of the patch tokens."""
        return _count(self.axes)


def blocks_of(model: AVClassifier, modality: str) -> dict[str, nn.Module]:
    """The blocks that read a modality, by their names in the model: those of its encoder, then those of the neck."""
    own = getattr(model.backbones[modality], 'blocks', ())
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
        if not -depth <= chosen < depth:
            raise ConfigError(
                f'{modality} has no block {chosen}: its encoder has {depth}, give {-depth} to {depth - 1}'
            )
        return f'{prefix}{chosen % depth}'
    if chosen not in known:
        raise ConfigError(f'no block {chosen!r} reads {modality}: choose one of {", ".join(known)}')
    return chosen


def find_site(model: AVClassifier, modality: str, chosen: int | str | None, sizes: Mapping[str, Sequence[int]]) -> Site:
    """Finds the patch tokens of a modality in what a block reads.

    Args:
        model: The classifier.
        modality: The modality.
        chosen: As in :func:`block_name`. None for the last block of the encoder that reads at least 7 tokens along each
            of the last two axes, (H, W) or (F, T), or the first block where none does.
        sizes: Modality -> size of its input, (T, H, W) or (F, T).

    Raises:
        ConfigError: There is no such block, or the encoder's tokens cannot be placed.
    """
    backbones: Any = model.backbones
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


def _last_fine_block(model: AVClassifier, modality: str, size: Sequence[int]) -> int:
    backbone: Any = model.backbones[modality]
    depth = len(getattr(backbone, 'blocks', ()))
    grids = [token_axes(backbone, size, k) for k in range(max(depth, 1))]
    return max((k for k, axes in enumerate(grids) if min(a.length for a in axes[-2:]) >= FINE_ENOUGH), default=0)


def _count(axes: Sequence[Axis]) -> int:
    return math.prod(axis.length for axis in axes)
