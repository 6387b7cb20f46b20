"""Deferred scalars: computed on a GPU, read later and all at once.

Reading a scalar waits until the GPU has finished all work queued before it. With a read in every iteration the GPU
idles while the CPU prepares the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner
from torch import Tensor


class DeferredScalars:
    """Collects named scalars and reads them all with one copy from the device."""

    def __init__(self) -> None:
        self._kept: list[tuple[Any, Mapping[str, Tensor]]] = []

    def add(self, note: Any, values: Mapping[str, Tensor]) -> None:
        """Stores scalars with a note of what they belong to."""
        self._kept.append((note, {name: value.detach() for name, value in values.items()}))

    def take(self) -> list[tuple[Any, dict[str, float]]]:
        """Returns notes and values in the order they were added, and clears them."""
        kept, self._kept = self._kept, []
        scalars = [value.double().mean() for _, values in kept for value in values.values()]
        one_device = len({scalar.device for scalar in scalars}) == 1
        numbers = iter(torch.stack(scalars).tolist() if one_device else [scalar.item() for scalar in scalars])
        return [(note, {name: next(numbers) for name in values}) for note, values in kept]


def should_read(runner: Runner, batch_idx: int, values: Mapping[str, Tensor]) -> bool:
    """Whether to read deferred scalars after this training iteration.

    On a CPU always, as there is nothing to wait for. On a GPU after logged iterations; hooks also read at the end of
    an epoch and before a checkpoint is written.
    """
    if all(is_cpu(value) for value in values.values()):
        return True
    loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
    return any(
        hook.every_n_inner_iters(batch_idx, hook.interval) or hook.end_of_epoch(runner.train_dataloader, batch_idx)
        for hook in loggers
    )


def is_cpu(value: Tensor) -> bool:
    """Whether a value is on the CPU, where reading it costs nothing."""
    return value.device.type == 'cpu'
