"""What hooks that change the gradients of encoders share: whose parameters they are, and when the step is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from mmav.engine.distributed.fsdp import is_spread
from mmav.engine.hooks.progressive_unfreeze import ProgressiveUnfreezeHook
from mmav.errors import ConfigError
from mmav.models import UnimodalHeads


def backbones_of(runner: Any, who: str) -> nn.ModuleDict:
    """The encoders of a model that has several, modality name -> encoder.

    Args:
        runner: The runner.
        who: Class name of the hook that asks.

    Raises:
        ConfigError: The model has no encoders, or a single one; or the run has two such hooks.
    """
    backbones = getattr(plain(runner), 'backbones', None)
    if not isinstance(backbones, nn.ModuleDict) or not hasattr(plain(runner), 'observers'):
        raise ConfigError(f'{who} needs an AVClassifier, not {type(plain(runner)).__name__}')
    if len(backbones) < 2:
        raise ConfigError(f'{who} has no effect on a model of {" and ".join(backbones)} alone: leave it out')
    if sum(type(hook).__name__ == who for hook in getattr(runner, 'hooks', ())) > 1:
        raise ConfigError(f'custom_hooks has {who} twice, which would act twice: leave one of them out')
    return backbones


def encoders_of(runner: Any, who: str) -> dict[str, list[nn.Parameter]]:
    """The parameters of each encoder that train, now or once a :class:`ProgressiveUnfreezeHook` has thawed them.

    Args:
        runner: The runner.
        who: Class name of the hook that asks.

    Returns:
        Modality name -> parameters.

    Raises:
        ConfigError: As :func:`backbones_of`; or an encoder is frozen, parameters are sharded, or there are several
            optimizers.
    """
    backbones = backbones_of(runner, who)
    thawed: set[str] = set()
    for hook in getattr(runner, 'hooks', ()):
        if isinstance(hook, ProgressiveUnfreezeHook):
            thawed |= set(backbones if hook.backbones is None else hook.backbones)
    found = {
        name: [p for p in backbone.parameters() if p.requires_grad or name in thawed]
        for name, backbone in backbones.items()
    }
    frozen = [name for name, parameters in found.items() if not parameters]
    if frozen:
        raise ConfigError(f'{who} has no effect on {" and ".join(frozen)}, of which nothing trains: leave it out')
    if is_spread(runner.model):
        raise ConfigError(f'{who} needs whole gradients, and fsdp shards them: leave fsdp or {who} out')
    if not hasattr(runner.optim_wrapper, 'optimizer'):
        raise ConfigError(f'{who} works with one optimizer, not with {type(runner.optim_wrapper).__name__}')
    return found


def plain(runner: Any) -> Any:
    """The model of a runner, not wrapped for distribution."""
    return getattr(runner, 'plain_model', runner.model)


def unimodal_heads(model: Any) -> UnimodalHeads | None:
    """The model's :class:`~mmav.models.UnimodalHeads`, if any."""
    return next((part for part in model.auxiliary.values() if isinstance(part, UnimodalHeads)), None)


def before_step(wrapper: Any, act: Callable[[], None]) -> None:
    """Has something done before each step of an optimizer wrapper, before gradients are clipped.

    Args:
        wrapper: The wrapper; changed.
        act: What is done. With accumulated gradients it is called once a step.
    """
    step = wrapper.step

    def acted(**kwargs: Any) -> None:
        act()
        step(**kwargs)

    # MMEngine's schedulers look for this mark of theirs; they count calls of the inner step.
    acted._with_counter = True  # type: ignore[attr-defined]
    wrapper.step = acted
