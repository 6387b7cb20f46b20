"""The saved state of an optimizer: what it belongs to, and which options it continues with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.runner import Runner
from torch import Tensor, nn

from mmav.adapting import noted_grids, position_grids
from mmav.errors import CheckpointError

# options of parameter groups that say nothing about the optimizer's kind
_BOOKKEEPING = {
    *('params', 'param_names', 'lr', 'initial_lr', 'lr_mult', 'decay_mult', 'decoupled_weight_decay'),
    *('foreach', 'fused', 'capturable', 'differentiable', 'maximize'),
}
# options that change which state the optimizer keeps
_OF_THE_STATE = ('amsgrad', 'centered')
# state with the shape of its parameter, in torch.optim
_LIKE_PARAMETER = ('exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer', 'square_avg', 'acc_delta', 'sum')


def optimizer_kind(optim_wrapper: Any) -> str | None:
    """Class name of the optimizer; None for several optimizers."""
    optimizer = getattr(optim_wrapper, 'optimizer', None)
    return None if optimizer is None else type(optimizer).__name__


def options_of(optim_wrapper: Any) -> list[dict[str, Any]]:
    """The options of each group of the optimizer, such as its weight decay; empty for several optimizers."""
    optimizer = getattr(optim_wrapper, 'optimizer', None)
    return [] if optimizer is None else [_options(group) for group in optimizer.param_groups]


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in ('params', 'param_names')}


def parameter_names(optim_wrapper: Any, model: nn.Module) -> list[str]:
    """Names of the optimizer's parameters in the order of its state; empty for several optimizers."""
    optimizer = getattr(optim_wrapper, 'optimizer', None)
    if optimizer is None:
        return []
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names.get(id(parameter), '?') for group in optimizer.param_groups for parameter in group['params']]


def require_same_optimizer(checkpoint: Mapping[str, Any], optim_wrapper: Any, model: nn.Module, filename: str) -> None:
    """Refuses the state of another optimizer, which torch may accept only to fail at the first step.

    Args:
        checkpoint: A training checkpoint.
        optim_wrapper: The wrapper the state is loaded into.
        model: The model whose parameters it updates.
        filename: The checkpoint.

    Raises:
        CheckpointError: The optimizer is of another kind, has other parameters, for example after freezing, or other
            parameters of the same shape, such as positions of another grid.
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
        if tuple(own.get(name, grid)) != grid:  # as many cells, in another order
            was, now = (' x '.join(map(str, each)) for each in (grid, own[name]))
            raise CheckpointError(remedy.format(f'its {name} is a grid of {was}, but this config has {now}'))
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
    """Whether groups belong to optimizers of different kinds, judging by the names of their options."""
    kinds = [{key for group in of for key in group if key not in _BOOKKEEPING} for of in (groups, saved)]
    return kinds[0] != kinds[1]


def follow_options(runner: Runner, wanted: list[dict[str, Any]], filename: str) -> None:
    """Replaces the checkpoint's optimizer options that differ from the config's, and logs it.

    The learning rate comes from the schedule; without a schedule it comes from the config, too.

    Args:
        runner: The runner, whose optimizer has been loaded.
        wanted: What :func:`options_of` returned before loading.
        filename: The checkpoint.

    Raises:
        CheckpointError: The saved state does not fit the config's options.
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
        text = ', '.join(f'{key} {new} instead of {old}' for key, (old, new) in changed.items())
        runner.logger.warning(f'The optimizer continues with the options of the config, not of {filename}: {text}')


def _equal(one: Any, two: Any) -> bool:
    sequences = (list, tuple)
    return list(one) == list(two) if isinstance(one, sequences) and isinstance(two, sequences) else one == two
