"""One parameter group for all trained parameters with equal options, so that the optimizer updates them together."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor as MMEngineConstructor
from torch import nn

from mmav.errors import ConfigError, did_you_mean
from mmav.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS

# parts of a model whose learning rate has a factor of its own in paramwise_cfg
RATED_PARTS = ('head', 'neck')


class PlainConstructor(MMEngineConstructor):
    """MMEngine's default constructor, but with parameter groups that are plain dicts, of what trains only.

    MMEngine puts the groups into the config's dict, which turns each into a ConfigDict that the optimizer keeps:
    ``torch.compile`` and other code that inspects an optimizer only support dicts. Without ``paramwise_cfg`` it gives
    the optimizer all parameters; here those that ``freeze`` or the model itself fixed are left out.

    In addition to MMEngine's options, ``paramwise_cfg`` takes

    * ``token_decay_mult``, a factor for the weight decay of learned tokens and position tables. The parts of the model
      list these with ``no_weight_decay()``, as :class:`mmav.models.Backbone`, necks and heads have it.
    * ``head_lr_mult`` and ``neck_lr_mult``, factors for the learning rates of ``head`` and ``neck``, which are new
      where the encoders are pretrained (YuanGongND/cav-mae, src/run_cavmae_ft.py, ``--head_lr``).

    Like MMEngine's other factors, they yield to ``custom_keys``.

    Args:
        optim_wrapper_cfg: The config's ``optim_wrapper``.
        paramwise_cfg: See MMEngine's constructor.

    Raises:
        ConfigError: ``token_decay_mult`` is given without weight decay, or a rate's factor is not above 0; and when it
            is called, if nothing trains, or a custom key or a factor is for no parameter that does.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(_with_default_decay(optim_wrapper_cfg), paramwise_cfg)
        self.optimizer_cfg: dict = plain(self.optimizer_cfg)
        self.paramwise_cfg: dict = dict(paramwise_cfg or {})
        self.token_decay_mult: float | None = self.paramwise_cfg.get('token_decay_mult')
        if self.token_decay_mult is not None and self.base_wd is None:
            raise ConfigError(
                f'paramwise_cfg.token_decay_mult={self.token_decay_mult:g} has no effect without weight decay: give '
                'optim_wrapper.optimizer.weight_decay, or leave it out'
            )
        self.rate_factors: dict[str, float] = {
            part: self.paramwise_cfg[f'{part}_lr_mult']
            for part in RATED_PARTS
            if self.paramwise_cfg.get(f'{part}_lr_mult') is not None
        }
        for part, factor in self.rate_factors.items():
            if type(factor) not in (int, float) or not 0 < factor < math.inf:
                raise ConfigError(f'paramwise_cfg.{part}_lr_mult={factor!r}: give a factor above 0, such as 10')
            if self.base_lr is None:
                raise ConfigError(f'paramwise_cfg.{part}_lr_mult needs optim_wrapper.optimizer.lr')

    def __call__(self, model: nn.Module) -> Any:
        """Builds the optimizer wrapper for what trains of a model, wrapped for distribution or not."""
        parameters = list(model.parameters())
        if not any(parameter.requires_grad for parameter in parameters):
            raise ConfigError('nothing of the model trains, everything is frozen: leave a freeze out')
        if not self.paramwise_cfg and not all(parameter.requires_grad for parameter in parameters):
            self.paramwise_cfg = dict(custom_keys={})  # otherwise MMEngine does not ask what trains
        return super().__call__(model)

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any) -> None:
        """Adds the parameters of a module and its submodules, with their options, to the parameter groups."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix:  # MMEngine calls this for each submodule: act once, at the end
            return
        self._tell_custom_keys(module)
        for part, factor in self.rate_factors.items():
            self._scale_rate(params, module, part, factor)
        if self.token_decay_mult is None:
            return
        custom = self.paramwise_cfg.get('custom_keys', {})
        tokens = {
            id(parameter): name
            for name, parameter in undecayed_parameters(module).items()
            if not any(key in name for key in custom)
        }
        for group in params:
            if id(group['params'][0]) in tokens:
                group['weight_decay'] = self.base_wd * self.token_decay_mult
        print_log(
            f'token_decay_mult={self.token_decay_mult:g}: {len(tokens)} tokens and tables of positions of '
            f'{_parts_of(tokens.values())}',
            'current',
        )

    def _scale_rate(self, params: list[dict], model: nn.Module, part: str, factor: float) -> None:
        """Multiplies the learning rates of a part of the model, except for parameters that a custom key names."""
        named = {name: p for name, p in model.named_parameters() if name.startswith(f'{part}.')}
        trained = {name: p for name, p in named.items() if p.requires_grad}
        custom = self.paramwise_cfg.get('custom_keys', {})
        own = {id(p) for name, p in trained.items() if not any(key in name for key in custom)}
        if not own:
            why = 'a custom key names each of its parameters' if trained else 'all of it is frozen'
            why = why if named else f'the {part} of this model has no parameters'
            raise ConfigError(f'paramwise_cfg.{part}_lr_mult={factor:g} has no effect: {why}; leave it out')
        rate: float = self.base_lr
        for group in params:
            if id(group['params'][0]) in own:
                group['lr'] = group.get('lr', rate) * factor
        print_log(
            f'{part}_lr_mult={factor:g}: {len(own)} parameters of {part} learn at {rate * factor:.2e}, '
            f'{factor:g} times the rate',
            'current',
        )

    def _tell_custom_keys(self, model: nn.Module) -> None:
        """Logs what the custom keys name, the longest key that fits a parameter as in MMEngine."""
        custom = self.paramwise_cfg.get('custom_keys', {})
        every = dict(model.named_parameters())
        for key, options in custom.items():
            named = [name for name in every if key in name]
            trained = [name for name in named if every[name].requires_grad]
            longer = [name for name in custom if (-len(name), name) < (-len(key), key)]
            own = [name for name in trained if not any(other in name for other in longer)]
            if not own:
                words = dict.fromkeys(word for name in every for word in name.split('.'))
                why = 'a longer key names each of its parameters' if trained else 'all that it names is frozen'
                why = why if named else f'no parameter has it in its name{did_you_mean(key.strip("."), words)}'
                raise ConfigError(f'paramwise_cfg.custom_keys: {key!r} has no effect: {why}')
            factors = ', '.join(f'{option}={value}' for option, value in options.items())
            print_log(f'custom_keys: {key!r} ({factors}): {len(own)} parameters of {_parts_of(own)}', 'current')


def _parts_of(names: Iterable[str]) -> str:
    """The parts of a model that parameters are of, such as 'backbones.video, head'."""
    parts = dict.fromkeys('.'.join(name.split('.')[: 1 + name.startswith('backbones.')]) for name in names)
    return ', '.join(parts) or 'no part'


def undecayed_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that parts of a model list with ``no_weight_decay()``: name in the model -> parameter."""
    named = {
        f'{prefix}.{name}' if prefix else name
        for prefix, part in model.named_modules()
        if callable(getattr(part, 'no_weight_decay', None))
        for name in part.no_weight_decay()
    }
    return {name: parameter for name, parameter in model.named_parameters() if name in named}


