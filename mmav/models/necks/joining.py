"""What fusion necks share: tokens of each modality as sequences of one width, key masks, and class tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmav.errors import ConfigError, did_you_mean
from mmav.models.init import DrawnModule
from mmav.structures import Tokens


def absent_to_zero(x: Tensor, present: Tensor) -> Tensor:
    """Sets x (B, ...) to zero for clips where ``present`` (B,) is False, even if it was NaN."""
    return torch.where(present.reshape(-1, *[1] * (x.dim() - 1)), x, torch.zeros((), dtype=x.dtype, device=x.device))


# the grid of tokens whose patches are left out
CLASS_ONLY = (0,)
_MEANS: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}


def pool_tokens(tokens: Tokens, grid: Sequence[int], name: str = 'tokens') -> Tokens:
    """Averages patch tokens (B, N, D) over the cells of a coarser grid; the class embedding stays.

    Args:
        tokens: The tokens.
        grid: The grid of the result, with as many axes; (0,) leaves all patch tokens out.
        name: Their modality, for the error.

    Raises:
        ConfigError: The tokens have another number of axes, or fewer cells along one of them.

    >>> tokens = Tokens(torch.zeros(2, 8), torch.zeros(2, 4 * 6 * 6, 8), (4, 6, 6))
    >>> pool_tokens(tokens, (1, 3, 3)).patches.shape, pool_tokens(tokens, (0,)).patches.shape
    (torch.Size([2, 9, 8]), torch.Size([2, 0, 8]))
    """
    grid = tuple(grid)
    if grid == tuple(tokens.grid):
        return tokens
    if grid == CLASS_ONLY:
        return Tokens(tokens.cls, tokens.patches[:, :0], CLASS_ONLY)
    if len(grid) != len(tokens.grid) or any(not 0 < n <= most for n, most in zip(grid, tokens.grid, strict=True)):
        raise ConfigError(
            f'neck.token_grids.{name}={grid} does not fit the tokens of {name}, {tuple(tokens.grid)}: give as many '
            f'numbers, none larger, or {CLASS_ONLY} for the class embedding alone'
        )
    cells = _MEANS[len(grid)](tokens.patches.transpose(1, 2).unflatten(2, tokens.grid), grid)  # (B, D, *grid)
    return Tokens(tokens.cls, cells.flatten(2).transpose(1, 2), grid)


class FusionNeck(DrawnModule):
    """The input and output of a fusion neck's blocks. A subclass ends its constructor with ``self.draw()``.

    Args:
        in_dims: Modality name -> width of its tokens.
        embed_dims: Width D of the fusion; modalities of other widths are projected to it.
        order: The modalities, in the order in which the neck takes them.
        token_grids: Modality name -> grid that its patch tokens are averaged to before the fusion, such as
            ``dict(video=(1, 7, 7))``; (0,) takes the class embedding alone. Defaults to all tokens.
        init_std: Standard deviation of the initial linear weights; small models need more than the usual 0.02.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``in_dims`` and ``order`` name different modalities, or ``token_grids`` an unknown one.
    """

    def __init__(
        self,
        in_dims: Mapping[str, int] | None,
        embed_dims: int,
        *,
        order: Sequence[str],
        token_grids: Mapping[str, Sequence[int]] | None = None,
        init_std: float = 0.02,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if in_dims is None or set(in_dims) != set(order):
            name = type(self).__name__
            raise ValueError(f'{name} needs the widths of {tuple(order)}, got in_dims={in_dims}')
        for modality in token_grids or ():
            if modality not in order:
                hint = did_you_mean(modality, order)
                raise ValueError(f'token_grids has {modality!r}, but the modalities are {tuple(order)}{hint}')
        self.order = tuple(order)
        self.token_grids = {modality: tuple(grid) for modality, grid in (token_grids or {}).items()}
        self.init_std = init_std
        self.adapt = nn.ModuleDict(
            {m: nn.Identity() if in_dims[m] == embed_dims else nn.Linear(in_dims[m], embed_dims) for m in self.order}
        )
        self.norms = nn.ModuleDict({m: nn.LayerNorm(embed_dims, eps=1e-6) for m in self.order})
        self.out_dims = {'fused': embed_dims * len(self.order)}

    def join(
        self, tokens: Mapping[str, Tokens], masks: Mapping[str, Tensor] | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Turns each modality into a sequence that begins with its class token.

        Args:
            tokens: Modality name -> tokens of the same B clips.
            masks: Modality name -> (B,), True where the clip has that modality; None if every clip has every modality.

        Returns:
            Modality name -> (B, 1 + N, D), zeros where it is absent; and modality name -> key mask (B, 1 + N), True
            where a token may be attended to, or an empty dict without masks.
        """
        streams, key_masks = {}, {}
        for m in self.order:
            read = pool_tokens(tokens[m], self.token_grids[m], m) if m in self.token_grids else tokens[m]
            x = self.adapt[m](torch.cat((read.cls[:, None], read.patches), dim=1))
            if masks is not None:
                x = absent_to_zero(x, masks[m])
                key_masks[m] = masks[m][:, None].expand(-1, x.shape[1])
            streams[m] = x
        return streams, key_masks

    def class_tokens(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns ``fused``: the first tokens of the sequences (B, 1 + N, D), normalised and concatenated."""
        return {'fused': torch.cat([self.norms[m](streams[m][:, 0]) for m in self.order], dim=-1)}
