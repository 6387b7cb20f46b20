"""What of a config will have no effect on a training that is about to start, or another than it seems: said at once.

A learning rate that has not come down when training ends, a validation that never comes, a best checkpoint that is
chosen by a metric that nothing computes: training runs through all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import IterBasedTrainLoop

from mmav.engine.hooks.runtime import datasets_within
from mmav.errors import ConfigError, did_you_mean


def training_notes(runner: Any) -> Iterator[str]:
    """What to log before training.

    Args:
        runner: A runner whose loops, schedulers and hooks are built.

    Yields:
        A line for each setting that has no effect, or not the whole one.

    Raises:
        ConfigError: Best checkpoints or an early end are asked for, but nothing is ever validated.
    """
    schedulers = runner.param_schedulers
    by_name = schedulers if isinstance(schedulers, Mapping) else {'': schedulers or []}
    for name, each in by_name.items():
        yield from _schedule_notes(each, runner.train_loop, f'param_scheduler.{name}' if name else 'param_scheduler')
    yield from _validation_notes(runner)
    yield from _checkpoint_notes(runner)
    yield from _seed_notes(runner)


def check_monitors(hooks: Iterable[Any], metrics: Mapping[str, Any]) -> None:
    """Refuses hooks that follow a metric which validation does not give.

    Raises:
        ConfigError: The metric is none of ``metrics``.
    """
    for hook in hooks:
        for option, name in _monitored(hook):
            if name != 'auto' and name not in metrics:
                hint = did_you_mean(name, metrics) or f'; it gives {", ".join(metrics) or "nothing"}'
                raise ConfigError(f'{type(hook).__name__}.{option}={name!r}: validation gives no such metric{hint}')


def _monitored(hook: Any) -> list[tuple[str, str]]:
    if isinstance(hook, EarlyStoppingHook):
        return [('monitor', hook.monitor)]
    if isinstance(hook, CheckpointHook) and hook.save_best:
        return [('save_best', name) for name in hook.key_indicators]
    return []


def _by_iteration(loop: Any) -> bool:
    return isinstance(loop, IterBasedTrainLoop)


def _schedule_notes(schedulers: Iterable[Any], loop: Any, where: str) -> Iterator[str]:
    """The end of a schedule beside that of training."""
    length = len(loop.dataloader)
    ends: list[tuple[int, int, Any]] = []
    for index, scheduler in enumerate(schedulers):
        end = _end_of(scheduler)
        if end is not None:
            ends.append((end * length if scheduler.by_epoch else end, index, scheduler))
    if not ends:
        return
    end, index, scheduler = max(ends, key=lambda item: item[0])
    if end == loop.max_iters:
        return
    by_epoch = not _by_iteration(loop) and not end % length
    unit, size = ('epoch', length) if by_epoch else ('iteration', 1)
    if end > loop.max_iters:
        rate = 'is still on its way then'
    else:
        goes_on = (scheduler.end * length if scheduler.by_epoch else scheduler.end) > end
        rate = 'turns back from there' if goes_on else 'stays where it is from then on'
    yield (
        f'{where}: the schedule ends after {unit} {end // size}, training after {unit} {loop.max_iters // size}: the '
        f'learning rate {rate}; to end both at once change the end of {where}.{index} ({type(scheduler).__name__}), '
        f'or the length of training in train_cfg'
    )


def _end_of(scheduler: Any) -> int | None:
    """The step at which a schedule has done all; None for one without an end, such as one of steps of equal size."""
    if getattr(scheduler, 'milestones', None):
        # what comes after the last milestone is meant to stay as it is
        return max(scheduler.milestones) if max(scheduler.milestones) > scheduler.end else None
    # a cosine that ends before it is over stays on its way, one that ends later rises again
    end = scheduler.begin + scheduler.T_max if getattr(scheduler, 'T_max', None) else scheduler.end
    return None if end >= INF else int(end)


def _validation_notes(runner: Any) -> Iterator[str]:
    loop = runner.train_loop
    unit, last = ('iteration', loop.max_iters) if _by_iteration(loop) else ('epoch', loop.max_epochs)
    never = runner.val_loop is None or getattr(loop, 'val_begin', 0) > last
    if not never:
        return
    why = (
        'the config has no val_dataloader'
        if runner.val_loop is None
        else f'train_cfg.val_begin={loop.val_begin} comes after the last {unit}, {last}'
    )
    for hook in runner.hooks:
        for option, name in _monitored(hook):
            raise ConfigError(f'{type(hook).__name__}.{option}={name!r} has no effect: nothing is validated, as {why}')
    if runner.val_loop is not None:
        yield f'Nothing is validated: {why}'


def _checkpoint_notes(runner: Any) -> Iterator[str]:
    loop = runner.train_loop
    for hook in runner.hooks:
        if not isinstance(hook, CheckpointHook) or hook.interval <= 0:
            continue
        if not hook.save_last and hook.interval > (loop.max_epochs if hook.by_epoch else loop.max_iters):
            yield f'{type(hook).__name__} saves nothing: interval={hook.interval} is longer than training'


def _seed_notes(runner: Any) -> Iterator[str]:
    for dataset in datasets_within(runner.train_dataloader.dataset):
        seed = getattr(dataset, 'seed', runner.seed)
        if seed != runner.seed and (runner.cfg.get('randomness') or {}).get('seed') is not None:
            name = getattr(dataset, 'ann_file', 'the training set')
            yield (
                f'Clips of {name} are augmented by dataset.seed={seed}, all else is drawn by randomness.seed='
                f'{runner.seed}; set train_dataloader.dataset.seed, too, for other augmentation'
            )
