"""A fusion neck that lives outside the package: gated multimodal fusion of class tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmav.models.init import DrawnModule
from mmav.registry import MODELS
from mmav.structures import Tokens


@MODELS.register_module()
class GatedFusion(DrawnModule):
    """Sum over the modalities of sigmoid(W_m [x_1, x_2, ...]) * tanh(V_m x_m).

    x_m is the normalised class token of modality m: what all modalities say decides how much of each passes, per
    channel. The gated multimodal unit (Arevalo et al. 2017, https://arxiv.org/abs/1702.01992), with a gate of its own
    for each modality. The result is one stream, ``fused``.

    A modality that a clip lacks enters the gates as zeros and adds nothing to the sum.

    Args:
        in_dims: Modality name -> width of its tokens. :class:`~mmav.models.AVClassifier` fills it in.
        embed_dims: Width D of the result.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``in_dims`` is missing.
    """

    def __init__(
        self,
        in_dims: Mapping[str, int] | None = None,
        embed_dims: int = 128,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not in_dims:
            raise ValueError(f'GatedFusion needs the width of at least one modality, got in_dims={in_dims}')
        self.norms = nn.ModuleDict({m: nn.LayerNorm(width) for m, width in in_dims.items()})
        self.values = nn.ModuleDict({m: nn.Linear(width, embed_dims) for m, width in in_dims.items()})
        self.gates = nn.ModuleDict({m: nn.Linear(sum(in_dims.values()), embed_dims) for m in in_dims})
        self.out_dims = {'fused': embed_dims}
        self.draw()

    def forward(self, tokens: Mapping[str, Tokens], masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Fuses.

        Args:
            tokens: Modality name -> tokens of the same B clips.
            masks: Modality name -> (B,), True where the clip has that modality; None where all have all.

        Returns:
            ``fused``: (B, D).
        """
        x = {m: _without_absent(norm(tokens[m].cls), m, masks) for m, norm in self.norms.items()}
        everything = torch.cat(list(x.values()), dim=-1)
        parts = [self.gates[m](everything).sigmoid() * self.values[m](x[m]).tanh() for m in x]
        # once more: the bias of a value passes for an absent modality, too
        parts = [_without_absent(part, m, masks) for m, part in zip(x, parts, strict=True)]
        return {'fused': torch.stack(parts).sum(dim=0)}


def _without_absent(x: Tensor, modality: str, masks: Mapping[str, Tensor] | None) -> Tensor:
    """Zeros the rows of (B, D) whose clip lacks the modality; fills rather than multiplies, so that no NaN stays."""
    if masks is None or modality not in masks:
        return x
    return x.masked_fill(~masks[modality].unsqueeze(-1), 0.0)
