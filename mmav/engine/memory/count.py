"""Counts the GPU memory of blocks, and of a whole training step around them, on fake tensors.

Equal blocks are counted once at each level of :mod:`mmav.engine.activation_checkpointing`. The step runs with
stand-ins for the blocks: its time line shows what exists when each block runs, forward and backward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from mmav.engine.activation_checkpointing import run_at_level
from mmav.engine.memory.choice import Option
from mmav.engine.memory.fake_gpu import backward
from mmav.engine.memory.meter import MemoryMeter, stored_bytes
from mmav.engine.precision import DTYPES, autocast
from mmav.models.layers import BLOCKS
from mmav.models.ops.sdpa_backends import gpu_capability

_CUDA = torch.device('cuda')


@dataclass(frozen=True)
class BlockCost(Option):
    """What a block costs at one level, in bytes beyond its input, its result and their gradients.

    Attributes:
        kept: Bytes kept from its forward to its backward pass.
        cached: Bytes freed at the end of the model's forward pass: copies of weights that autocast caches.
        forward: Peak bytes of its forward pass, including its result.
        backward: Peak bytes of its backward pass, including what it keeps and the gradients it creates.
        again: Multiply-accumulates that are recomputed.
        macs: Multiply-accumulates of both passes, each counted once.
        result: What it returns, with shapes instead of tensors.
    """

    macs: int
    result: Any


@dataclass(frozen=True)
class Shape:
    """Everything about a tensor except its values."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    requires_grad: bool

    @classmethod
    def of(cls, x: Tensor) -> Shape:
        """The shape of a tensor."""
        return cls(tuple(x.shape), x.stride(), x.dtype, x.device, x.requires_grad)

    def empty(self) -> Tensor:
        """A tensor that requires no gradient."""
        return torch.empty_strided(self.size, self.stride, dtype=self.dtype, device=self.device)

    def computed(self) -> Tensor:
        """A tensor as an operator returns it, held only by its users."""
        if not self.requires_grad:
            return self.empty()
        leaf = torch.empty((), dtype=self.dtype, device=self.device, requires_grad=True)
        return self.empty().copy_(leaf.expand(self.size))


def shapes_of(values: Any) -> Any:
    """Values, nested or not, with shapes instead of tensors."""
    return tree_map(lambda x: Shape.of(x) if isinstance(x, Tensor) else x, values)


_costs: dict[Any, BlockCost] = {}


def block_cost(block: nn.Module, level: str, args: Any, *, dtype: str) -> BlockCost:
    """Counts a block on fake tensors; equal blocks are cached.

    Args:
        block: In training mode, or in eval mode if it is frozen; created within
            :func:`~mmav.engine.memory.fake_gpu.fake_gpu`.
        level: One of :data:`~mmav.engine.activation_checkpointing.LEVELS`.
        args: Positional and keyword arguments of its forward pass, with shapes instead of tensors.
        dtype: Type of products.
    """
    level = level if block.training else 'all'  # as in mmav.engine.activation_checkpointing
    key = (level, block.training, dtype, gpu_capability(_CUDA), str(args), _signature(block))
    if key not in _costs:
        _costs[key] = _count_block(block, level, args, dtype)
    return _costs[key]


def _signature(block: nn.Module) -> tuple[Any, ...]:
    """What equal blocks share: their modules, the modules' options, and shapes of parameters."""
    found: list[Any] = []
    for name, module in block.named_modules():
        options = sorted(
            (key, value > 0 if isinstance(value, float) else value)
            for key, value in vars(module).items()
            if isinstance(value, (bool, int, float, str, tuple)) and key != 'training'
        )
        shapes = [(key, tuple(p.shape), p.requires_grad) for key, p in module._parameters.items() if p is not None]
        found.append((name, type(module), str(options), tuple(shapes)))
    return tuple(found)


def _count_block(block: nn.Module, level: str, args: Any, dtype: str) -> BlockCost:
    meter = MemoryMeter()
    for parameter in [*block.parameters(), *block.buffers()]:
        meter.weigh(parameter)
    weights = meter.now
    with meter:
        given = tree_map(lambda x: x.computed() if isinstance(x, Shape) else x, args)
        inputs = meter.now - weights
        torch.clear_autocast_cache()
        with autocast(_CUDA, DTYPES[dtype]):
            result = run_at_level(MethodType(type(block).forward, block), level, *given)
            del given
            at_end = meter.now
            torch.clear_autocast_cache()
        results = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        made, size = shapes_of(result), stored_bytes(results)
        kept, cached = meter.now - weights - inputs - size, at_end - meter.now
        forward = meter.peak - weights - inputs
        grads = [(x, torch.empty_like(x)) for x in results if x.requires_grad]
        incoming = stored_bytes([grad for _, grad in grads])
        if not grads:  # without a backward pass nothing is kept, not even the input
            kept = cached = 0
        del result, results
        meter.reset()
        with torch.autocast('cuda', enabled=False):
            backward(grads)
        most = meter.peak - weights - inputs - incoming
    for parameter in block.parameters():
        parameter.grad = None
    return BlockCost(kept, cached, forward, max(most, kept), meter.again, meter.macs, made)


