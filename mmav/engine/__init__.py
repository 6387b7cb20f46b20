"""The runner, its loops and hooks, and the optimizer wrappers: what a config names, imported on first use."""

from importlib import import_module
from typing import Any

# A tool that only needs ``mmav.engine.cli`` starts without models and datasets.
_HOMES = {
    'AVIterTrainLoop': 'loops',
    'AVRunner': 'runner',
    'AVTestLoop': 'loops',
    'AVTrainLoop': 'loops',
    'AVValLoop': 'loops',
    'AmpOptimWrapper': 'optim.wrappers',
    'AutocastOptimWrapper': 'optim.wrappers',
    'BrokenClipHook': 'hooks.broken_clips',
    'CheckpointHook': 'hooks.checkpoint',
    'DefaultOptimWrapperConstructor': 'optim.param_groups',
    'EMAHook': 'hooks.ema',
    'LayerDecayConstructor': 'optim.layer_decay',
    'NonFiniteHook': 'hooks.non_finite',
    'OptimWrapper': 'optim.wrappers',
    'ResumePointHook': 'hooks.resume_point',
    'RuntimeInfoHook': 'hooks.runtime_info',
    'SeedHook': 'hooks.seed',
    'ThroughputHook': 'hooks.throughput',
    'spread_model': 'distributed.fsdp',
    'turn_on_activation_checkpointing': 'activation_checkpointing',
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
