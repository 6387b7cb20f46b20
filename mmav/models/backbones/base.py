"""The contract between a backbone and the rest of the library, as a base class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmav.errors import ConfigError
from mmav.structures import Tokens


@dataclass(frozen=True)
class Expected:
    """The input that the weights of a backbone were trained on, as far as it says.

    Attributes:
        norm: dict(mean, std), a number or one per channel, in the units of the raw input: 0 to 255 for video, what the
            front end computes for audio. Mean 0 and std 1 say that the input is taken as it is, None says nothing.
        front_end: Config of the transform that computes its audio input, such as ``dict(type='LogMel')``; None for
            video, and where any is fine. Its length is that of ``size``.
        size: (T, H, W) or (F, T), with None for an axis of any length; None says nothing.
        trained: Whether there are weights that were trained with ``norm``; without, another one is as good.
    """

    norm: Mapping[str, Any] | None = None
    front_end: Mapping[str, Any] | None = None
    size: tuple[int | None, ...] | None = None
    trained: bool = True


class Backbone(BaseModule):
    """Encodes one modality: ``forward`` takes (B, C, *size) and returns :class:`~mmav.structures.Tokens`.

    That and ``out_dims`` are all that :class:`~mmav.models.AVClassifier` needs to train. Some tools need more of the
    attributes below and refuse a backbone without them in one line: counting operations and planning memory need
    ``input_size`` and ``in_channels``; layer decay and activation checkpointing need ``blocks``. Grad-CAM uses a block
    if ``patch_embed`` tells where its tokens lie, and otherwise the tokens that the backbone returns.

    A backbone whose weights expect a certain input says so by ``expected``: ``AVDataPreprocessor(norm=dict(video=
    'backbone'))`` takes the normalisation from it, and the check of a config refuses another one, or another front end
    (:mod:`mmav.engine.input_check`). A class whose arguments decide it overrides :meth:`expected_of`, and sets
    ``self.expected`` to what that returns.

    Its config may also have ``freeze`` and ``lora``, which :class:`~mmav.models.AVClassifier` applies to any class
    (:func:`mmav.models.tuning.tune`): no constructor has them.

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
        expected: The input that its weights expect.
    """

    expected: Expected = Expected()
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

    @classmethod
    def expected_of(cls, arguments: Mapping[str, Any]) -> Expected:
        """What a backbone of these arguments would expect; builds nothing and reads no weights.

        Args:
            arguments: Those of its config, without ``type``.
        """
        return cls.expected

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


def require_size(value: Any, axes: str) -> tuple[int, ...]:
    """Refuses an ``input_size`` that is no list of whole numbers above 0.

    Args:
        value: As a config has it.
        axes: What it may be, for the message.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(value, (list, tuple)) or not all(type(n) is int and n > 0 for n in value):
        raise ConfigError(f'input_size={value!r}: give {axes}, whole numbers above 0')
    return tuple(value)


def layers_of(backbone: nn.Module, blocks: Sequence[nn.Module]) -> dict[str, int]:
    """Maps the name of each parameter of a backbone to its layer: the number of its block, counted from 1.

    Parameters before the first block are in layer 0, those after the last block are one layer above it, and those
    between two blocks belong to the first of the two.

    >>> net = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(4)))
    >>> layers_of(net, net[1:3])
    {'0.weight': 0, '1.weight': 1, '2.weight': 2, '3.weight': 3}
    """
    inside = {id(parameter): k for k, block in enumerate(blocks, start=1) for parameter in block.parameters()}
    layers, reached = {}, 0
    for name, parameter in backbone.named_parameters():
        reached = max(reached, inside.get(id(parameter), 0))
        layers[name] = inside.get(id(parameter), reached + (reached == len(blocks)))
    return layers