@dataclass(frozen=True)
class Moment:
    """A stretch of a training step.

    Attributes:
        bytes: The peak, without what blocks keep or create inside.
        gradients: Bytes of parameter gradients among these.
        alive: Numbers of the blocks that keep data for their backward pass.
        block: Number of the block that runs; None between blocks.
        phase: 'forward' or 'backward', of the model.
    """

    bytes: int
    gradients: int
    alive: frozenset[int]
    block: int | None
    phase: str


class TimeLine:
    """A training step without the insides of blocks.

    Attributes:
        names: Names of the blocks in the order of the forward pass.
        args: Positional and keyword arguments of each, with shapes instead of tensors.
        moments: The moments, in order.
        macs: Multiply-accumulates outside blocks, in forward and backward pass.
        again: Multiply-accumulates outside blocks that are recomputed.
        left: Bytes at the end of the forward pass.
    """

    def __init__(self, meter: MemoryMeter) -> None:
        self.meter = meter
        self.names: list[str] = []
        self.args: list[Any] = []
        self.moments: list[Moment] = []
        self.alive: frozenset[int] = frozenset()
        self.macs = self.again = self.left = 0
        self._phase = 'forward'
        self._parameters: list[nn.Parameter] = []

    def run(self, model: nn.Module, loss: Callable[[], Tensor], cost: Callable[[str, Any], BlockCost]) -> None:
        """Runs the step of a fake model whose blocks only return results of the right shape.

        Args:
            model: In training mode; its blocks stay replaced.
            loss: Computes the loss of the model.
            cost: Counts a block, given its name and arguments.
        """
        self._parameters = list(model.parameters())
        for name, block in model.named_modules():
            if isinstance(block, BLOCKS):
                block.forward = partial(self._stand_in, name, block, cost)  # type: ignore[method-assign]
        with self.meter:
            value = loss()
            self._note()
            self.left = self.meter.now
            self._phase = 'backward'
            start = [(value, torch.empty_like(value))]
            del value
            backward(start)
            self._note()
        self.macs, self.again = self.meter.macs, self.meter.again

    def _note(self, block: int | None = None) -> None:
        """Ends a stretch between blocks; starts a block, if given."""
        backward = self._phase == 'backward'
        gradients = stored_bytes([p.grad for p in self._parameters if p.grad is not None]) if backward else 0
        self.moments.append(Moment(self.meter.peak, gradients, self.alive, None, self._phase))
        if block is not None:
            self.alive -= {block}
            self.moments.append(Moment(self.meter.now, gradients, self.alive, block, self._phase))
        self.meter.reset()

    def begin(self, number: int) -> None:
        """Called when a block's backward pass begins."""
        self._note(number)

    def _stand_in(
        self, name: str, block: nn.Module, cost: Callable[[str, Any], BlockCost], *args: Any, **kwargs: Any
    ) -> Any:
        with self.meter.paused():
            result = cost(name, shapes_of((args, kwargs))).result
        number = len(self.names)
        self.names.append(name)
        self.args.append(shapes_of((args, kwargs)))
        self._note(number)
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        shapes = [x for x in tree_leaves(result) if isinstance(x, Shape)]
        results = _StandIn.apply(self, number, shapes, len(tensors), *tensors, *block.parameters())
        if any(x.requires_grad for x in results):
            self.alive |= {number}
        made = iter(results)
        return tree_map(lambda x: next(made) if isinstance(x, Shape) else x, result)


class _StandIn(torch.autograd.Function):
    """Keeps its inputs, as a block does, and returns results and gradients of the right shapes."""

    @staticmethod
    def forward(
        ctx: Any, line: TimeLine, number: int, shapes: Sequence[Shape], inputs: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.line, ctx.number = line, number
        ctx.save_for_backward(*tensors[:inputs])
        ctx.tensors = [(x.shape, x.dtype) for x in tensors]
        return tuple(shape.empty() for shape in shapes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        ctx.line.begin(ctx.number)
        wanted = zip(ctx.tensors, ctx.needs_input_grad[4:], strict=True)
        made = [torch.empty(shape, dtype=dtype, device=_CUDA) if need else None for (shape, dtype), need in wanted]
        return (None, None, None, None, *made)
