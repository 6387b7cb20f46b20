"""Constants of a computation that depend on sizes only, made once and kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

import torch
from torch import Tensor
from torch._guards import active_fake_mode

MOST_KEPT = 64

Key = TypeVar('Key', bound=Hashable)


def kept(cache: dict[Key, Tensor], key: Key, make: Callable[[], Tensor]) -> Tensor:
    """What ``make`` returned for this key before; not to be changed.

    It is made anew where it may not be kept: for a compiler it is a constant of the graph, which may not fill a cache
    inside a checkpointed block and would be compiled anew when the cache is full; and among fake tensors it is one.

    Args:
        cache: Of one kind of constants. Inputs of ever new sizes do not fill the memory: it is emptied when full.
        key: What the constant depends on, its type and device included.
        make: Makes it.
    """
    if torch.compiler.is_compiling() or active_fake_mode() is not None:
        return make()
    if key not in cache:
        if len(cache) >= MOST_KEPT:
            cache.clear()
        with torch.inference_mode(False), torch.no_grad():  # training may follow and keep it for its gradients
            made = make()
        if type(made) is not Tensor:  # a stand-in of another tracing mode
            return made
        cache[key] = made
    return cache[key]
