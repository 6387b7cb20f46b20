"""Hooks, runner, optimizer wrapper and checkpoint files that MMEngine lacks."""

from mmav.engine import config_text
from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.engine.checkpoint_hook import CheckpointHook
from mmav.engine.ema import EMAHook
from mmav.engine.finite import NonFiniteHook
from mmav.engine.fsdp import spread_model
from mmav.engine.hooks import BrokenClipHook, RuntimeInfoHook, SeedHook
from mmav.engine.layer_decay import LayerDecayConstructor
from mmav.engine.loops import AVTestLoop, AVValLoop
from mmav.engine.optim import AmpOptimWrapper, AutocastOptimWrapper, OptimWrapper
from mmav.engine.param_groups import DefaultOptimWrapperConstructor
from mmav.engine.preemption import ResumePointHook
from mmav.engine.runner import AVRunner
from mmav.engine.throughput import ThroughputHook
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
