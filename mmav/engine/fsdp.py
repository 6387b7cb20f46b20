"""Which modules FSDP spreads over the processes as one unit."""

from __future__ import annotations

from torch import nn

from mmav.engine.activation_checkpointing import BLOCKS
from mmav.registry import FUNCTIONS


@FUNCTIONS.register_module()
def wrap_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """The wrapping policy of ``configs/_base_/fsdp.py``: each block of a transformer is a unit.

    A unit's parameters are gathered for its forward and backward pass, and freed after it; what lies outside of blocks
    is one more unit.

    Args:
        module: The module that is asked about.
        recurse: Whether the question is to look inside the module, rather than to make it a unit.
        nonwrapped_numel: Number of its parameters that belong to no unit yet; does not matter here.

    Returns:
        The answer.
    """
    return recurse or isinstance(module, BLOCKS)
