"""What a resumed run takes from its checkpoint and what from its config, and what cannot be resumed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from mmav.engine.distributed.fsdp import is_spread, spread_optimizer_state
from mmav.engine.hooks.seed import seed_datasets
from mmav.engine.optim.param_groups import regroup
from mmav.engine.optim.saved_state import follow_options, options_of, require_same_optimizer
from mmav.engine.optim.schedule_check import all_schedulers
from mmav.engine.precision import Numbers
from mmav.errors import CheckpointError


@dataclass
class Resumed:
    """What :func:`settle` needs after MMEngine has resumed from a checkpoint.

    Attributes:
        filename: The checkpoint.
        meta: Its ``meta``.
        options: The optimizer's options in the config.
        schedules: The schedules in the config.
        saved: The state of the schedules in the checkpoint.
    """

    filename: str
    meta: Mapping[str, Any]
    options: list[dict[str, Any]]
    schedules: list[dict]
    saved: Any


def require_whole(checkpoint: Mapping[str, Any], filename: str) -> None:
    """Refuses to resume from weights alone.

    Raises:
        CheckpointError: The checkpoint holds no training state.
    """
    if not {'meta', 'message_hub', 'optimizer'} <= checkpoint.keys():
        raise CheckpointError(
            f"'{filename}' holds weights only and cannot be resumed from: set load_from='{filename}' in the config"
        )


def prepare(runner: Any, checkpoint: dict[str, Any], filename: str) -> Resumed:
    """Makes a checkpoint fit the optimizer of the config before MMEngine loads it; changes ``checkpoint``.

    Args:
        runner: The runner; its optimizer is built here if necessary.
        checkpoint: A training checkpoint.
        filename: Its file.

    Raises:
        CheckpointError: The state does not belong to the config's optimizer, see :func:`require_same_optimizer`.
    """
    meta = checkpoint['meta']
    meta.pop('config', None)  # MMEngine would run this text as Python
    wrapper = runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    resumed = Resumed(
        filename, meta, options_of(wrapper), getattr(runner, 'schedules', []), checkpoint.get('param_schedulers')
    )
    regroup(checkpoint, wrapper, runner.plain_model)
    require_same_optimizer(checkpoint, wrapper, runner.plain_model, filename)
    if note := drop_average(checkpoint, runner.hooks, filename):
        runner.logger.warning(note)
    if is_spread(runner.model):
        spread_optimizer_state(checkpoint['optimizer'], wrapper.optimizer)
    return resumed


def settle(runner: Any, resumed: Resumed, *, optimizer: bool, schedule: bool) -> None:
    """Makes a run that MMEngine has resumed follow its config and continue where it stopped.

    Args:
        runner: The runner.
        resumed: What :func:`prepare` returned.
        optimizer: Whether the optimizer was resumed.
        schedule: Whether the schedules were.
    """
    filename, meta = resumed.filename, resumed.meta
    if optimizer:
        follow_options(runner, resumed.options, filename)
    if note := other_numbers(meta, runner.numbers, filename):
        runner.logger.warning(note)
    # earlier versions always augmented with seed 0
    runner.data_seed = meta.get('data_seed', 0)
    seed_datasets(runner.train_dataloader, runner.data_seed)
    go_on_in_round(runner, meta, filename)
    if schedule:
        follow_schedule(runner, resumed.schedules, resumed.saved)
    for unit, done, last in (('epoch', runner.epoch, runner.max_epochs), ('iteration', runner.iter, runner.max_iters)):
        if done >= last:
            runner.logger.info(f'{filename} is at {unit} {done} of {last}: nothing is left to train')
            break


def other_numbers(meta: Mapping[str, Any], numbers: Numbers, filename: str) -> str | None:
    """Describes a run that continues in another precision than its checkpoint, for example on another GPU.

    Weights and optimizer state are always float32. float16 has a loss scale; if the checkpoint has none, it starts from
    the initial value.

    Args:
        meta: ``meta`` of the checkpoint.
        numbers: Precision of this run.
        filename: The checkpoint.

    Returns:
        A line for the log; None if the precision is the same or unknown.
    """
    before, now = meta.get('numbers'), numbers.amp or 'float32'
    if before in (None, now):
        return None
    scale = '; the loss scale is reset' if now == 'float16' else ''
    return f'{filename} was trained in {before}: the run continues in {now}{scale}'


def schedules(schedulers: Any) -> list[dict]:
    """The settings of each schedule, without its progress."""
    changing = ('last_step', '_global_step', '_last_value', 'verbose')
    return [
        {key: value for key, value in scheduler.state_dict().items() if key not in changing}
        for scheduler in all_schedulers(schedulers)
    ]


def follow_schedule(runner: Runner, fresh: list[dict], saved: Any) -> None:
    """Follows the config's schedule if it differs from the checkpoint's.

    MMEngine continues the checkpoint's schedule, whose rate is constant after its end; if the checkpoint has no
    schedule, or fewer parts, it starts the config's at step 0.

    Args:
        runner: The runner, with loaded schedulers.
        fresh: What :func:`schedules` returned before loading.
        saved: Their state in the checkpoint.
    """
    schedulers = runner.param_schedulers
    if not isinstance(schedulers, list) or not schedulers:
        return
    number = len(saved) if isinstance(saved, (list, tuple)) else 0
    if schedules(schedulers) == fresh and number == len(schedulers):
        return
    groups = runner.optim_wrapper.param_groups
    for group, base in zip(groups, fresh[0]['base_values'], strict=False):
        group['lr'] = group['initial_lr'] = base
    with warnings.catch_warnings():
        # it warns about steps of the schedule before any step of the optimizer
        warnings.simplefilter('ignore', UserWarning)
        built = runner.build_param_scheduler(runner.cfg.param_scheduler)
        runner.param_schedulers = built
        for by_epoch, done in ((False, runner.iter), (True, runner.epoch)):
            parts = [scheduler for scheduler in all_schedulers(built) if scheduler.by_epoch == by_epoch]
            for _ in range(done if parts else 0):
                for scheduler in parts:
                    scheduler.step()
    runner.logger.warning(
        "The learning rate schedule differs from the checkpoint's: training continues with the new one after "
        f'{runner.iter} steps, at {groups[0]["lr"]:.3g}'
    )


def go_on_in_round(runner: Runner, meta: Mapping[str, Any], filename: str) -> None:
    """Moves the training loop to the position in a pass over the data at which a checkpoint was saved.

    Args:
        runner: The runner.
        meta: ``meta`` of the checkpoint.
        filename: The checkpoint.

    Raises:
        CheckpointError: It was saved in mid-epoch, and the order of clips is another one now.
    """
    loop = runner.train_loop
    go_on_after = getattr(loop, 'go_on_after', None)
    if go_on_after is None:
        return
    now = loop.clips_per_batch
    batches, clips = meta.get('batches_done', 0), meta.get('clips_per_batch') or now
    if batches:
        _require_same_order(meta.get('order'), loop.order, filename)
    if now != clips and batches:
        runner.logger.warning(
            f'{filename} was saved after {batches} batches of {clips} clips, but batches now have {now}: training '
            f'continues after {batches * clips // now} of these'
        )
    if not loop.by_iterations:
        # the checkpoint may come from training by iterations, which has one epoch
        loop._epoch = meta.get('rounds', loop._epoch)
        go_on_after(batches * clips // now)
    elif 'rounds' in meta or 'batches_done' in meta:
        go_on_after(batches * clips // now, rounds=meta.get('rounds', loop._epoch))
        loop._epoch = 0
    else:
        # saved at the end of an epoch, or by an earlier version, which counted batches from the first iteration
        epochs, loop._epoch = loop._epoch, 0
        go_on_after(0 if epochs else loop._iter, rounds=epochs)


def _require_same_order(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None, filename: str) -> None:
    if before == now:
        return
    one, two = ('another sampler' if order is None else _in_words(order) for order in (before, now))
    raise CheckpointError(
        f"'{filename}' was saved in mid-epoch, and ShardSampler orders clips by what has changed: {one} before, {two} "
        'now; resume with the same (train_dataloader.sampler.num_workers=N keeps the order for other workers), or from '
        'the checkpoint of an epoch'
    )


def _in_words(order: Mapping[str, Any]) -> str:
    return ', '.join(f'{name}={value}' for name, value in order.items())


def drop_average(checkpoint: dict[str, Any], hooks: Iterable[Any], filename: str) -> str | None:
    """Replaces averaged weights with the trained ones if the run no longer has an EMAHook; changes ``checkpoint``.

    ``state_dict`` holds the average, but the optimizer's state belongs to the trained weights.

    Args:
        checkpoint: A training checkpoint.
        hooks: The runner's hooks.
        filename: The checkpoint.

    Returns:
        A line for the log; None if nothing was replaced.
    """
    if 'ema_state_dict' not in checkpoint or any(isinstance(hook, EMAHook) for hook in hooks):
        return None
    trained = checkpoint['ema_state_dict']
    prefix = 'module.'
    state = checkpoint['state_dict']
    state.update({key.removeprefix(prefix): value for key, value in trained.items() if key.startswith(prefix)})
    return (
        f'{filename} has averaged and trained weights: training continues with the trained ones, as the config has no '
        'EMAHook'
    )
