"""Optimizer wrappers and constructors, which importing this package registers, and checks of the schedule."""

from mmav.engine.optim import layer_decay, param_groups, wrappers

__all__ = ['layer_decay', 'param_groups', 'wrappers']
