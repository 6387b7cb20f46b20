"""Activation checkpointing: a block keeps its input only and computes its inside again in the backward pass.

The config says ``activation_checkpointing = True``, or names the parts of the model whose blocks are meant, or
``dict(parts=True, keep_attention=True)``: then blocks keep what their attention has computed, too. MMEngine
reads that name, too, but for lists of single modules and with torch's older, reentrant form, which torch warns of.
Importing this module makes MMEngine's Runner use this form.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.runner import runner as mmengine_runner
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts, noop_context_fn

from mmav.errors import ConfigError, did_you_mean
from mmav.models.layers import MultiscaleBlock, TransformerBlock
from mmav.models.ops import triton_attention  # noqa: F401 (it registers an operator)
from mmav.models.ops.tiled_attention import keeping_nothing

BLOCKS = (MultiscaleBlock, TransformerBlock)


# What is kept with ``keep_attention``: results of attention, whichever kernel computes it. PyTorch versions differ in
# which ones they have.
_KERNELS = ('flash_attention', 'efficient_attention', 'cudnn_attention', 'flash_attention_for_cpu')
_ATTENTION = {
    torch.ops.mmav.tiled_attention.default,
    torch.ops.mmav.pooled_attention.default,
    *(
        getattr(torch.ops.aten, f'_scaled_dot_product_{kernel}').default
        for kernel in _KERNELS
        if hasattr(torch.ops.aten, f'_scaled_dot_product_{kernel}')
    ),
}
_KEYS = ('parts', 'keep_attention')


def turn_on_activation_checkpointing(model: nn.Module, parts: bool | str | Sequence[str] | Mapping[str, Any]) -> None:
    """Makes blocks forget in training what lies between their input and output; changes ``model``.

    Losses, gradients and names in the state dict stay as they are; dropped paths are the same in both passes. Nothing
    changes in evaluation.

    Args:
        model: The model, not wrapped for distribution.
        parts: True for every block of the model, False for none; or names of modules, such as ``backbones.video``, for
            the blocks inside them. A module without blocks inside, such as a layer of your own, is taken whole. Or a
            dict of these ``parts`` (True by default) and ``keep_attention`` (False by default): whether blocks keep
            the result of their attention, which takes a second time as much memory and spares the products with the
            most operations.

    Raises:
        ConfigError: The model has no such module, or no blocks at all, or the dict has other keys.
    """
    keep_attention = False
    if isinstance(parts, Mapping):
        for key in parts:
            if key not in _KEYS:
                raise ConfigError(f'activation_checkpointing has no {key!r}{did_you_mean(key, _KEYS)}')
        keep_attention, parts = parts.get('keep_attention', False), parts.get('parts', True)
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
            block.forward = types.MethodType(_forward_keeping_attention if keep_attention else _forward, block)


def _find(model: nn.Module, name: str) -> nn.Module:
    modules = dict(model.named_modules())
    if name not in modules:
        raise ConfigError(f'activation_checkpointing: the model has no {name!r}{did_you_mean(name, modules)}')
    return modules[name]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.modules():
        if isinstance(child, BLOCKS):
            yield child


def _forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return _checkpointed(self, args, kwargs)


def _forward_keeping_attention(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return _checkpointed(self, args, kwargs, context_fn=partial(create_selective_checkpoint_contexts, list(_ATTENTION)))


def _checkpointed(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], **options: Any) -> Any:
    forward = type(module).forward
    if not (module.training and torch.is_grad_enabled()):
        return forward(module, *args, **kwargs)
    if not torch.compiler.is_compiling():  # compilers know PyTorch's own contexts only
        options = dict(context_fn=partial(_sparing, options.get('context_fn', noop_context_fn)))
    return checkpoint(forward, module, *args, use_reentrant=False, **options, **kwargs)


def _sparing(contexts: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """The contexts of both passes, in which attention does not keep its probabilities either."""
    first, second = contexts()
    return _spared(first), _spared(second)


@contextmanager
def _spared(context: Any) -> Iterator[None]:
    with keeping_nothing(), context:
        yield


# tests/engine/test_activation_checkpointing.py guards that the Runner calls it
mmengine_runner.turn_on_activation_checkpointing = turn_on_activation_checkpointing
