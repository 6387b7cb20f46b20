"""Activation checkpointing: blocks keep less for the backward pass, and recompute the rest in it.

Levels, from the most kept to the least:

* ``all``: what autograd keeps.
* ``lean``: all except what is cheap to recompute (norms, activations, casts, copies of queries, keys and values), see
  :mod:`mmav.models.ops.lean`. Less than 1 % more operations.
* ``attention``: the block's input and the results of its attention.
* ``full``: the block's input.

The config's ``activation_checkpointing`` chooses them. MMEngine has a setting of that name, too, but it takes lists of
single modules and uses torch's older, reentrant form, which torch warns about: :mod:`mmav.engine.patches` replaces it.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from mmav.config.check import checks
from mmav.errors import ConfigError, did_you_mean
from mmav.models.layers import BLOCKS
from mmav.models.ops import triton_attention  # noqa: F401 (it registers an operator)
from mmav.models.ops.again import run_again
from mmav.models.ops.lean import lean
from mmav.tables import UNITS, bytes_in

LEVELS = ('all', 'lean', 'attention', 'full')

# kept at level ``attention``: the output of attention, from any kernel; the operators depend on the PyTorch version
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
_OLD_KEYS, _PART_KEYS = ('parts', 'keep_attention'), LEVELS[1:]
_RANGE = re.compile(r'(.*\.)(\d+)-(\d+)')

Parts = bool | str | Sequence[str] | Mapping[str, Any]


def turn_on_activation_checkpointing(model: nn.Module, parts: Parts) -> dict[str, str]:
    """Makes blocks recompute in the backward pass what they do not keep in training; changes ``model``.

    Losses, gradients and names in the state dict stay the same, and so do dropped paths in both passes. Evaluation is
    unchanged.

    Blocks are those of :mod:`mmav.models.layers`, and at level ``full`` the ``blocks`` of any backbone, see
    :class:`mmav.models.Backbone`: in other layers it is not known what is cheap.

    Args:
        model: The model, not wrapped for distribution.
        parts: ``lean`` for all blocks at that level. True for every block at level ``full``, False for none; or names
            of modules, such as ``backbones.video`` or ``backbones.video.blocks.0-4``, for the blocks inside them. A
            module without blocks, such as a layer of your own, is recomputed as a whole. Or a dict, level -> such
            parts: ``dict(lean=True, full=['backbones.video.blocks.0-4'])``; the last level that names a block wins.
            Or a dict of ``parts`` (defaults to True) and ``keep_attention`` (defaults to False): True for level
            ``attention`` instead of ``full``.

    Returns:
        Name of a block, or of a module recomputed as a whole -> its level, for those that are not at ``all``.

    Raises:
        ConfigError: The model has no such module, or no blocks at all, or the dict has other keys.
    """
    levels = {name: level for name, level in levels_of(model, parts).items() if level != 'all'}
    modules = dict(model.named_modules())
    for module in modules.values():  # levels of an earlier call
        if getattr(vars(module).get('forward'), '__func__', None) in _FORWARDS.values():
            del module.forward
            if '_own_forward' in vars(module):
                module.forward = module.__dict__.pop('_own_forward')
    for name, level in levels.items():
        block = modules[name]
        if 'forward' in vars(block):  # set by someone, as libraries for adapters and offloading do
            block._own_forward = block.forward
        # a bound method of a plain function: copies of the model, such as the averaged one, get their own
        block.forward = types.MethodType(_FORWARDS[level], block)
    return levels


def levels_of(model: nn.Module, parts: Parts) -> dict[str, str]:
    """The level of each block of a model, by its name; see :func:`turn_on_activation_checkpointing`."""
    modules = dict(model.named_modules())
    blocks = [name for name, module in modules.items() if isinstance(module, BLOCKS)]
    levels, others = dict.fromkeys(blocks, 'all'), _other_blocks(modules)
    for level, named in _by_level(parts).items():
        for name in [''] if named is True else _expanded(named):
            if name not in modules:
                hint = (
                    f': for all blocks, give dict({name}=True)'
                    if name in LEVELS
                    else did_you_mean(name, ('lean', *modules))
                )
                raise ConfigError(f'activation_checkpointing: the model has no {name!r}{hint}')
            known = [*blocks, *others] if level == 'full' else blocks
            inside = [block for block in known if block == name or block.startswith(f'{name}.' if name else '')]
            if not inside and not name:
                kinds = ' or '.join(kind.__name__ for kind in BLOCKS)
                raise ConfigError(
                    f'activation_checkpointing={parts!r}: {type(model).__name__} has no {kinds}; name its modules '
                    'instead'
                )
            if not inside and level != 'full':
                raise ConfigError(
                    f'activation_checkpointing: {name!r} contains no blocks, so it can only be recomputed as a '
                    'whole: name it under full'
                )
            levels.update(dict.fromkeys(inside or [name], level))
    return levels


def _other_blocks(modules: Mapping[str, nn.Module]) -> list[str]:
    """Names of backbones' ``blocks`` that are not ours and contain none of ours."""
    backbones = [(name, module) for name, module in modules.items() if name.startswith('backbones.')]
    found = {id(block) for _, backbone in backbones for block in getattr(backbone, 'blocks', None) or ()}
    return [
        name
        for name, module in backbones
        if id(module) in found and not any(isinstance(each, BLOCKS) for each in module.modules())
    ]


