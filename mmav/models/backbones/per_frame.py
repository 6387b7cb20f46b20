"""PerFrame: an image encoder on each frame of a clip."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmav.errors import ConfigError
from mmav.models.backbones.base import Backbone, input_shape
from mmav.models.layers.temporal_pool import TemporalPool, join_frames, split_frames
from mmav.registry import MODELS
from mmav.structures import Tokens


@MODELS.register_module()
class PerFrame(Backbone):
    """Encodes each frame of a clip (B, C, T, H, W) with an image encoder, such as CAV-MAE's for video.

    No frame sees another one, so the encoder computes as in image models, and its public weights are used as they are.

    Args:
        backbone: Config of the encoder, with an ``input_size`` of length two: (H, W).
        frames: T at construction; at run time there may be another number.
        pool: How the class embeddings of the frames are combined, ``mean`` or ``attention``; see
            :class:`~mmav.models.layers.temporal_pool.TemporalPool`. The patches of all frames are kept.
        init_cfg: MMEngine's initialisation config. That of public weights belongs into ``backbone``.

    Raises:
        ConfigError: If the encoder takes no images.

    >>> import torch
    >>> image = dict(type='ViT', input_size=(32, 32), patch_kernel=(16, 16), embed_dims=8, num_layers=1, num_heads=2)
    >>> tokens = PerFrame(image, frames=3)(torch.zeros(2, 3, 3, 32, 32))
    >>> tokens.cls.shape, tokens.patches.shape, tokens.grid
    (torch.Size([2, 8]), torch.Size([2, 12, 8]), (3, 2, 2))
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        frames: int = 10,
        pool: str = 'mean',
        *,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        encoder = MODELS.build(backbone)
        channels, *size = input_shape(encoder)
        if len(size) != 2:
            raise ConfigError(
                f'backbone: {type(encoder).__name__} takes inputs of size {tuple(size)}, but each frame is an image: '
                'give it an input_size of two numbers, (H, W)'
            )
        super().__init__((frames, *size), channels, encoder.out_dims, init_cfg=init_cfg)
        self.encoder = encoder
        self.blocks = tuple(encoder.blocks)  # a ModuleList would save their weights under a second name
        self.pool = TemporalPool(pool, encoder.out_dims)

    def no_weight_decay(self) -> set[str]:
        """Those of the encoder."""
        return {f'encoder.{name}' for name in self.encoder.no_weight_decay()}

    def forward(self, x: Tensor) -> Tokens:
        """Encodes (B, C, T, H, W)."""
        return join_frames(self.encoder(split_frames(x)), x.shape[2], self.pool)
