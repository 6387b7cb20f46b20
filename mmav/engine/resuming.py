"""What a resumed run takes over from its checkpoint, what from its config, and what cannot be gone on with."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmav.adapting import noted_grids, position_grids
from mmav.engine.precision import Numbers
from mmav.errors import CheckpointError

# Entries of an optimizer's groups that do not say what it is.
_BOOKKEEPING = {
    *('params', 'param_names', 'lr', 'initial_lr', 'lr_mult', 'decay_mult', 'decoupled_weight_decay'),
    *('foreach', 'fused', 'capturable', 'differentiable', 'maximize'),
}
# With another of these the optimizer keeps other state.
_OF_THE_STATE = ('amsgrad', 'centered')
# State of an optimizer that has the shape of its parameter, in torch.optim.
_LIKE_PARAMETER = ('exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer', 'square_avg', 'acc_delta', 'sum')


def optimizer_kind(optim_wrapper: Any) -> str | None:
    """Name of an optimizer's class; None of several optimizers."""
    optimizer = getattr(optim_wrapper, 'optimizer', None)
    return None if optimizer is None else type(optimizer).__name__


def options_of(optim_wrapper: Any) -> list[dict[str, Any]]:
    """The options of each group of an optimizer, such as its weight decay; none of several optimizers."""
    optimizer = getattr(optim_wrapper, 'optimizer', None)
    return [] if optimizer is None else [_options(group) for group in optimizer.param_groups]


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in ('params', 'param_names')}


def parameter_names(optim_wrapper: Any, model: nn.Module) -> list[str]:
    """Names of an optimizer's parameters in the order of its state; none of several optimizers."""
    optimizer = getattr(optim_wrapper, 'optimizer', None)
    if optimizer is None:
        return []
    plain: Any = model.module if is_model_wrapper(model) else model
    names = {id(parameter): name for name, parameter in plain.named_parameters()}
    return [names.get(id(parameter), '?') for group in optimizer.param_groups for parameter in group['params']]


def require_same_optimizer(checkpoint: Mapping[str, Any], optim_wrapper: Any, model: nn.Module, filename: str) -> None:
    """Refuses to put the state of one optimizer into another, which torch may do and fail at the first step.

    Args:
        checkpoint: Of a training.
        optim_wrapper: The wrapper that its optimizer's state is to be loaded into.
        model: Whose parameters it updates.
        filename: The checkpoint's.

    Raises:
        CheckpointError: The optimizer is of another kind, or has other parameters, as after freezing, or others of the
            same shape, as positions of another grid.
    """
    optimizer = getattr(optim_wrapper, 'optimizer', None)
    saved = checkpoint['optimizer'].get('param_groups')
    if optimizer is None or saved is None:
        return
    groups = optimizer.param_groups
    kind = optimizer_kind(optim_wrapper)
    saved_kind = checkpoint['meta'].get('optimizer_kind') or ('another optimizer' if _differ(groups, saved) else kind)
    sizes, saved_sizes = ([len(group['params']) for group in of] for of in (groups, saved))
    remedy = (
        f"'{filename}' cannot be resumed: {{}}; to train on from its weights alone, with a new optimizer, leave "
        f"--resume out and set load_from='{filename}'"
    )
    if saved_kind != kind or saved_sizes != sizes:
        was, now = _described(saved_kind, saved_sizes), _described(kind, sizes)
        raise CheckpointError(remedy.format(f'it was trained by {was}, this config has {now}'))
    names, saved_names = parameter_names(optim_wrapper, model), checkpoint['meta'].get('optimizer_parameters') or []
    for name, saved_name in zip(names, saved_names, strict=False):
        if name != saved_name:
            raise CheckpointError(remedy.format(f'its optimizer has {saved_name} where this config has {name}'))
    own = position_grids(model)
    for name, grid in noted_grids(checkpoint).items():
        if tuple(own.get(name, grid)) != grid:  # it may have as many cells, whose order is another
            was, now = (' x '.join(map(str, each)) for each in (grid, own[name]))
            raise CheckpointError(remedy.format(f'its {name} is a grid of {was}, that of this config of {now}'))
    parameters = [parameter for group in groups for parameter in group['params']]
    places = [place for group in saved for place in group['params']]
    for parameter, place in zip(parameters, places, strict=True):
        for key, value in checkpoint['optimizer']['state'].get(place, {}).items():
            if key in _LIKE_PARAMETER and isinstance(value, Tensor) and value.shape != parameter.shape:
                raise CheckpointError(
                    remedy.format(
                        f'its optimizer knows a parameter of shape {tuple(value.shape)} where this config trains one '
                        f'of shape {tuple(parameter.shape)}'
                    )
                )