@checks('activation_checkpointing')
def check_parts(parts: Any) -> None:
    """Checks a config's setting, as far as possible without the model.

    Raises:
        ConfigError: It has another type, a dict has unknown keys, or a budget cannot be read.
    """
    if isinstance(parts, Mapping) and 'budget' in parts:
        read_budget(parts)
        return
    if not isinstance(parts, (bool, str, list, tuple, Mapping)):
        raise ConfigError(
            f"activation_checkpointing={parts!r}: give True, False, 'lean', names of modules, or a dict such as "
            "dict(lean=True, full=['backbones.video']) or dict(budget='36GB')"
        )
    for named in _by_level(parts).values():
        if named is not True:
            list(_expanded(named))


def read_bytes(text: Any) -> int:
    """Parses a size with a unit into bytes: GB is 10**9, GiB is 2**30.

    Raises:
        ConfigError: It has no number or no unit.

    >>> read_bytes('36GB'), read_bytes('1.5 GiB')
    (36000000000, 1610612736)
    """
    size = bytes_in(text)
    if size is None:
        units = ', '.join(UNITS)
        raise ConfigError(
            f"activation_checkpointing.budget={text!r}: give a number and one of {units}, such as '36GB', or 'auto'"
        )
    return size


def read_budget(value: Mapping[str, Any]) -> int | None:
    """Bytes of ``dict(budget=...)``; None for ``auto``.

    Raises:
        ConfigError: There are other keys, or it is neither a size nor ``auto``.
    """
    if others := ', '.join(sorted(set(value) - {'budget'})):
        raise ConfigError(f'activation_checkpointing has both a budget and {others}: give one or the other')
    return None if value['budget'] == 'auto' else read_bytes(value['budget'])


def _by_level(parts: Parts) -> dict[str, Any]:
    """Level -> True or names, in the order of the levels."""
    if parts is False:
        return {}
    if parts == 'lean':
        return dict(lean=True)
    if not isinstance(parts, Mapping):
        return dict(full=parts)
    keys = _OLD_KEYS if any(key in _OLD_KEYS for key in parts) else _PART_KEYS
    if mixed := [key for key in parts if key in (*_OLD_KEYS, *_PART_KEYS) and key not in keys]:
        raise ConfigError(
            f'activation_checkpointing has {", ".join(_OLD_KEYS)} or levels such as {mixed[0]}: give one or the other'
        )
    for key in parts:
        if key not in keys:
            every = (*_PART_KEYS, *_OLD_KEYS, 'budget')
            hint = did_you_mean(key, every) or f'; it has {", ".join(every)}'
            raise ConfigError(f'activation_checkpointing has no {key!r}{hint}')
    if keys is _OLD_KEYS:
        parts = {'attention' if parts.get('keep_attention') else 'full': parts.get('parts', True)}
    return {level: parts[level] for level in LEVELS if parts.get(level)}


def _expanded(names: str | Sequence[str]) -> Iterator[str]:
    """The names, with ``blocks.0-2`` expanded to ``blocks.0``, ``blocks.1``, ``blocks.2``."""
    for name in names if isinstance(names, (list, tuple)) else [names]:
        if not isinstance(name, str):
            raise ConfigError(f'activation_checkpointing: {name!r} is not the name of a module: give names, or True')
        span = _RANGE.fullmatch(name)
        if span is None:
            yield name
        elif int(span[2]) > int(span[3]):
            raise ConfigError(f'activation_checkpointing: {name!r} names no blocks: give the lower number first')
        else:
            yield from (f'{span[1]}{number}' for number in range(int(span[2]), int(span[3]) + 1))


def on_gpu(parts: Parts | None) -> Parts:
    """A config's ``activation_checkpointing`` on a GPU, where blocks it does not name are lean.

    >>> on_gpu(None), on_gpu('backbones.video'), on_gpu(False)
    ('lean', {'lean': True, 'full': 'backbones.video'}, False)
    """
    if parts is None:
        return 'lean'
    if isinstance(parts, bool) or parts == 'lean' or (isinstance(parts, Mapping) and 'lean' in parts):
        return parts
    return dict(lean=True) | _by_level(parts)


def run_at_level(function: Callable[..., Any], level: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Calls a function in training and keeps only what the level keeps."""
    if level == 'all':
        return function(*args, **kwargs)
    if level == 'lean':
        with lean():
            return function(*args, **kwargs)
    return run_again(function, args, kwargs, contexts=_keep_attention if level == 'attention' else None)


_keep_attention = partial(create_selective_checkpoint_contexts, list(_ATTENTION))


def _call_own(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return vars(self)['_own_forward'](*args, **kwargs)


def _forward_at(level: str) -> Callable[..., Any]:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        plain = _call_own if '_own_forward' in vars(self) else type(self).forward
        if not (self.training and torch.is_grad_enabled()):
            return plain(self, *args, **kwargs)
        if not torch.compiler.is_compiling():
            return run_at_level(types.MethodType(plain, self), level, args, kwargs)
        if level == 'lean':  # compilers decide for themselves what is cheap
            return plain(self, *args, **kwargs)
        # compilers only know PyTorch's own checkpointing
        options: dict[str, Any] = dict(context_fn=_keep_attention) if level == 'attention' else {}
        return checkpoint(plain, self, *args, use_reentrant=False, **options, **kwargs)

    return forward


_FORWARDS = {level: _forward_at(level) for level in LEVELS[1:]}
