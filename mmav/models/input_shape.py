"""What a backbone is built for, as its config or its signature says."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmav.errors import ConfigError
from mmav.registry import MODELS


def input_shape(backbone: Mapping[str, Any]) -> tuple[int, ...]:
    """(channels, *size) that a backbone is built for: what its config says, else its signature."""
    known: dict[str, Any] = {}
    for cls in reversed(inspect.getmro(MODELS.get(backbone['type']))):
        # of a base class that hands everything on, the nearest subclass with a default counts
        defaults = {p.name: p.default for p in inspect.signature(cls).parameters.values()}
        known.update({name: value for name, value in defaults.items() if value is not inspect.Parameter.empty})
    known.update(backbone)
    missing = [name for name in ('in_channels', 'input_size') if name not in known]
    if missing:
        raise ConfigError(f'{backbone["type"]} has no {" and no ".join(missing)}: its input is not known')
    return (known['in_channels'], *known['input_size'])
