"""Hooks, runner, optimizer wrapper and checkpoint files that MMEngine lacks."""

from mmav.engine import config_text
from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.engine.distributed.fsdp import spread_model
from mmav.engine.hooks.checkpoint import CheckpointHook
from mmav.engine.hooks.ema import EMAHook
from mmav.engine.hooks.non_finite import NonFiniteHook
from mmav.engine.hooks.resume_point import ResumePointHook
from mmav.engine.hooks.runtime import BrokenClipHook, RuntimeInfoHook, SeedHook
from mmav.engine.hooks.throughput import ThroughputHook
from mmav.engine.loops import AVTestLoop, AVValLoop
from mmav.engine.optim.layer_decay import LayerDecayConstructor
from mmav.engine.optim.param_groups import DefaultOptimWrapperConstructor
from mmav.engine.optim.wrappers import AmpOptimWrapper, AutocastOptimWrapper, OptimWrapper
from mmav.engine.runner import AVRunner
from mmav.engine.train_loops import AVIterTrainLoop, AVTrainLoop

__all__ = [
    'AVIterTrainLoop',
    'AVRunner',
    'AVTestLoop',
    'AVTrainLoop',
    'AVValLoop',
    'AmpOptimWrapper',
    'AutocastOptimWrapper',
    'BrokenClipHook',
    'CheckpointHook',
    'DefaultOptimWrapperConstructor',
    'EMAHook',
    'LayerDecayConstructor',
    'NonFiniteHook',
    'OptimWrapper',
    'ResumePointHook',
    'RuntimeInfoHook',
    'SeedHook',
    'ThroughputHook',
    'config_text',
    'spread_model',
    'turn_on_activation_checkpointing',
]
