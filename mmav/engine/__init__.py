"""Hooks, runner, optimizer wrapper and checkpoint files that MMEngine lacks."""

from mmav.engine.checkpoint_hook import CheckpointHook
from mmav.engine.finite import NonFiniteHook
from mmav.engine.hooks import BrokenClipHook, SeedHook
from mmav.engine.loops import AVTrainLoop
from mmav.engine.optim import AutocastOptimWrapper
from mmav.engine.preemption import ResumePointHook
from mmav.engine.runner import AVRunner
from mmav.engine.throughput import ThroughputHook

__all__ = [
    'AVRunner',
    'AVTrainLoop',
    'AutocastOptimWrapper',
    'BrokenClipHook',
    'CheckpointHook',
    'NonFiniteHook',
    'ResumePointHook',
    'SeedHook',
    'ThroughputHook',
]
