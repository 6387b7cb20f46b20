"""Activation checkpointing: a block keeps its input only and computes its inside again in the backward pass.

The config says ``activation_checkpointing = True``, or names the parts of the model whose blocks are meant. MMEngine
reads that name, too, but for lists of single modules and with torch's older, reentrant form, which torch warns of.
Importing this module makes MMEngine's Runner use this form.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.runner import runner as mmengine_runner
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmav.errors import ConfigError, did_you_mean
from mmav.models.layers import MultiscaleBlock, TransformerBlock

BLOCKS = (MultiscaleBlock, TransformerBlock)


def turn_on_activation_checkpointing(model: nn.Module, parts: bool | str | Sequence[str]) -> None:
    """Makes blocks forget in training what lies between their input and output; changes ``model``.

    Losses, gradients and names in the state dict stay as they are; dropped paths are the same in both passes. Nothing
    changes in evaluation.

    Args:
        model: The model, not wrapped for distribution.
        parts: True for every block of the model, False for none; or names of modules, such as ``backbones.video``, for
            the blocks inside them. A module without blocks inside, such as a layer of your own, is taken whole.

    Raises:
        ConfigError: The model has no such module, or no blocks at all.
    """
    if parts is False:
        return
    names = [''] if parts is True else [parts] if isinstance(parts, str) else list(parts)
    for name in names:
        module = _find(model, name)
        blocks = list(_blocks(module))
        if not blocks and parts is True:
            kinds = ' or '.join(kind.__name__ for kind in BLOCKS)
            raise ConfigError(
                f'activation_checkpointing=True: {type(model).__name__} has no {kinds}; name its modules instead'
            )
        for block in blocks or [module]:
            # a bound method of a plain function: copies of the model, such as the averaged one, get their own
            block.forward = types.MethodType(_checkpointed_forward, block)


def _find(model: nn.Module, name: str) -> nn.Module:
    modules = dict(model.named_modules())
    if name not in modules:
        raise ConfigError(f'activation_checkpointing: the model has no {name!r}{did_you_mean(name, modules)}')
    return modules[name]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.modules():
        if isinstance(child, BLOCKS):
            yield child


def _checkpointed_forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    forward = type(self).forward
    if not (self.training and torch.is_grad_enabled()):
        return forward(self, *args, **kwargs)
    return checkpoint(forward, self, *args, use_reentrant=False, **kwargs)


# tests/engine/test_activation_checkpointing.py guards that the Runner calls it
mmengine_runner.turn_on_activation_checkpointing = turn_on_activation_checkpointing
