"""``freeze`` and ``lora`` of a backbone's config: which of its parameters train, and what stays in eval mode."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from mmav.errors import ConfigError, did_you_mean
from mmav.models.backbones.base import layers_of
from mmav.models.lora import LoRASettings, add_lora, lora_layers

# keys of a config that AVClassifier reads itself, for any class
KEYS = ('freeze', 'lora')
# attribute of modules that training leaves in eval mode
_STAYS_EVAL = 'stays_eval'
FREEZE = ('all', 'all_but_norms', 'all_but_norms_and_bias')


def check_freeze(value: Any, where: str) -> None:
    """Refuses unknown values of ``freeze``.

    Raises:
        ConfigError: It is not a name or a number of blocks.
    """
    if value is None or value in FREEZE or (type(value) is int and value >= 0):
        return
    hint = did_you_mean(value, FREEZE) if isinstance(value, str) else ''
    raise ConfigError(
        f'{where}={value!r}: choose {", ".join(map(repr, FREEZE))} or a number of blocks, from the input{hint}'
    )


def tune(part: nn.Module, cfg: Mapping[str, Any], where: str) -> None:
    """Freezes a part of a model and adds LoRA to it, as its config says; changes ``part``.

    ``freeze`` is one of:

    * ``'all'``: nothing trains.
    * A number N: the first N of ``blocks`` and everything before them (patch embedding, tokens, positions) are frozen;
      0 freezes only the latter.
    * ``'all_but_norms'``: only the scales and shifts of norms train.
    * ``'all_but_norms_and_bias'``: these and all biases (Ben Zaken et al. 2022, BitFit).

    With ``lora``, a dict of :class:`~mmav.models.lora.LoRASettings`, everything is frozen but the added matrices, and
    norms or biases if ``freeze`` leaves them; with a number, the first blocks get no LoRA.

    What is frozen up to a block, or as a whole without ``lora``, needs no gradients behind it: its activations are not
    kept, and it stays in eval mode, so without dropout, drop path and changes to running statistics. Elsewhere only the
    BatchNorms whose scales are frozen stay in eval mode.

    Args:
        part: A backbone or neck.
        cfg: Its config, of which only ``freeze`` and ``lora`` are read.
        where: Its place in the model's config, for messages.

    Raises:
        ConfigError: A value is unknown, matches nothing, or has no effect.
    """
    freeze, lora = cfg.get('freeze'), cfg.get('lora')
    check_freeze(freeze, f'{where}.freeze')
    if freeze is None and lora is None:
        return
    blocks: Sequence[nn.Module] = list(getattr(part, 'blocks', None) or ())
    owner = f'{where}.freeze={freeze!r}: {type(part).__name__}'
    if not any(True for _ in part.parameters()):
        raise ConfigError(f'{where}: {type(part).__name__} has no parameters: leave freeze and lora out')
    up_to = freeze if type(freeze) is int else None
    if up_to is not None and not blocks:
        raise ConfigError(f"{owner} has no blocks to count; give 'all'")
    if up_to is not None and up_to > len(blocks) - (lora is not None):
        rest = ', and LoRA needs one of them' if lora is not None else ''
        raise ConfigError(f"{owner} has {len(blocks)} blocks{rest}; give less, or 'all'")
    trained = set(_left_by(freeze, part))
    if freeze in FREEZE[1:] and not trained:
        raise ConfigError(f"{owner} has no {'norms' if freeze == FREEZE[1] else 'norms and no biases'}; give 'all'")
    layers = layers_of(part, blocks) if up_to is not None else {}
    for name, parameter in part.named_parameters():
        kept = name in trained or (lora is None and up_to is not None and layers[name] > up_to)
        if not kept:  # others may be fixed by the part itself, as tables of positions are
            parameter.requires_grad_(False)
    if lora is not None:
        settings = LoRASettings.read(lora, f'{where}.lora')
        add_lora(part, settings, f'{where}.lora', blocks=blocks[up_to or 0 :])
    if up_to is not None:
        held = [*_up_to(part, blocks, up_to)]
    else:
        held = [part] if freeze == 'all' and lora is None else []
    if up_to is None or lora is not None:
        held += [module for module in part.modules() if _is_frozen_statistics(module)]
    for module in held:
        setattr(module, _STAYS_EVAL, True)
    hold_eval(part)


def thaw(part: nn.Module, names: Collection[str]) -> None:
    """Takes back what :func:`tune` froze in a part, without LoRA; changes ``part``.

    Args:
        part: A backbone or neck.
        names: The parameters that trained before.
    """
    for module in part.modules():
        module.__dict__.pop(_STAYS_EVAL, None)
    for name, parameter in part.named_parameters():
        parameter.requires_grad_(name in names)


def _left_by(freeze: Any, part: nn.Module) -> Iterator[str]:
    """Names of the parameters that 'all_but_norms' and 'all_but_norms_and_bias' leave."""
    if freeze not in FREEZE[1:]:
        return
    for prefix, module in part.named_modules():
        # by its name, too, for the norms that packages write themselves
        is_norm = isinstance(module, _NormBase) or 'norm' in type(module).__name__.lower()
        for name, _ in module.named_parameters(recurse=False):
            if is_norm or (freeze == FREEZE[2] and name.endswith('bias')):
                yield f'{prefix}.{name}' if prefix else name


def _up_to(part: nn.Module, blocks: Sequence[nn.Module], number: int) -> Iterator[nn.Module]:
    """The modules before the first block that trains, or before what follows the last, without those around blocks."""
    every = {id(block) for block in blocks}
    last = {id(module) for block in blocks[number - 1 : number] for module in block.modules()} if number else set()
    reached = False
    for module in part.modules():
        if number < len(blocks) and module is blocks[number]:
            return
        reached = reached or id(module) in last
        if reached and number == len(blocks) and id(module) not in last:
            return
        if id(module) in every or every.isdisjoint(map(id, module.modules())):
            yield module


def _is_frozen_statistics(module: nn.Module) -> bool:
    """Whether a module has running statistics, and nothing of its own that trains."""
    statistics = isinstance(module, _NormBase) and module.running_mean is not None
    return statistics and not any(parameter.requires_grad for parameter in module.parameters(recurse=False))


def hold_eval(model: nn.Module) -> None:
    """Puts what :func:`tune` froze back into eval mode; for the end of a model's ``train()``."""
    for module in model.modules():
        if getattr(module, _STAYS_EVAL, False):
            module.eval()


def training_line(part: nn.Module, name: str) -> str:
    """What of a part trains, in one line, such as 'video: 12 of 24 blocks frozen, 25.1 M of 51 M parameters train'."""
    blocks: Sequence[nn.Module] = list(getattr(part, 'blocks', None) or ())
    frozen = sum(not any(p.requires_grad for p in block.parameters()) for block in blocks)
    adapted = lora_layers(part)
    ranks = ' and '.join(str(rank) for rank in sorted({layer.rank for layer in adapted.values()}))
    trained = sum(parameter.numel() for parameter in part.parameters() if parameter.requires_grad)
    every = sum(parameter.numel() for parameter in part.parameters())
    facts = [
        f'{frozen} of {len(blocks)} blocks frozen' if frozen else '',
        f'LoRA of rank {ranks} in {len(adapted)} layer{"s" * (len(adapted) != 1)}' if adapted else '',
        f'{_millions(trained)} of {_millions(every)} parameters train',
    ]
    return f'{name}: {", ".join(fact for fact in facts if fact)}'


def _millions(number: int) -> str:
    return f'{number / 1e6:.3g} M' if number >= 1e4 else f'{number}'
