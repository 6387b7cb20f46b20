"""What a network of timm makes of images, read as tokens: the form of its features, whatever its family."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmav.errors import ConfigError, one_line
from mmav.structures import Tokens


@dataclass(frozen=True)
class Features:
    """How the features of a network are read.

    Attributes:
        kind: ``maps`` (B, C, h, w), ``channels_last`` (B, h, w, C), ``sequence`` (B, prefix + h * w, C), or
            ``intermediates`` for the map that ``forward_intermediates`` has of the last stage.
        width: C.
        size: (H, W) of the images for which it was found out.
        grid: (h, w) for these.
        prefix: How many tokens are in front of the patches: class, distillation and register tokens.
        embeds: Whether the network's own embedding, in front of its classifier, has width C. Otherwise the embedding is
            the mean of the patches.
        idle: Names of parameters on which no token depends.
    """

    kind: str
    width: int
    size: tuple[int, int]
    grid: tuple[int, int]
    prefix: int = 0
    embeds: bool = True
    idle: frozenset[str] = frozenset()

    def tokens(self, model: Any, images: Tensor) -> Tokens:
        """Encodes images (B, C, H, W).

        Raises:
            ConfigError: The grid for another size than ``size`` cannot be told.
        """
        if self.kind == 'intermediates':
            x, (maps,) = model.forward_intermediates(images, indices=1)
        else:
            x = maps = model.forward_features(images)
        if self.kind == 'sequence':
            patches, grid = x[:, self.prefix :], self.grid
            if tuple(images.shape[2:]) != self.size:
                grid = self._grid_at(tuple(images.shape[2:]), patches.shape[1])
        else:
            maps = maps.permute(0, 3, 1, 2) if self.kind == 'channels_last' else maps
            patches, grid = maps.flatten(2).transpose(1, 2), (int(maps.shape[2]), int(maps.shape[3]))
        cls = model.forward_head(x, pre_logits=True) if self.embeds else patches.mean(dim=1)
        return Tokens(cls, patches, grid)

    def _grid_at(self, size: tuple[int, ...], number: int) -> tuple[int, int]:
        exact = [n * old / whole for n, old, whole in zip(size, self.grid, self.size, strict=True)]
        choices = [{math.floor(each), math.ceil(each)} for each in exact]
        found = {(h, w) for h in choices[0] for w in choices[1] if h * w == number}
        if len(found) != 1:
            raise ConfigError(f'{number} tokens of images of {size} are of no known grid: give it as input_size')
        return found.pop()


def _last_map(model: Any, images: Tensor) -> Tensor:
    return model.forward_intermediates(images, indices=1)[1][-1]


def read_features(model: Any, channels: int, size: tuple[int, int], *, who: str) -> Features:
    """Finds out how the features of a network are read, from one pass without values.

    Args:
        model: The network, on the meta device.
        channels: Channels of the images.
        size: (H, W) of the images.
        who: Its name, for messages.

    Raises:
        ConfigError: It takes no images of this size, or what it returns is of no known form.
    """
    images = torch.zeros(2, channels, *size, device='meta')
    try:
        found = _read(model.eval(), images, size)
        tokens = found.tokens(model.train(), images)
    except ConfigError:
        raise
    except Exception as error:  # of any kind: assertions, reshapes of a size that its windows do not divide
        raise ConfigError(
            f'{who} cannot be used with images of {size[0]} x {size[1]} ({one_line(error)[:200]}): give another '
            'input_size, or another model'
        ) from error
    (tokens.cls.sum() + tokens.patches.sum()).backward()
    idle = frozenset(name for name, parameter in model.named_parameters() if parameter.grad is None)
    return Features(**{**vars(found), 'idle': idle})


def _read(model: Any, images: Tensor, size: tuple[int, int]) -> Features:
    with torch.no_grad():
        x = model.forward_features(images)
        usual = isinstance(x, Tensor) and x.dim() in (3, 4) and x.shape[1] > 1
        width = int(model.num_features) if usual else int(_last_map(model, images).shape[1])
        embedding = model.forward_head(x, pre_logits=True)
        embeds = isinstance(embedding, Tensor) and embedding.shape == (2, width)
        if not usual:
            return Features('intermediates', width, size, _pair(_last_map(model, images).shape[2:]), embeds=embeds)
        if x.dim() == 4:
            last = getattr(model, 'output_fmt', 'NCHW') == 'NHWC'
            grid = _pair(x.shape[1:3] if last else x.shape[2:])
            return Features('channels_last' if last else 'maps', width, size, grid, embeds=embeds)
        grid = _pair(_last_map(model, images).shape[2:])
        prefix = x.shape[1] - math.prod(grid)
        if prefix < 0:
            raise ConfigError(f'{x.shape[1]} tokens, but a grid of {grid}')
        return Features('sequence', width, size, grid, prefix, embeds)


def _pair(shape: Any) -> tuple[int, int]:
    height, width = (int(n) for n in shape)
    return height, width


def blocks_of(model: nn.Module) -> tuple[nn.Module, ...]:
    """The layers of a network in order: blocks of a plain transformer, else stages; empty if it names none."""
    for name in ('blocks', 'stages', 'layers', 'dense_stages', 'levels', 'features', 'transformers', 'network'):
        found = getattr(model, name, None)
        if isinstance(found, nn.Sequential | nn.ModuleList) and len(found) > 1:
            return tuple(found)
    numbered = [getattr(model, f'{stem}{k}', None) for stem in ('layer', 's', 'stage') for k in range(1, 5)]
    return tuple(each for each in numbered if isinstance(each, nn.Module))
