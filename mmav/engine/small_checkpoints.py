"""Checkpoints of what trained: frozen weights that come from a file of public weights are left out, and put back.

``CheckpointHook(trained_only=True)`` writes them: a few MB for LoRA or a frozen encoder, instead of hundreds. ``meta``
notes where the others come from and a checksum of each. Whatever loads such a checkpoint takes them from the model,
which reads the file that its config names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import initialize
from torch import Tensor, nn

from mmav.checkpoints import BASE, NAMES_SHOWN
from mmav.engine.distributed.fsdp import gathered
from mmav.errors import CheckpointError
from mmav.models.init import OF_FILE, files_in

_EMA = 'module.'


def base_names(model: nn.Module) -> dict[str, str]:
    """The frozen parameters whose values are those of a file, and the file of each.

    Tables that depend on the input size are not among them: another config may need them in the size of training.

    Args:
        model: The model, not wrapped for distribution.
    """
    found: dict[str, str] = {}
    for prefix, part in model.named_modules():
        source, names = getattr(part, OF_FILE, ('', ()))
        for name in names:
            full = f'{prefix}.{name}' if prefix else name
            if not model.get_parameter(full).requires_grad and not hasattr(_owner(model, full), 'adapt_weight'):
                found[full] = source
    return found


def _owner(model: nn.Module, name: str) -> nn.Module:
    """The module that a parameter is directly in, or that its list is in."""
    above = name.rpartition('.')[0]
    owner = model.get_submodule(above)
    return model.get_submodule(above.rpartition('.')[0]) if isinstance(owner, nn.ParameterList) else owner


def describe_base(model: nn.Module) -> str:
    """What checkpoints of a model leave out, in one line; empty for nothing."""
    names = base_names(model)
    if not names:
        return ''
    every = sum(1 for _ in model.parameters())
    sources = ' and '.join(dict.fromkeys(names.values()))
    return f'Checkpoints leave out {len(names)} of {every} parameters, the frozen ones of {sources}: keep that file'


def leave_out_base(checkpoint: dict[str, Any], model: nn.Module) -> None:
    """Leaves the frozen weights of files out of a checkpoint and notes what they are; changes ``checkpoint``.

    Args:
        checkpoint: With whole tensors.
        model: The model that it is of, not wrapped for distribution.
    """
    names = base_names(model)
    state = checkpoint['state_dict']
    left_out = {name: state.pop(name) for name in names if name in state}
    for name in names:
        checkpoint.get('ema_state_dict', {}).pop(_EMA + name, None)
    if left_out:
        checkpoint['meta'][BASE] = dict(
            sources=list(dict.fromkeys(names[name] for name in left_out)),
            checksums={name: checksum(value) for name, value in left_out.items()},
        )


def checksum(value: Tensor) -> str:
    """BLAKE2 of a tensor's values and shape.

    >>> checksum(torch.zeros(2)) == checksum(torch.zeros(2)) != checksum(torch.zeros(1, 2))
    True
    """
    plain = value.detach().cpu().contiguous()
    digest = hashlib.blake2b(str((plain.dtype, tuple(plain.shape))).encode(), digest_size=8)
    digest.update(plain.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def complete(checkpoint: Mapping[str, Any], model: nn.Module, source: str) -> None:
    """Puts what a checkpoint leaves out back into it, from the file that the model's config names.

    Args:
        checkpoint: What its file holds; its states are filled. One that is whole stays as it is.
        model: The model that it will be loaded into, not wrapped for distribution; reads the file unless it has.
        source: File of the checkpoint, for messages.

    Raises:
        CheckpointError: The model starts from no file, or from another one; or the file is missing.
    """
    base = (checkpoint.get('meta') or {}).get(BASE)
    if not base:
        return
    sums = base['checksums']
    found = _values(model, sums)
    if not _equal(found, sums):
        for part, inits in _reading(model):
            initialize(part, inits)
        found = _values(model, sums)
    if not _equal(found, sums):
        others = [name for name, wanted in sums.items() if name not in found or checksum(found[name]) != wanted]
        sources = ' and '.join(base['sources'])
        starts = ' and '.join(dict.fromkeys(repr(init['checkpoint']) for _, inits in _reading(model) for init in inits))
        shown = ', '.join(others[:NAMES_SHOWN]) + (', ...' if len(others) > NAMES_SHOWN else '')
        raise CheckpointError(
            f"'{source}' holds only what was trained on top of {sources}; the model of this config starts from "
            f'{starts or "no file"}, and {len(others)} of {len(sums)} weights differ ({shown}): give the config that '
            'the checkpoint was trained with, and that file'
        )
    checkpoint['state_dict'].update(found)
    if 'ema_state_dict' in checkpoint:
        checkpoint['ema_state_dict'].update({_EMA + name: value for name, value in found.items()})
    print_log(
        f"'{source}' was completed with {len(found)} frozen weights of {' and '.join(base['sources'])}", 'current'
    )


def _values(model: nn.Module, names: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: gathered(value.detach()) for name, value in model.named_parameters() if name in names}


def _equal(values: Mapping[str, Tensor], sums: Mapping[str, str]) -> bool:
    return values.keys() == sums.keys() and all(checksum(value) == sums[name] for name, value in values.items())


def _reading(model: nn.Module) -> Iterator[tuple[nn.Module, list[dict]]]:
    """The parts that start from files, with what reads these."""
    for part in model.modules():
        inits = files_in(getattr(part, 'init_cfg', None))
        if inits:
            yield part, inits