def _with_default_decay(optim_wrapper_cfg: dict) -> dict:
    """Writes out an optimizer's default weight decay, as MMEngine applies its factors only to an explicit one."""
    optimizer = optim_wrapper_cfg.get('optimizer')
    kind = optimizer.get('type') if isinstance(optimizer, dict) else None
    kind = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
    decay = inspect.signature(kind).parameters.get('weight_decay') if callable(kind) else None
    if decay is None or decay.default is decay.empty:
        return optim_wrapper_cfg
    return {**optim_wrapper_cfg, 'optimizer': {'weight_decay': decay.default, **optimizer}}  # type: ignore[dict-item]


def plain(value: Any) -> Any:
    """Replaces ConfigDicts with dicts, recursively.

    >>> from mmengine.config import ConfigDict
    >>> type(plain([ConfigDict(lr=0.1)])[0]).__name__
    'dict'
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return type(value)(plain(item) for item in value) if type(value) in (list, tuple) else value


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DefaultOptimWrapperConstructor(PlainConstructor):
    """MMEngine's constructor of this name, but with one group for all parameters with equal options.

    With ``paramwise_cfg`` MMEngine creates a group for each parameter, so the optimizer updates them one by one: an
    AdamW step of the small MMT with ``fused=True`` then takes 5 times as long (docs/training.md). The updates are the
    same.

    Args:
        optim_wrapper_cfg: The config's ``optim_wrapper``.
        paramwise_cfg: See MMEngine's constructor.
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any) -> None:
        """Adds the parameters of a module and its submodules, with their options, to the parameter groups."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix:  # MMEngine calls this for each submodule: act once, at the end
            return
        base = dict(lr=self.base_lr, weight_decay=self.base_wd)
        base = {name: value for name, value in base.items() if value is not None}
        params[:] = merged({**base, **group} for group in params)


def merged(groups: Iterable[dict]) -> list[dict]:
    """Joins groups with equal options, in the order of their first parameters.

    >>> merged([dict(params=['a'], lr=1.0), dict(params=['b'], lr=0.5), dict(params=['c'], lr=1.0)])
    [{'params': ['a', 'c'], 'lr': 1.0}, {'params': ['b'], 'lr': 0.5}]
    """
    joined: dict[tuple, dict] = {}
    for group in groups:
        # MMEngine leaves the factors of custom_keys in the group after it has applied them
        options = {key: value for key, value in group.items() if key not in ('params', 'lr_mult', 'decay_mult')}
        key = tuple(sorted((name, repr(value)) for name, value in options.items()))
        joined.setdefault(key, dict(params=[], **options))['params'] += group['params']
    return list(joined.values())


def regroup(checkpoint: dict[str, Any], optim_wrapper: Any, model: nn.Module) -> None:
    """Converts a checkpoint with one group per parameter to the groups of an optimizer; changes ``checkpoint``.

    Old checkpoints, written before equal options shared a group, have such groups. Rearranges the optimizer's state and
    the schedules' values; does nothing if the number of groups already matches or the groups do not fit.

    Args:
        checkpoint: Has ``optimizer`` and, if there are schedules, ``param_schedulers``.
        optim_wrapper: The wrapper it is loaded into.
        model: The model; the groups of the checkpoint follow the order of its parameters.
    """
    groups = getattr(getattr(optim_wrapper, 'optimizer', None), 'param_groups', None)
    saved = checkpoint['optimizer'].get('param_groups')
    order = {id(p): i for i, p in enumerate(p for p in model.parameters() if p.requires_grad)}
    if groups is None or saved is None or len(groups) == len(saved) or len(saved) != len(order):
        return
    if any(len(group['params']) != 1 for group in saved):
        return
    state = checkpoint['optimizer']['state']
    old = [[order[id(p)] for p in group['params']] for group in groups]  # indices in the checkpoint, by our groups
    flat = [place for places in old for place in places]
    new_groups: list[dict[str, Any]] = []
    for places in old:
        start = sum(len(group['params']) for group in new_groups)
        new_groups.append({**saved[places[0]], 'params': list(range(start, start + len(places)))})
    checkpoint['optimizer'] = {
        **checkpoint['optimizer'],
        'state': {new: state[place] for new, place in enumerate(flat) if place in state},
        'param_groups': new_groups,
    }
    chosen = [places[0] for places in old]
    # with several groups, MMEngine also schedules a value that belongs to none of them
    if len(groups) > 1:
        chosen.append(len(saved))
    else:
        checkpoint['optimizer'].pop('base_param_settings', None)
    schedulers = checkpoint.get('param_schedulers') or []
    for scheduler in schedulers if isinstance(schedulers, list) else [s for many in schedulers.values() for s in many]:
        for name in ('base_values', '_last_value'):
            if len(scheduler.get(name) or ()) == len(saved) + 1:
                scheduler[name] = [scheduler[name][place] for place in chosen]
