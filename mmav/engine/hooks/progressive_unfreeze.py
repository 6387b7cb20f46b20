"""Trains more and more of pretrained encoders as training goes on, from their last blocks to their first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmav.engine.distributed.fsdp import is_spread
from mmav.errors import ConfigError
from mmav.models.tuning import KEYS, check_freeze, thaw, training_line, tune
from mmav.registry import HOOKS


@HOOKS.register_module()
class ProgressiveUnfreezeHook(Hook):
    """Freezes encoders at first, and thaws them in stages (gradual unfreezing, Howard & Ruder 2018, section 3.3).

    Either ``stages`` lists epochs and what is frozen from each on, in the words of ``freeze``
    (:func:`mmav.models.tuning.tune`), None for nothing:

        dict(type='ProgressiveUnfreezeHook', stages=[(1, 'all'), (3, 21), (6, None)])

    or all encoders are frozen before epoch ``begin``, and from then on ``blocks`` more of their last blocks train every
    ``interval`` epochs; what precedes the blocks comes last:

        dict(type='ProgressiveUnfreezeHook', begin=2, interval=1, blocks=4)

    The optimizer knows all parameters from the start, so learning rates, layer-wise decay and resuming are as without.
    A parameter that is frozen has no gradient: it takes no step, no weight decay and no share in the clipped norm, and
    Adam counts its steps from the first one. Activations before the first block that trains are not kept. With several
    processes the model is wrapped anew at each stage, as DistributedDataParallel only averages the gradients of what
    trained when it was made.

    Args:
        stages: Epoch, from 1, and value of ``freeze``; in ascending order, the first of epoch 1.
        begin: First epoch in which blocks train.
        interval: Epochs from one stage to the next; None for 1.
        blocks: Blocks that a stage adds; None for 1.
        backbones: Names of the encoders; None for all that have parameters.

    Raises:
        ConfigError: Both forms or none is given, or numbers are out of order; when training begins, if a stage is not
            reached or thaws nothing, or an encoder has a ``freeze`` or ``lora`` of its own.
    """

    # before CheckpointHook, which looks for what is frozen
    priority = 'HIGH'

    def __init__(
        self,
        stages: Sequence[tuple[int, Any]] | None = None,
        *,
        begin: int | None = None,
        interval: int | None = None,
        blocks: int | None = None,
        backbones: Sequence[str] | None = None,
    ) -> None:
        who = type(self).__name__
        if (stages is None) == (begin is None) or (stages is not None and (interval, blocks) != (None, None)):
            raise ConfigError(f'{who}: give either stages alone, or begin with interval and blocks')
        self.begin, self.interval, self.blocks = begin, 1 if interval is None else interval, blocks or 1
        numbers = (self.begin, self.interval, 1 if blocks is None else blocks)
        if begin is not None and (any(type(value) is not int or value < 1 for value in numbers) or begin < 2):
            raise ConfigError(
                f'{who}: begin={begin!r}, interval={interval!r}, blocks={blocks!r}: begin must be a whole number of 2 '
                'or more, the others of 1 or more'
            )
        if isinstance(backbones, str):
            raise ConfigError(f'{who}.backbones={backbones!r}: give a list of names, such as [{backbones!r}]')
        self.backbones = backbones
        self.stages = None if stages is None else _pairs(stages, who)
        if self.stages is not None:
            epochs = [epoch for epoch, _ in self.stages]
            if len(epochs) < 2 or epochs[0] != 1 or epochs != sorted(set(epochs)):
                raise ConfigError(
                    f'ProgressiveUnfreezeHook.stages has epochs {epochs}: give two or more, ascending, the first one 1'
                )
            for epoch, freeze in self.stages:
                check_freeze(freeze, f'ProgressiveUnfreezeHook: freeze of epoch {epoch}')
        self._plans: dict[str, list[tuple[int, Any]]] = {}
        self._trainable: dict[str, set[str]] = {}
        self._now: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Tries all stages, so that none fails later, and begins with the first one."""
        loop: Any = runner.train_loop
        if getattr(loop, 'by_iterations', False):
            raise ConfigError('ProgressiveUnfreezeHook counts epochs, but training counts iterations')
        if is_spread(runner.model):
            raise ConfigError('ProgressiveUnfreezeHook does not work with fsdp: use DistributedDataParallel')
        encoders = self._encoders(runner)
        for name, encoder in encoders.items():
            self._trainable[name] = {key for key, value in encoder.named_parameters() if value.requires_grad}
            self._plans[name] = plan = list(self._plan(encoder, loop.max_epochs))
            late = [epoch for epoch, _ in plan if epoch > loop.max_epochs]
            if late or len(plan) < 2:
                first = late[0] if late else self.begin
                raise ConfigError(
                    f'ProgressiveUnfreezeHook: a stage begins with epoch {first}, after the last one of training, '
                    f'{loop.max_epochs}'
                )
            before = -1
            for epoch, freeze in plan:
                self._freeze(encoder, name, freeze)
                trained = sum(value.numel() for value in encoder.parameters() if value.requires_grad)
                if trained <= before:
                    raise ConfigError(
                        f'ProgressiveUnfreezeHook: freeze={freeze!r} from epoch {epoch} on thaws nothing of {name}: '
                        'give stages that freeze less and less'
                    )
                before = trained
        self._now = {}
        self._apply(runner, 1)

    def before_train_epoch(self, runner: Runner) -> None:
        """Begins the stage of the epoch."""
        self._apply(runner, runner.epoch + 1)

    def after_train(self, runner: Runner) -> None:
        """Says where the schedule of an encoder is longer than training."""
        for name, plan in self._plans.items():
            if plan[-1][1] is not None and self.stages is None:
                runner.logger.warning(f'ProgressiveUnfreezeHook: training ended before all of {name} trained')

    def _encoders(self, runner: Any) -> dict[str, nn.Module]:
        model = getattr(runner, 'plain_model', runner.model)
        every = dict(getattr(model, 'backbones', None) or {})
        wanted = list(every) if self.backbones is None else list(self.backbones)
        for name in wanted:
            if name not in every:
                raise ConfigError(
                    f'ProgressiveUnfreezeHook: the model has no encoder {name!r}; it has {", ".join(every) or "none"}'
                )
        config = (runner.cfg.get('model') or {}).get('backbones') or {}
        for name in wanted:
            own = [key for key in KEYS if (config.get(name) or {}).get(key) is not None]
            if own:
                raise ConfigError(
                    f'ProgressiveUnfreezeHook: model.backbones.{name} has a {own[0]} of its own: leave it out, or name '
                    'the other encoders in backbones'
                )
        found = {name: every[name] for name in wanted if any(p.requires_grad for p in every[name].parameters())}
        if not found:
            raise ConfigError('ProgressiveUnfreezeHook has no effect: no encoder has parameters that train')
        return found

    def _plan(self, encoder: nn.Module, last: int) -> Iterator[tuple[int, Any]]:
        """Epoch and ``freeze`` of each stage of an encoder."""
        if self.stages is not None:
            yield from self.stages
            return
        number = len(getattr(encoder, 'blocks', None) or ())
        if not number:
            raise ConfigError(
                f'ProgressiveUnfreezeHook: {type(encoder).__name__} has no blocks to count: give stages with the '
                "words of freeze, such as [(1, 'all'), (3, None)]"
            )
        yield 1, 'all'
        epoch, frozen = self.begin or 2, number
        while epoch <= last and frozen > 0:
            frozen = max(frozen - self.blocks, 0)
            yield epoch, frozen
            epoch += self.interval
        if epoch <= last:
            yield epoch, None

    def _apply(self, runner: Any, epoch: int) -> None:
        model = getattr(runner, 'plain_model', runner.model)
        wanted = {name: [freeze for start, freeze in plan if start <= epoch][-1] for name, plan in self._plans.items()}
        if wanted == self._now:
            return
        for name, freeze in wanted.items():
            self._freeze(model.backbones[name], name, freeze)
            runner.logger.info(f'Epoch {epoch}: {training_line(model.backbones[name], name)}')
        self._now = wanted
        runner.wrap_again()

    def _freeze(self, encoder: nn.Module, name: str, freeze: Any) -> None:
        thaw(encoder, self._trainable[name])
        tune(encoder, dict(freeze=freeze), f'backbones.{name}')


def _pairs(stages: Any, who: str) -> list[tuple[int, Any]]:
    """The stages of a config, if each is an epoch and a value of ``freeze``."""
    found = []
    for stage in stages if isinstance(stages, (list, tuple)) else [stages]:
        if not isinstance(stage, (list, tuple)) or len(stage) != 2 or type(stage[0]) is not int:
            raise ConfigError(
                f'{who}.stages: {stage!r} is no pair of an epoch and what is frozen from it on: give a list such as '
                "[(1, 'all'), (3, None)]"
            )
        found.append((stage[0], stage[1]))
    return found
