"""ViT for video clips: the plain transformer on tubelets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmav.models.backbones.ast import PlainTransformer
from mmav.registry import MODELS


@MODELS.register_module()
class ViT(PlainTransformer):
    """Video transformer with joint attention over space and time, MBT's video encoder.

    (Arnab et al. 2021, ViViT, model 1; Nagrani et al. 2021; google-research/scenic, projects/mbt.) Takes clips
    (B, 3, T, H, W). ViT-B on tubelets of 2x16x16: 8x14x14 tokens of width 768 for 16x224x224. With an ``input_size``
    of length two (and other tuples likewise) it is the image model.

    Args:
        input_size: Clip size (T, H, W) at construction.
        in_channels: Channels of the input.
        patch_kernel: Size of a tubelet (T, H, W).
        patch_stride: Stride of the tubelets (T, H, W); defaults to their size, so that they do not overlap.
        **kwargs: Passed to :class:`~mmav.models.backbones.PlainTransformer`.

    >>> import torch
    >>> model = ViT(input_size=(4, 32, 32), embed_dims=8, num_layers=2, num_heads=2)
    >>> tokens = model(torch.zeros(2, 3, 4, 32, 32))
    >>> tokens.cls.shape, tokens.patches.shape, tokens.grid
    (torch.Size([2, 8]), torch.Size([2, 8, 8]), (2, 2, 2))
    """

    def __init__(
        self,
        input_size: Sequence[int] = (16, 224, 224),
        in_channels: int = 3,
        patch_kernel: Sequence[int] = (2, 16, 16),
        *,
        patch_stride: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(input_size, in_channels, patch_kernel, patch_stride=patch_stride or patch_kernel, **kwargs)
