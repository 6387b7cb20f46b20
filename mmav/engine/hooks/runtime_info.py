"""Logs losses and the gradient norm without waiting for the GPU in every iteration."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.hooks import RuntimeInfoHook as MMEngineRuntimeInfoHook
from mmengine.runner import Runner

from mmav.engine.hooks.deferred import DeferredScalars, should_read
from mmav.registry import HOOKS


@HOOKS.register_module()
class RuntimeInfoHook(MMEngineRuntimeInfoHook):
    """MMEngine's hook of this name, with losses and the gradient norm deferred.

    On a GPU they are read after logged iterations, at the end of an epoch and before a checkpoint is written, for all
    iterations since the last read at once. The log is the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._deferred = DeferredScalars()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Collects the values of an iteration."""
        values = {name: torch.as_tensor(value) for name, value in (outputs or {}).items()}
        take_grad_norm = getattr(runner.optim_wrapper, 'take_grad_norm', None)
        if take_grad_norm is not None:
            values.update(take_grad_norm())
        self._deferred.add(None, values)
        if should_read(runner, batch_idx, values):
            self.read_deferred(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Reads the remaining values."""
        self.read_deferred(runner)

    def read_deferred(self, runner: Runner) -> None:
        """Passes the collected values on to the log."""
        for _, numbers in self._deferred.take():
            for name, number in numbers.items():
                if name != 'grad_norm' or math.isfinite(number):  # otherwise the step was skipped
                    runner.message_hub.update_scalar(f'train/{name}', number)
