"""Numbers that a GPU computes and that are looked at later, many at once.

A look waits until the GPU has done all that was asked of it before; one in each iteration leaves it without work while
the CPU prepares the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner
from torch import Tensor


class LateValues:
    """Collects scalars by name, and reads them all in one copy from the device."""

    def __init__(self) -> None:
        self._kept: list[tuple[Any, Mapping[str, Tensor]]] = []

    def add(self, note: Any, values: Mapping[str, Tensor]) -> None:
        """Keeps scalars, and a note of what they belong to."""
        self._kept.append((note, {name: value.detach() for name, value in values.items()}))

    def take(self) -> list[tuple[Any, dict[str, float]]]:
        """Notes and numbers in the order in which they came; forgets them."""
        kept, self._kept = self._kept, []
        scalars = [value.double().mean() for _, values in kept for value in values.values()]
        numbers = iter(_read(scalars))
        return [(note, {name: next(numbers) for name in values}) for note, values in kept]


def _read(scalars: list[Tensor]) -> list[float]:
    there = {scalar.device for scalar in scalars}
    if len(there) == 1:
        return torch.stack(scalars).tolist()
    return [scalar.item() for scalar in scalars]


def is_time(runner: Runner, batch_idx: int, values: Mapping[str, Tensor]) -> bool:
    """Whether values of a training iteration are read now.

    On a CPU always, as there is nothing to wait for. On a GPU after the iterations whose values are logged; whoever
    collects also reads at the end of an epoch and before a checkpoint is written.
    """
    if all(is_cpu(value) for value in values.values()):
        return True
    loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
    return any(
        hook.every_n_inner_iters(batch_idx, hook.interval) or hook.end_of_epoch(runner.train_dataloader, batch_idx)
        for hook in loggers
    )


def is_cpu(value: Tensor) -> bool:
    """Whether a value is on the CPU, where it costs nothing to look at it."""
    return value.device.type == 'cpu'
