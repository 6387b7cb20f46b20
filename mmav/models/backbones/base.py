"""The contract between a backbone and the rest of the library, as a base class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmav.errors import ConfigError
from mmav.structures import Tokens


class Backbone(BaseModule):
    """Encodes one modality: ``forward`` takes (B, C, *size) and returns :class:`~mmav.structures.Tokens`.

    That and ``out_dims`` are all that :class:`~mmav.models.AVClassifier` needs to train. Some tools need more of the
    attributes below and refuse a backbone without them in one line: counting operations and planning memory need
    ``input_size`` and ``in_channels``; layer decay and activation checkpointing need ``blocks``. Grad-CAM uses a block
    if ``patch_embed`` tells where its tokens lie, and otherwise the tokens that the backbone returns.

    Wrapping another network takes about ten lines (tests/models/backbones/test_base.py has torchvision's ResNet)::

        @MODELS.register_module()
        class ResNet(Backbone):
            def __init__(self, input_size=(8, 224, 224), in_channels=3, init_cfg=None):
                super().__init__(input_size, in_channels, out_dims=512, init_cfg=init_cfg)
                ...

    Args:
        input_size: Size of the input at construction: (F, T) of a spectrogram or (T, H, W) of a clip.
        in_channels: Channels C of the input.
        out_dims: Width D of the tokens.
        init_cfg: MMEngine's initialisation config.

    Attributes:
        input_size: As given.
        in_channels: As given.
        out_dims: As given.
        blocks: The layers in order; may be empty. Parameters before them in ``named_parameters()`` belong to the input
            side, parameters after them to the output side.
        patch_embed: The layer whose tokens enter the first of ``blocks``; None if the blocks read something else.
    """

    blocks: Sequence[nn.Module] | nn.ModuleList
    patch_embed: Any

    def __init__(
        self,
        input_size: Sequence[int],
        in_channels: int,
        out_dims: int,
        *,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.input_size = tuple(input_size)
        self.in_channels = in_channels
        self.out_dims = out_dims
        self.blocks = ()
        self.patch_embed = None

    def no_weight_decay(self) -> set[str]:
        """Names, within this module, of parameters that are tokens or position tables rather than layers.

        With ``paramwise_cfg=dict(token_decay_mult=0.0)`` they have no weight decay.
        """
        return set()

    def forward(self, x: Tensor) -> Tokens:
        """Encodes (B, C, *size)."""
        raise NotImplementedError


def input_shape(backbone: nn.Module) -> tuple[int, ...]:
    """The input shape (channels, *size) that a backbone is built for.

    Raises:
        ConfigError: The backbone does not say.
    """
    missing = [name for name in ('in_channels', 'input_size') if not hasattr(backbone, name)]
    if missing:
        raise ConfigError(
            f'{type(backbone).__name__} has no {" and no ".join(missing)}, so its input is unknown: make it a '
            'mmav.models.Backbone, or give it these attributes'
        )
    return (int(backbone.in_channels), *backbone.input_size)  # type: ignore[arg-type, misc]
