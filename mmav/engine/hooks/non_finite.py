"""Skips non-finite steps, reports their clips, and ends the run after too many in a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor
from torch.distributed.tensor import DTensor

from mmav.engine.hooks.deferred import DeferredScalars, should_read
from mmav.errors import MmavError
from mmav.registry import HOOKS

CLIPS_SHOWN = 8
_STEP = 'the step'


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Skips optimizer steps whose gradients are not finite, so that one bad batch does not ruin the weights.

    Gradients are averaged over processes, so all processes see the same values and skip the same steps. The process
    with the non-finite loss names the clips of its batch. With float16 the loss scaler skips the step, and only the
    loss is checked here.

    On a GPU the check does not block: a fused Adam or AdamW skips the step on the device, as with a loss scaler, and
    the report is deferred to the next log line (see :mod:`mmav.engine.hooks.deferred`). Other optimizers and sharded
    gradients cost one synchronisation per step.

    Args:
        limit: Number of non-finite steps in a row that ends the run.
    """

    # before the checkpoint and resume hooks
    priority = 'NORMAL'

    def __init__(self, limit: int = 10) -> None:
        self.limit = limit
        self.skipped = 0
        self._in_a_row = 0
        self._bad_step: Tensor | None = None
        self._deferred = DeferredScalars()

    def before_train(self, runner: Runner) -> None:
        """Wraps the optimizer's step with the check of the gradients."""
        wrapper = runner.optim_wrapper
        if not hasattr(wrapper, 'loss_scaler') and hasattr(wrapper, 'optimizer'):
            wrapper.step = self._guarded(wrapper.step, wrapper.optimizer)

    def _guarded(self, step: Callable[..., None], optimizer: torch.optim.Optimizer) -> Callable[..., None]:
        def guarded(**kwargs: Any) -> None:
            gradients = [p.grad for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
            self._bad_step = bad = _not_finite(gradients) if gradients else None
            if bad is None or _skips_by_itself(optimizer, gradients):
                optimizer.found_inf = bad  # type: ignore[attr-defined]
                try:
                    step(**kwargs)
                finally:
                    del optimizer.found_inf  # type: ignore[attr-defined]
            elif not bool(bad):
                step(**kwargs)

        # MMEngine's schedulers look for this mark of theirs; they count calls of the inner step.
        guarded._with_counter = True  # type: ignore[attr-defined]
        return guarded

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Reports a non-finite loss or step.

        Raises:
            MmavError: ``limit`` steps in a row were not finite.
        """
        values = {name: v.detach() for name, v in (outputs or {}).items() if 'loss' in name and isinstance(v, Tensor)}
        if self._bad_step is not None:
            values[_STEP] = self._bad_step
        self._bad_step = None
        where = f'epoch {runner.epoch + 1}, iteration {runner.iter + 1}'
        self._deferred.add((where, _clips(data_batch)), values)
        if should_read(runner, batch_idx, values):
            self.read_deferred(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Reports the remaining iterations."""
        self.read_deferred(runner)

    def read_deferred(self, runner: Runner) -> None:
        """Reports on the iterations since the last report.

        Raises:
            MmavError: ``limit`` steps in a row were not finite.
        """
        for (where, clips), numbers in self._deferred.take():
            bad_step = bool(numbers.pop(_STEP, 0.0))
            wrong = {name: number for name, number in numbers.items() if not math.isfinite(number)}
            if not wrong and not bad_step:
                self._in_a_row = 0
                continue
            self._in_a_row += 1
            self.skipped += bad_step
            if wrong:
                parts = ', '.join(f'{name} is {number}' for name, number in wrong.items())
                runner.logger.warning(f'{where}: {parts}; the step is skipped. Clips: {clips}')
            else:
                runner.logger.warning(f'{where}: the gradients are not finite; the step is skipped')
            if self._in_a_row >= self.limit:
                raise MmavError(
                    f'{self._in_a_row} steps in a row were not finite, the last at {where}; the log names the clips. A '
                    'lower learning rate, clipped gradients (optim_wrapper.clip_grad) or bfloat16 instead of float16 '
                    'may help'
                )


def _not_finite(gradients: Iterable[Tensor]) -> Tensor:
    """1 if any gradient has an infinite or NaN value, else 0; on their device."""
    norm = torch.nn.utils.get_total_norm(list(gradients))
    # with sharded gradients each process only has its part of the norm
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    return torch.isfinite(norm).logical_not().float()


def _skips_by_itself(optimizer: torch.optim.Optimizer, gradients: Iterable[Tensor]) -> bool:
    """Whether the optimizer's step respects ``found_inf``, which a loss scaler sets."""
    # a fused SGD respects it, too, but a skipped first step leaves its momentum uninitialised
    fused = isinstance(optimizer, torch.optim.Adam) and all(group.get('fused') for group in optimizer.param_groups)
    return fused and not any(isinstance(gradient, DTensor) for gradient in gradients)


def _clips(data_batch: Any) -> str:
    samples = data_batch.get('data_samples', []) if isinstance(data_batch, dict) else []
    paths = [str(getattr(sample, 'path', sample)) for sample in samples]
    more = len(paths) - CLIPS_SHOWN
    return ', '.join(paths[:CLIPS_SHOWN]) + (f' and {more} more' if more > 0 else '') if paths else 'not known'
