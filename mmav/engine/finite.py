"""Steps whose loss or gradients are not finite are left out, reported with their clips, and at last end the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor
from torch.distributed.tensor import DTensor

from mmav.errors import MmavError
from mmav.registry import HOOKS

CLIPS_SHOWN = 8


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Leaves out the optimizer's step where gradients are not finite, so that one bad batch does not spoil the weights.

    Gradients are averaged over processes, so that all of them see the same and leave out the same steps. The process
    whose loss was not finite names the clips of its batch. With float16 the loss scaler does the leaving out; only the
    loss is looked at here.

    Args:
        limit: So many steps running without a finite gradient end the run.
    """

    # before the checkpoint and resume hooks
    priority = 'NORMAL'

    def __init__(self, limit: int = 10) -> None:
        self.limit = limit
        self.skipped = 0
        self._running = 0
        self._bad_step = False

    def before_train(self, runner: Runner) -> None:
        """Puts a look at the gradients before the optimizer's step."""
        wrapper = runner.optim_wrapper
        if not hasattr(wrapper, 'loss_scaler') and hasattr(wrapper, 'optimizer'):
            wrapper.step = self._guarded(wrapper.step, wrapper.optimizer)

    def _guarded(self, step: Callable[..., None], optimizer: torch.optim.Optimizer) -> Callable[..., None]:
        def guarded(**kwargs: Any) -> None:
            gradients = [p.grad for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
            self._bad_step = bool(gradients) and not _all_finite(gradients)
            if not self._bad_step:
                step(**kwargs)

        # MMEngine's schedulers look for this mark of theirs; they count the inner step.
        guarded._with_counter = True  # type: ignore[attr-defined]
        return guarded

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Reports a loss or a step that was not finite.

        Raises:
            MmavError: ``limit`` steps running were not.
        """
        wrong = {
            name: float(value.detach())
            for name, value in (outputs or {}).items()
            if 'loss' in name and isinstance(value, Tensor) and not torch.isfinite(value).all()
        }
        bad_step, self._bad_step = self._bad_step, False
        if not wrong and not bad_step:
            self._running = 0
            return
        self._running += 1
        self.skipped += bad_step
        where = f'epoch {runner.epoch + 1}, iteration {runner.iter + 1}'
        if wrong:
            parts = ', '.join(f'{name} is {value}' for name, value in wrong.items())
            runner.logger.warning(f'{where}: {parts}; the step is left out. Clips: {_clips(data_batch)}')
        else:
            runner.logger.warning(f'{where}: the gradients are not finite; the step is left out')
        if self._running >= self.limit:
            raise MmavError(
                f'{self._running} steps running were not finite, the last at {where}; the log names the clips. A lower '
                'learning rate, clipped gradients (optim_wrapper.clip_grad) or bfloat16 in place of float16 may help'
            )


def _all_finite(gradients: Iterable[Tensor]) -> bool:
    """Whether no value of the gradients is infinite or not a number; one synchronisation for all."""
    norm = torch.nn.utils.get_total_norm(list(gradients))
    # of spread gradients each process knows its part of the norm
    return bool(torch.isfinite(norm.full_tensor() if isinstance(norm, DTensor) else norm))


def _clips(data_batch: Any) -> str:
    samples = data_batch.get('data_samples', []) if isinstance(data_batch, dict) else []
    paths = [str(getattr(sample, 'path', sample)) for sample in samples]
    more = len(paths) - CLIPS_SHOWN
    return ', '.join(paths[:CLIPS_SHOWN]) + (f' and {more} more' if more > 0 else '') if paths else 'not known'
