"""Late fusion: the class embeddings of the modalities as separate streams (Avg) or concatenated (Concat)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmav.models.necks.joining import CLASS_ONLY, absent_to_zero
from mmav.registry import MODELS
from mmav.structures import Tokens


@MODELS.register_module()
class Avg(BaseModule):
    """One stream per modality, its class embedding; the neck for single modalities and late fusion.

    Args:
        in_dims: Modality name -> width of its tokens. :class:`~mmav.models.AVClassifier` fills it in.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``in_dims`` is missing.
    """

    def __init__(self, in_dims: Mapping[str, int] | None = None, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        if not in_dims:
            raise ValueError(f'Avg needs the width of at least one modality, got in_dims={in_dims}')
        self.out_dims = dict(in_dims)
        self.token_grids = dict.fromkeys(in_dims, CLASS_ONLY)

    def forward(self, tokens: Mapping[str, Tokens], masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Returns modality name -> (B, D); the head leaves out streams of modalities that are absent by ``masks``."""
        return {m: tokens[m].cls for m in self.out_dims}


@MODELS.register_module()
class Concat(BaseModule):
    """One stream, ``fused``: the concatenated class embeddings, with zeros for absent modalities.

    Args:
        in_dims: Modality name -> width of its tokens. :class:`~mmav.models.AVClassifier` fills it in.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``in_dims`` is missing.

    >>> neck = Concat(dict(video=16, audio=8))
    >>> video = Tokens(torch.zeros(3, 16), torch.zeros(3, 12, 16), (3, 2, 2))
    >>> audio = Tokens(torch.zeros(3, 8), torch.zeros(3, 10, 8), (2, 5))
    >>> {name: stream.shape for name, stream in neck(dict(video=video, audio=audio)).items()}
    {'fused': torch.Size([3, 24])}
    """

    def __init__(self, in_dims: Mapping[str, int] | None = None, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        if not in_dims:
            raise ValueError(f'Concat needs the width of at least one modality, got in_dims={in_dims}')
        self.order = tuple(in_dims)
        self.out_dims = {'fused': sum(in_dims.values())}
        self.token_grids = dict.fromkeys(in_dims, CLASS_ONLY)

    def forward(self, tokens: Mapping[str, Tokens], masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Returns ``fused``: (B, sum of the widths); ``masks`` (B,) are True where a clip has the modality."""
        parts = {m: tokens[m].cls for m in self.order}
        if masks is not None:
            parts = {m: absent_to_zero(part, masks[m]) for m, part in parts.items()}
        return {'fused': torch.cat(list(parts.values()), dim=-1)}
