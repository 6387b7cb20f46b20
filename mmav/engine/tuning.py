"""Checks of ``freeze`` and ``lora``: in a config before anything is built, and of a model before it trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from mmav.config.check import checks
from mmav.errors import ConfigError
from mmav.models.backbones.base import input_shape
from mmav.models.lora import LoRALinear, LoRASettings, lora_layers
from mmav.models.tuning import KEYS, check_freeze


@checks('model')
def tuning_problems(model: Any) -> Iterator[str]:
    """Yields a line for each wrong value of ``freeze`` and ``lora`` in a model's config."""
    if not isinstance(model, dict):
        return
    backbones = model.get('backbones')
    named = dict(backbones) if isinstance(backbones, dict) else {}
    parts = {f'model.backbones.{name}': cfg for name, cfg in named.items()} | {'model.neck': model.get('neck')}
    for where, cfg in parts.items():
        for key in KEYS:
            value = cfg.get(key) if isinstance(cfg, dict) else None
            try:
                if key == 'freeze':
                    check_freeze(value, f'{where}.{key}')
                elif value is not None:
                    LoRASettings.read(value, f'{where}.{key}')
            except ConfigError as error:
                yield str(error)


def require_effect(model: Any) -> None:
    """Refuses LoRA in layers that are not called, as models that read their weights themselves do not call them.

    Each backbone with LoRA encodes one blank input.

    Args:
        model: An :class:`~mmav.models.AVClassifier`; others have no such layers.

    Raises:
        ConfigError: A layer is not called; or the backbone does not say what its input is.
    """
    adapted = {name: lora_layers(part) for name, part in (getattr(model, 'backbones', None) or {}).items()}
    training = model.training
    try:
        model.eval()
        for name, layers in adapted.items():
            if layers:
                _require_calls(model.backbones[name], layers, name)
    finally:
        model.train(training)


def _require_calls(backbone: nn.Module, layers: dict[str, LoRALinear], name: str) -> None:
    called: set[int] = set()
    handles = [layer.register_forward_hook(lambda layer, *_: called.add(id(layer))) for layer in layers.values()]
    first = next(backbone.parameters())
    try:
        with torch.no_grad():
            backbone(torch.zeros(1, *input_shape(backbone), dtype=first.dtype, device=first.device))
    finally:
        for handle in handles:
            handle.remove()
    for inner, layer in layers.items():
        if id(layer) not in called:
            owner = type(backbone.get_submodule(inner.rpartition('.')[0])).__name__
            raise ConfigError(
                f'backbones.{name}.lora: {owner} does not call its layer {inner}, so LoRA would have no effect on it: '
                'leave it out of targets'
            )
