"""In place of an encoder whose tokens are read from disk (:mod:`mmav.datasets.features`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from mmav.models.backbones.base import Backbone
from mmav.registry import MODELS
from mmav.structures import Tokens


@MODELS.register_module()
class CachedBackbone(Backbone):
    """Hands on the tokens of an encoder; has no weights.

    Its input is the class embedding and the patch tokens (B, 1 + N, D), the class embedding first, as
    :class:`~mmav.datasets.features.FeatureDataset` reads them.

    Args:
        out_dims: Width D of the tokens.
        grid: What the N patch tokens unroll; (0,) if there is only the class embedding.

    >>> import torch
    >>> tokens = CachedBackbone(8, (2, 3))(torch.zeros(4, 7, 8))
    >>> tokens.cls.shape, tokens.patches.shape, tokens.grid
    (torch.Size([4, 8]), torch.Size([4, 6, 8]), (2, 3))
    """

    def __init__(self, out_dims: int, grid: Sequence[int] = (0,)) -> None:
        super().__init__((out_dims,), 1 + math.prod(grid), out_dims)
        self.grid = tuple(grid)

    def forward(self, x: Tensor) -> Tokens:
        """Splits (B, 1 + N, D)."""
        return Tokens(x[:, 0], x[:, 1:], self.grid)