def _described(kind: str | None, sizes: list[int]) -> str:
    groups = f'groups of {", ".join(map(str, sizes))}' if len(sizes) < 5 else f'{len(sizes)} groups'
    return f'{kind} over {sum(sizes)} parameter{"s" * (sum(sizes) != 1)} ({groups})'


def _differ(groups: Iterable[Mapping[str, Any]], saved: Iterable[Mapping[str, Any]]) -> bool:
    """Whether groups belong to optimizers of two kinds, by what their options are called."""
    kinds = [{key for group in of for key in group if key not in _BOOKKEEPING} for of in (groups, saved)]
    return kinds[0] != kinds[1]


def follow_options(runner: Runner, wanted: list[dict[str, Any]], filename: str) -> None:
    """Gives the optimizer the options of the config where they are others than those of the checkpoint, and says so.

    The learning rate is the schedule's, see :func:`follow_schedule`; without one it is the config's, too.

    Args:
        runner: The runner, whose optimizer has been loaded.
        wanted: What :func:`options_of` told of the optimizer before.
        filename: The checkpoint.

    Raises:
        CheckpointError: The optimizer's state is that of other options.
    """
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    if optimizer is None:
        return
    rate = () if runner.param_schedulers else ('lr',)
    changed: dict[str, tuple[Any, Any]] = {}
    for group, options in zip(optimizer.param_groups, wanted, strict=True):
        for key, value in options.items():
            if (key in _BOOKKEEPING and key not in rate) or _equal(group.get(key), value):
                continue
            if key in _OF_THE_STATE:
                raise CheckpointError(
                    f"'{filename}' cannot be resumed with {key}={value}: it was trained with {group.get(key)}; set "
                    f"load_from='{filename}' to train on from its weights alone"
                )
            changed.setdefault(key, (group.get(key), value))
            group[key] = value
    if changed:
        text = ', '.join(f'{key} {new} in place of {old}' for key, (old, new) in changed.items())
        runner.logger.warning(f'The optimizer goes on with what the config says, not {filename}: {text}')


def other_numbers(meta: Mapping[str, Any], numbers: Numbers, filename: str) -> str | None:
    """What to say of a run that goes on in other numbers than its checkpoint's, as on another kind of GPU.

    Weights and the optimizer's state are in float32 in any case. float16 brings the scale of its loss along, and where
    the checkpoint has none, it begins anew.

    Args:
        meta: Of the checkpoint.
        numbers: Of this run.
        filename: The checkpoint.

    Returns:
        A line for the log; None where the numbers are the same, or the checkpoint does not tell.
    """
    before, now = meta.get('numbers'), numbers.amp or 'float32'
    if before in (None, now):
        return None
    scale = '; the scale of its loss begins anew' if now == 'float16' else ''
    return f'{filename} was trained in {before}: the run goes on in {now}{scale}'


def _equal(one: Any, two: Any) -> bool:
    sequences = (list, tuple)
    return list(one) == list(two) if isinstance(one, sequences) and isinstance(two, sequences) else one == two


