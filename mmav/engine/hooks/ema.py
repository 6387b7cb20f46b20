"""Averaged weights: MMEngine's hook, for checkpoints that are loaded for testing or to start training."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import EMAHook as MMEngineEMAHook
from mmengine.runner import Runner

from mmav.registry import HOOKS


@HOOKS.register_module()
class EMAHook(MMEngineEMAHook):
    """Keeps an exponential moving average of the weights, with which the model is validated, tested and saved.

    The arguments are those of MMEngine's hook of this name. ``state_dict`` of a checkpoint holds the average, which is
    what loading it gives; ``ema_state_dict`` holds the trained weights, with which training resumes.

    MMEngine's hook raises an AttributeError where a checkpoint is loaded before the run starts, as AVRunner does for
    testing, and a KeyError where ``load_from`` holds weights alone. Here the average starts from the weights that the
    model has after loading.
    """

    _resumed = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Takes the average of a checkpoint that is resumed."""
        if getattr(runner, '_resuming', runner._resume) and 'ema_state_dict' in checkpoint:
            super().after_load_checkpoint(runner, checkpoint)
            self._resumed = True

    def before_train(self, runner: Runner) -> None:
        """Starts the average from the weights of the model, unless it was resumed."""
        super().before_train(runner)
        if not self._resumed:
            self.ema_model.module.load_state_dict(self.src_model.state_dict())
