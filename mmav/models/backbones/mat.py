"""MAT, the multiscale audio transformer of the paper (3.1, Table 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmav.models.backbones.mvit import MultiscaleTransformer
from mmav.registry import MODELS


@MODELS.register_module()
class MAT(MultiscaleTransformer):
    """Multiscale audio transformer: MViTv2's blocks on a log-mel spectrogram (B, 1, F, T).

    ``base`` at 128x1024 has 51.0 M parameters: 32x256 tokens of width 96, pooled in blocks 2 and 5 along both axes and
    in block 21 along time only, to 8x32 tokens of width 768 (paper, Table 1). Keys and values start with stride (2, 2),
    which the paper does not state but its 46.2 G multiply-accumulates imply.

    Args:
        arch: See :class:`MultiscaleTransformer`.
        input_size: Spectrogram size (F, T) at construction.
        in_channels: Channels of the input.
        patch_kernel: Kernel of the patch embedding (F, T).
        patch_stride: Stride of the patch embedding (F, T).
        q_strides: The stride of the queries (F, T) of each stage block.
        kv_stride: First stride of keys and values (F, T).
        **kwargs: Passed to :class:`MultiscaleTransformer`.

    >>> import torch
    >>> arch = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
    >>> tokens = MAT(arch, input_size=(32, 64), q_strides=[(1, 2)])(torch.zeros(2, 1, 32, 64))
    >>> tokens.cls.shape, tokens.patches.shape, tokens.grid
    (torch.Size([2, 16]), torch.Size([2, 64, 16]), (8, 8))
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = 'base',
        input_size: Sequence[int] = (128, 1024),
        in_channels: int = 1,
        *,
        patch_kernel: Sequence[int] = (7, 7),
        patch_stride: Sequence[int] = (4, 4),
        q_strides: Sequence[Sequence[int]] = ((2, 2), (2, 2), (1, 2)),
        kv_stride: Sequence[int] = (2, 2),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            arch,
            input_size,
            in_channels,
            patch_kernel=patch_kernel,
            patch_stride=patch_stride,
            q_strides=q_strides,
            kv_stride=kv_stride,
            **kwargs,
        )
