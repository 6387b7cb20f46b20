"""Avg: no fusion of features; every modality keeps its own stream, and the head averages their probabilities."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.model import BaseModule
from torch import Tensor

from mmav.registry import MODELS
from mmav.structures import Tokens


@MODELS.register_module()
class Avg(BaseModule):
    """One stream per modality: its class embedding. The neck of single-modality models and of late fusion.

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

    def forward(self, tokens: Mapping[str, Tokens], masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Returns modality name -> (B, D); the head leaves out the streams of modalities that ``masks`` says absent."""
        return {m: tokens[m].cls for m in self.out_dims}
