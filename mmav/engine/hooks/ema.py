"""Averaged weights: MMEngine's hook, made to work with checkpoints loaded for testing or to start training."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import EMAHook as MMEngineEMAHook
from mmengine.model import BaseAveragedModel
from mmengine.registry import MODELS
from mmengine.runner import Runner

from mmav.config.signatures import call_signature
from mmav.engine.batch_norm import layers_with_statistics
from mmav.errors import ConfigError, did_you_mean
from mmav.registry import HOOKS

_AVERAGES = ('ExponentialMovingAverage', 'StochasticWeightAverage', 'MomentumAnnealingEMA')


@HOOKS.register_module()
class EMAHook(MMEngineEMAHook):
    """Keeps an average of the weights and uses it for validation, testing and checkpoints.

    Takes the arguments of MMEngine's hook of this name: ``ema_type`` is ``ExponentialMovingAverage``, or
    ``StochasticWeightAverage`` for the plain mean (Izmailov et al. 2018) of the weights after every ``interval``-th
    iteration from epoch ``begin_epoch`` on. ``state_dict`` of a checkpoint holds the average, which is what loading it
    gives; ``ema_state_dict`` holds the trained weights, from which training resumes.

    MMEngine's hook raises an AttributeError if a checkpoint is loaded before the run starts, as AVRunner does for
    testing, and a KeyError if ``load_from`` holds only weights. Here the average starts from the weights that the
    model has after loading.

    Args:
        ema_type: Class of the average.
        **kwargs: ``begin_epoch`` or ``begin_iter``, counted from 1, ``strict_load``, and the arguments of the class.

    Raises:
        ConfigError: The class is unknown or takes no such argument, or both begins are given; when training begins, if
            it ends before the average begins.
    """

    _resumed = False

    def __init__(self, ema_type: str = 'ExponentialMovingAverage', **kwargs: Any) -> None:
        kind = MODELS.get(ema_type)
        if not (isinstance(kind, type) and issubclass(kind, BaseAveragedModel)):
            raise ConfigError(
                f'EMAHook.ema_type={ema_type!r}: choose {", ".join(_AVERAGES)}{did_you_mean(ema_type, _AVERAGES)}'
            )
        own = [name for name in call_signature(kind).names if name != 'model']
        known = [*own, 'strict_load', 'begin_iter', 'begin_epoch']
        for name in kwargs:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(f'EMAHook.{name}: {ema_type} takes no such argument, but {", ".join(own)}{hint}')
        if kwargs.get('begin_iter') and kwargs.get('begin_epoch'):
            raise ConfigError('EMAHook: give begin_iter or begin_epoch, not both')
        super().__init__(ema_type, **kwargs)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restores the average from a checkpoint when resuming."""
        if getattr(runner, '_resuming', runner._resume) and 'ema_state_dict' in checkpoint:
            super().after_load_checkpoint(runner, checkpoint)
            self._resumed = True

    def before_train(self, runner: Runner) -> None:
        """Starts the average from the model's weights, unless it was resumed."""
        for unit, begin, last in (
            ('epoch', self.begin_epoch, runner.max_epochs),
            ('iter', self.begin_iter, runner.max_iters),
        ):
            if begin > last:
                raise ConfigError(f'EMAHook.begin_{unit}={begin} comes after the last one of training, {last}')
        if not self.ema_model.update_buffers and (layers := layers_with_statistics(self.src_model)):
            runner.logger.warning(
                f'EMAHook leaves {len(layers)} BatchNorms the running statistics of the trained weights: '
                'update_buffers=True averages them, too, and after training `mmav average-checkpoints CHECKPOINT '
                '--update-bn CONFIG` computes them anew for the average'
            )
        if not self._resumed:
            self.ema_model.module.load_state_dict(self.src_model.state_dict())
