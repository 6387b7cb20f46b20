"""Warnings and errors, before training starts, about settings without effect or with a surprising one.

A learning rate that has not decayed when training ends, a validation that never runs, a best checkpoint chosen by a
metric that nothing computes: training would run without complaint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import IterBasedTrainLoop

from mmav.engine.hooks.seed import datasets_within
from mmav.errors import ConfigError, did_you_mean


def all_schedulers(schedulers: Any) -> Iterator[Any]:
    """The schedulers of a runner, for one or several optimizers."""
    for part in schedulers.values() if isinstance(schedulers, Mapping) else [schedulers or []]:
        yield from part


def training_notes(runner: Any) -> Iterator[str]:
    """Notes to log before training.

    Args:
        runner: A runner whose loops, schedulers and hooks are built.

    Yields:
        A line for each setting that has no effect, or only part of it.

    Raises:
        ConfigError: Best checkpoints or early stopping are requested, but validation never runs.
    """
    schedulers = runner.param_schedulers
    by_name = schedulers if isinstance(schedulers, Mapping) else {'': schedulers or []}
    for name, each in by_name.items():
        yield from _schedule_notes(each, runner.train_loop, f'param_scheduler.{name}' if name else 'param_scheduler')
    yield from _validation_notes(runner)
    yield from _checkpoint_notes(runner)
    yield from _accumulation_notes(runner)
    yield from _seed_notes(runner)


def check_monitors(hooks: Iterable[Any], metrics: Mapping[str, Any]) -> None:
    """Refuses hooks that monitor a metric that validation does not compute.

    Raises:
        ConfigError: The metric is not in ``metrics``.
    """
    for hook in hooks:
        for option, name in _monitored(hook):
            if name != 'auto' and name not in metrics:
                hint = did_you_mean(name, metrics) or f'; it computes {", ".join(metrics) or "nothing"}'
                raise ConfigError(f'{type(hook).__name__}.{option}={name!r}: validation computes no such metric{hint}')


def _monitored(hook: Any) -> list[tuple[str, str]]:
    if isinstance(hook, EarlyStoppingHook):
        return [('monitor', hook.monitor)]
    if isinstance(hook, CheckpointHook) and hook.save_best:
        return [('save_best', name) for name in hook.key_indicators]
    return []


def _by_iteration(loop: Any) -> bool:
    return isinstance(loop, IterBasedTrainLoop)


def _schedule_notes(schedulers: Iterable[Any], loop: Any, where: str) -> Iterator[str]:
    """Compares the end of a schedule with that of training."""
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
    """The last step at which a schedule changes anything; None for an endless one, such as StepLR."""
    if getattr(scheduler, 'milestones', None):
        # after the last milestone the rate is meant to stay constant
        return max(scheduler.milestones) if max(scheduler.milestones) > scheduler.end else None
    # a cosine that is cut short has not decayed, one that runs on rises again
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


def _accumulation_notes(runner: Any) -> Iterator[str]:
    """Gradients of an unfinished cycle are not saved."""
    cycle = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
    lost = f'no multiple of accumulative_counts={cycle}: a run that is resumed there loses the gradients of that cycle'
    length = len(runner.train_loop.dataloader)
    if not _by_iteration(runner.train_loop) and length % cycle:
        yield f'An epoch has {length} iterations, {lost}'
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and not hook.by_epoch and hook.interval > 0 and hook.interval % cycle:
            yield f'A checkpoint is saved every {hook.interval} iterations, {lost}'


def _seed_notes(runner: Any) -> Iterator[str]:
    for dataset in datasets_within(runner.train_dataloader.dataset):
        seed = getattr(dataset, 'seed', runner.seed)
        if seed != runner.seed and (runner.cfg.get('randomness') or {}).get('seed') is not None:
            name = getattr(dataset, 'ann_file', 'the training set')
            yield (
                f'Clips of {name} are augmented by seed {seed}, as its config or the checkpoint says, and all else is '
                f'drawn by randomness.seed={runner.seed}: leave dataset.seed out to have one seed'
            )
