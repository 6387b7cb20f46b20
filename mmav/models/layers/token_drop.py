"""Token dropping in training: ``token_drop`` of a backbone's config, and which patch tokens stay (PatchOut)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmav.errors import ConfigError, did_you_mean

_KEYS = ('axes', 'ratio')


@dataclass(frozen=True)
class TokenDrop:
    """How many patch tokens a backbone leaves out in training (Koutini et al. 2022, PaSST, "PatchOut").

    Attributes:
        axes: For each axis of the grid, the share of its slices that are left out as a whole: rows of patches
            (frequencies) and columns (times) of a spectrogram, frames, rows and columns of a clip. PaSST's structured
            form.
        ratio: Of what is left, the share of tokens that are left out one by one. PaSST's unstructured form.
    """

    axes: tuple[float, ...]
    ratio: float = 0.0

    @classmethod
    def read(
        cls, value: Any, grid: Sequence[int], *, unit: Sequence[int] | None = None, singly: bool = True
    ) -> TokenDrop | None:
        """Reads a config's ``token_drop``.

        Args:
            value: None, or a dict of ``axes``, ``ratio`` or both.
            grid: The grid of tokens at construction.
            unit: Cells along each axis that stay or go together; 1 if None.
            singly: Whether the backbone can leave out tokens one by one.

        Returns:
            None if nothing is left out: without ``value``, or with zeros only.

        Raises:
            ConfigError: It has other keys or values, would leave out nothing of this grid or all of it, or asks for
                what the backbone cannot do.

        >>> TokenDrop.read(dict(axes=(0.25, 0.5)), (8, 12))
        TokenDrop(axes=(0.25, 0.5), ratio=0.0)
        """
        if value is None:
            return None
        example = f'token_drop=dict(axes={(0.0,) * (len(grid) - 1) + (0.5,)})'
        if not isinstance(value, Mapping) or not value:
            raise ConfigError(f'token_drop={value!r}: give a dict such as {example}')
        for key in value:
            if key not in _KEYS:
                hint = did_you_mean(key, _KEYS) or f'; it has {" and ".join(_KEYS)}'
                raise ConfigError(f'token_drop has no {key!r}{hint}')
        axes, ratio = value.get('axes', (0.0,) * len(grid)), value.get('ratio', 0.0)
        if not isinstance(axes, (list, tuple)) or len(axes) != len(grid):
            raise ConfigError(f'token_drop.axes={axes!r}: the tokens have {len(grid)} axes; give as many shares')
        for name, share in (*((f'axes[{axis}]', share) for axis, share in enumerate(axes)), ('ratio', ratio)):
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
                raise ConfigError(f'token_drop.{name}={share!r}: give a share of at least 0 and below 1')
        if ratio and not singly:
            raise ConfigError(
                f'token_drop.ratio={ratio}: this encoder pools its tokens over a grid, so only whole slices of it can '
                f'be left out; give {example}'
            )
        drop = cls(tuple(map(float, axes)), float(ratio))
        if not any(drop.axes) and not drop.ratio:
            return None
        drop._check(tuple(grid), tuple(unit or (1,) * len(grid)))
        return drop

    def _check(self, grid: tuple[int, ...], unit: tuple[int, ...]) -> None:
        left = 1
        for axis, (share, size, cells) in enumerate(zip(self.axes, grid, unit, strict=True)):
            slices = size // cells
            wanted = _rounded(share * slices)
            if share and not 0 < wanted < slices:
                of = f' of {cells} cells that stay or go together' if cells > 1 else ''
                raise ConfigError(
                    f'token_drop.axes[{axis}]={share} would leave out {wanted} of the {slices} whole slices{of} along '
                    f'that axis of {size} cells: it must leave out at least one, and not all'
                )
            left *= -(-size // cells) - wanted
        if self.ratio and not 0 < _rounded(self.ratio * left) < left:
            raise ConfigError(
                f'token_drop.ratio={self.ratio} would leave out {_rounded(self.ratio * left)} of {left} tokens: it '
                'must leave out at least one, and not all'
            )

    def dropped(self, grid: Sequence[int]) -> tuple[int, ...]:
        """How many slices along each axis of a grid, or of one of units, are left out; never all.

        >>> TokenDrop(axes=(0.25, 0.5)).dropped((8, 3))
        (2, 2)
        """
        shares = zip(self.axes, grid, strict=True)
        return tuple(max(min(_rounded(share * size), size - 1), 0) for share, size in shares)

    def keep(self, x: Tensor, grid: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
        """Leaves tokens out, the same of all clips of a batch, as PaSST does.

        Args:
            x: Tokens (B, N, ...).
            grid: The grid that N unrolls.

        Returns:
            Tokens (B, N', ...) in their order, and what N' unrolls: a smaller grid, or (N',) with ``ratio``.
        """
        places, kept = self.draw(grid, x.device)
        return x.index_select(1, places), kept

    def draw(self, grid: Sequence[int], device: torch.device) -> tuple[Tensor, tuple[int, ...]]:
        """The places of the tokens that stay (N',), and what N' unrolls."""
        dropped = self.dropped(grid)
        places = torch.zeros(1, dtype=torch.int64, device=device)
        for size, number in zip(grid, dropped, strict=True):
            slices = draw_kept(size, number, device) if number else torch.arange(size, device=device)
            places = (places[:, None] * size + slices).flatten()
        kept = tuple(size - number for size, number in zip(grid, dropped, strict=True))
        if self.ratio:
            left = len(places)
            places = places[draw_kept(left, min(_rounded(self.ratio * left), left - 1), device)]
            kept = (len(places),)
        return places, kept


def draw_kept(number: int, dropped: int, device: torch.device) -> Tensor:
    """Draws which of ``number`` stay: their indices (number - dropped,), rising.

    Drawn on the device, so that no GPU is waited for; the number that stays is always the same, so that shapes are.
    """
    return torch.rand(number, device=device).argsort()[: number - dropped].sort().values


def _rounded(number: float) -> int:
    """The nearest whole number, halves up."""
    return math.floor(number + 0.5)
