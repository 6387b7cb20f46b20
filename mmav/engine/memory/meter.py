"""Counts the tensor memory and the operations of a pass, operator by operator."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from mmav.models.ops.lean import is_again

# bytes; PyTorch's allocator rounds up to multiples of this
ROUND = 512


class MemoryMeter(TorchDispatchMode):
    """While active, counts the storages that operators create on a device, until they are freed.

    Attributes:
        now: Bytes of storages that exist.
        peak: The most bytes that existed at the same time since :meth:`reset`.
        macs: Multiply-accumulates of products, convolutions and attention, each counted once.
        again: Multiply-accumulates that the backward pass recomputed.

    >>> with MemoryMeter('cpu') as meter:
    ...     x = torch.ones(1024) + torch.ones(1024)  # three of 4096 bytes
    >>> meter.peak, meter.now
    (12288, 4096)
    """

    def __init__(self, device: str = 'cuda') -> None:
        super().__init__()
        self.device = device
        self.now = self.peak = self.macs = self.again = 0
        self._known: dict[int, Any] = {}
        self._paused = False

    def reset(self) -> None:
        """Starts a new peak."""
        self.peak = self.now

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Does not count tensors created inside."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operator and counts its results."""
        result = func(*args, **(kwargs or {}))
        if self._paused:
            return result
        for value in result if isinstance(result, (list, tuple)) else (result,):
            for tensor in tree_leaves(value):
                if isinstance(tensor, Tensor) and tensor.device.type == self.device:
                    self.weigh(tensor)
        macs = _macs(func, args, kwargs or {}, result)
        if is_again():
            self.again += macs
        else:
            self.macs += macs
        return result

    def weigh(self, tensor: Tensor) -> None:
        """Counts the storage of a tensor, once."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._known:
            return
        size = -(-storage.nbytes() // ROUND) * ROUND
        self._known[key] = weakref.ref(storage, partial(self._free, key, size))
        self.now += size
        self.peak = max(self.peak, self.now)

    def _free(self, key: int, size: int, _: Any) -> None:
        del self._known[key]
        self.now -= size


def stored_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the storages of tensors, as :class:`MemoryMeter` counts them.

    >>> x = torch.zeros(200)  # 800 bytes
    >>> stored_bytes([x, x[2:]])
    1024
    """
    sizes = {id(storage): storage.nbytes() for storage in (x.untyped_storage() for x in tensors)}
    return sum(-(-size // ROUND) * ROUND for size in sizes.values())


def _macs(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    if func is torch.ops.aten.convolution_backward.default:
        # PyTorch's own formula counts the gradient of a depthwise kernel like a dense one
        grad, x, weight = args[:3]
        transposed, wanted = args[7], args[10]
        of_kernel = weight.shape[1:].numel()
        cells = x if transposed else grad
        return sum(wanted[:2]) * cells.numel() * of_kernel
    formula = flop_registry.get(func._overloadpacket)
    return 0 if formula is None else formula(*args, **kwargs, out_val=result) // 2
