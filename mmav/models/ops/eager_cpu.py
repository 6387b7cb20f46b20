"""Where work in tiles pays: on a CPU, when PyTorch runs operation by operation."""

from __future__ import annotations

import torch
from torch import Tensor


def on_eager_cpu(x: Tensor) -> bool:
    """Whether ``x`` is a tensor of float32 or float64 on a CPU that nothing but PyTorch's own operations works on.

    Compilers and exporters make something of their own out of plain operations, and half types have no fast ones.
    """
    if x.device.type != 'cpu' or x.dtype not in (torch.float32, torch.float64):
        return False
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return not (traced or torch.is_autocast_enabled('cpu') or under_transform())


def under_transform() -> bool:
    """Whether a transform of torch.func, or derivatives in forward mode, are under way.

    Operators of our own have no rules for them: PyTorch would drop the derivatives of forward mode without a word.
    """
    if torch.compiler.is_compiling():  # compilers cannot look into these
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None or torch.autograd.forward_ad._current_level >= 0
