"""What fusion necks share: tokens of each modality as sequences of one width, key masks, and class tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmav.models.init import DrawnModule
from mmav.structures import Tokens


def absent_to_zero(x: Tensor, present: Tensor) -> Tensor:
    """Sets x (B, ...) to zero for clips where ``present`` (B,) is False, even if it was NaN."""
    return torch.where(present.reshape(-1, *[1] * (x.dim() - 1)), x, torch.zeros((), dtype=x.dtype, device=x.device))


class FusionNeck(DrawnModule):
    """The input and output of a fusion neck's blocks. A subclass ends its constructor with ``self.draw()``.

    Args:
        in_dims: Modality name -> width of its tokens.
        embed_dims: Width D of the fusion; modalities of other widths are projected to it.
        order: The modalities, in the order in which the neck takes them.
        init_std: Standard deviation of the initial linear weights; small models need more than the usual 0.02.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``in_dims`` and ``order`` name different modalities.
    """

    def __init__(
        self,
        in_dims: Mapping[str, int] | None,
        embed_dims: int,
        *,
        order: Sequence[str],
        init_std: float = 0.02,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if in_dims is None or set(in_dims) != set(order):
            name = type(self).__name__
            raise ValueError(f'{name} needs the widths of {tuple(order)}, got in_dims={in_dims}')
        self.order = tuple(order)
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
            x = self.adapt[m](torch.cat((tokens[m].cls[:, None], tokens[m].patches), dim=1))
            if masks is not None:
                x = absent_to_zero(x, masks[m])
                key_masks[m] = masks[m][:, None].expand(-1, x.shape[1])
            streams[m] = x
        return streams, key_masks

    def class_tokens(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns ``fused``: the first tokens of the sequences (B, 1 + N, D), normalised and concatenated."""
        return {'fused': torch.cat([self.norms[m](streams[m][:, 0]) for m in self.order], dim=-1)}
