"""Averaged weights: MMEngine's hook, made to work with checkpoints loaded for testing or to start training."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import EMAHook as MMEngineEMAHook
from mmengine.runner import Runner

from mmav.registry import HOOKS


@HOOKS.register_module()
class EMAHook(MMEngineEMAHook):
    """Keeps an exponential moving average of the weights and uses it for validation, testing and checkpoints.

    Takes the arguments of MMEngine's hook of this name. ``state_dict`` of a checkpoint holds the average, which is what
    loading it gives; ``ema_state_dict`` holds the trained weights, from which training resumes.

    MMEngine's hook raises an AttributeError if a checkpoint is loaded before the run starts, as AVRunner does for
    testing, and a KeyError if ``load_from`` holds only weights. Here the average starts from the weights that the
    model has after loading.
    """

    _resumed = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restores the average from a checkpoint when resuming."""
        if getattr(runner, '_resuming', runner._resume) and 'ema_state_dict' in checkpoint:
            super().after_load_checkpoint(runner, checkpoint)
            self._resumed = True

    def before_train(self, runner: Runner) -> None:
        """Starts the average from the model's weights, unless it was resumed."""
        super().before_train(runner)
        if not self._resumed:
            self.ema_model.module.load_state_dict(self.src_model.state_dict())
