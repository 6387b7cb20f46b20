"""Optimizer wrappers and constructors, registered by importing this package, and checks of the schedule."""

from mmav.engine.optim import layer_decay, param_groups, wrappers

__all__ = ['layer_decay', 'param_groups', 'wrappers']