def schedules(schedulers: Any) -> list[dict]:
    """What decides each schedule, without how far it has come."""
    changing = ('last_step', '_global_step', '_last_value', 'verbose')
    return [
        {key: value for key, value in scheduler.state_dict().items() if key not in changing}
        for scheduler in flat(schedulers)
    ]


def flat(schedulers: Any) -> Iterator[Any]:
    """The schedulers of a runner one after the other, be they of one optimizer or of several."""
    for part in schedulers.values() if isinstance(schedulers, dict) else [schedulers or []]:
        yield from part


def follow_schedule(runner: Runner, fresh: list[dict], saved: Any) -> None:
    """Puts the learning rate where the config's schedule has it, if that is another than the checkpoint's.

    MMEngine goes on with the checkpoint's, whose rate stays where it was once its end is reached; and where the
    checkpoint has no schedule, or fewer parts of one, it begins anew.

    Args:
        runner: The runner, whose schedulers have been loaded.
        fresh: What :func:`schedules` told of them before.
        saved: What the checkpoint has of them.
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
        # of steps of the schedule before any of the optimizer
        warnings.simplefilter('ignore', UserWarning)
        built = runner.build_param_scheduler(runner.cfg.param_scheduler)
        runner.param_schedulers = built
        for by_epoch, done in ((False, runner.iter), (True, runner.epoch)):
            parts = [scheduler for scheduler in flat(built) if scheduler.by_epoch == by_epoch]
            for _ in range(done if parts else 0):
                for scheduler in parts:
                    scheduler.step()
    runner.logger.warning(
        'The schedule of the learning rate is not that of the checkpoint: training goes on where the new one has it '
        f'after {runner.iter} steps, at {groups[0]["lr"]:.3g}'
    )


def go_on_in_round(runner: Runner, meta: Mapping[str, Any], filename: str) -> None:
    """Tells the loop of training where in a round over the data a checkpoint was saved.

    Args:
        runner: The runner.
        meta: Of the checkpoint.
        filename: The checkpoint.
    """
    loop = runner.train_loop
    go_on_after = getattr(loop, 'go_on_after', None)
    if go_on_after is None:
        return
    now = loop.clips_per_batch
    batches, clips = meta.get('batches_done', 0), meta.get('clips_per_batch') or now
    if now != clips and batches:
        runner.logger.warning(
            f'{filename} was saved after {batches} batches of {clips} clips, a batch has {now} now: training goes on '
            f'after {batches * clips // now} of these'
        )
    if not loop.by_iterations:
        # Of a training by iterations, for which all is one epoch.
        loop._epoch = meta.get('rounds', loop._epoch)
        go_on_after(batches * clips // now)
    elif 'rounds' in meta or 'batches_done' in meta:
        go_on_after(batches * clips // now, rounds=meta.get('rounds', loop._epoch))
        loop._epoch = 0
    else:
        # Saved at the end of an epoch, or by an earlier version, which read on from the first iteration.
        epochs, loop._epoch = loop._epoch, 0
        go_on_after(0 if epochs else loop._iter, rounds=epochs)


def drop_average(checkpoint: dict[str, Any], hooks: Iterable[Any], filename: str) -> str | None:
    """Puts the weights that were trained in the place of their average where nothing averages any more.

    ``state_dict`` holds the average, the optimizer's state belongs to the others; changes ``checkpoint``.

    Args:
        checkpoint: Of a training.
        hooks: The runner's.
        filename: The checkpoint.

    Returns:
        What was done, for the log; None where nothing was.
    """
    if 'ema_state_dict' not in checkpoint or any(isinstance(hook, EMAHook) for hook in hooks):
        return None
    trained = checkpoint['ema_state_dict']
    prefix = 'module.'
    state = checkpoint['state_dict']
    state.update({key.removeprefix(prefix): value for key, value in trained.items() if key.startswith(prefix)})
    return (
        f'{filename} has averaged weights beside those that were trained: training goes on with the latter, as the '
        'config has no EMAHook'
    )
