"""Hooks, runner, optimizer wrapper and checkpoint files that MMEngine lacks."""

from mmav.engine.checkpoint_hook import CheckpointHook
from mmav.engine.hooks import BrokenClipHook, SeedHook
from mmav.engine.optim import AutocastOptimWrapper
from mmav.engine.runner import AVRunner

__all__ = ['AVRunner', 'AutocastOptimWrapper', 'BrokenClipHook', 'CheckpointHook', 'SeedHook']
