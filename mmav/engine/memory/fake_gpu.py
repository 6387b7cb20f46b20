"""A simulated GPU: tensors without values, on which a training step runs as on a real one.

PyTorch's fake tensors have shapes, types and devices. This module replaces what needs a real GPU: autocast asks for
one, attention would choose its plainest form, and the autograd engine needs streams.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from mmav.engine.memory.fused_sdpa import fused_sdpa


@contextmanager
def fake_gpu(*, capability: tuple[int, int] = (8, 0)) -> Iterator[None]:
    """Tensors created inside are fake, by default on a GPU; nothing is computed.

    Args:
        capability: The GPU's compute capability, such as (8, 0) for an A100; decides which kernel attention uses.
    """
    with ExitStack() as stack:
        for name, answer in (
            ('torch.cuda.amp.common.amp_definitely_not_available', False),
            ('torch.cuda.is_bf16_supported', True),
            # recomputation asks which backward pass it is in, and keeps the random state
            ('torch._C._current_graph_task_id', 0),
            ('torch.utils.checkpoint.get_device_states', ([], [])),
            ('torch.get_rng_state', None),
            ('torch.set_rng_state', None),
        ):
            stack.enter_context(mock.patch(name, lambda *args, answer=answer, **kwargs: answer))
        stack.enter_context(FakeTensorMode())
        stack.enter_context(torch.device('cuda'))
        stack.enter_context(fused_sdpa(capability=capability))
        yield


def backward(outputs: list[tuple[Tensor, Tensor]]) -> None:
    """Runs the backward pass from tensors and their gradients in the order of PyTorch's engine, without the engine.

    Among nodes with complete gradients, the most recently created one runs first. What a node keeps is freed after it,
    unless something else holds it. Gradients of leaves accumulate in ``.grad``.

    Args:
        outputs: Tensors, and the gradient of each; emptied, so that it holds no node. Any other reference to such a
            tensor holds all nodes before it.
    """
    graph = _Graph([tensor.grad_fn for tensor, _ in outputs])
    while outputs:
        tensor, grad = outputs.pop()
        graph.give(tensor.grad_fn, tensor.output_nr, grad)
        del tensor
    with torch.no_grad():
        graph.run()


class _Graph:
    """Nodes and the gradients that they wait for."""

    def __init__(self, roots: Sequence[Any]) -> None:
        self.waiting: dict[Any, int] = dict.fromkeys(roots, 0)  # node -> number of nodes that owe it a gradient
        self.grads: dict[Any, dict[int, Tensor]] = {}
        self.ready: list[tuple[int, int, Any]] = []
        self.number = count()
        unseen = list(self.waiting)
        while unseen:
            for node, _ in unseen.pop().next_functions:
                if node is not None:
                    if node not in self.waiting:
                        self.waiting[node] = 0
                        unseen.append(node)
                    self.waiting[node] += 1
        for node in dict.fromkeys(roots):
            if not self.waiting[node]:
                self._queue(node)

    def _queue(self, node: Any) -> None:
        # leaves accumulate their gradients at once
        order = -(2**63) if hasattr(node, 'variable') else -node._sequence_nr()
        heapq.heappush(self.ready, (order, next(self.number), node))

    def give(self, node: Any, index: int, grad: Tensor) -> None:
        """Adds a gradient to a node's, in the shape and type of the output it belongs to."""
        about = node._input_metadata[index]
        if grad.shape != about.shape:
            grad = grad.sum_to_size(about.shape)
        if grad.dtype != about.dtype:
            grad = grad.to(about.dtype)
        known = self.grads.setdefault(node, {})
        known[index] = known[index] + grad if index in known else grad

    def run(self) -> None:
        while self.ready:
            node = heapq.heappop(self.ready)[2]
            del self.waiting[node]
            given = self.grads.pop(node, {})
            for after, index, grad in _results(node, given):
                if grad is not None:
                    self.give(after, index, grad)
                self.waiting[after] -= 1
                if not self.waiting[after]:
                    self._queue(after)
                del after, grad
            del node, given


def _results(node: Any, given: Mapping[int, Tensor]) -> list[tuple[Any, int, Tensor | None]]:
    """The next nodes, and the gradients that a node passes to them."""
    if hasattr(node, 'variable'):
        leaf = node.variable
        if given:
            leaf.grad = given[0].detach() if leaf.grad is None else leaf.grad + given[0]
        return []
    edges = node.next_functions
    results: Any = (None,) * len(edges)
    if given:
        grads = [given.get(index) for index in range(len(node._input_metadata))]
        own = getattr(node, 'apply', None)  # of subclasses of torch.autograd.Function, which cannot be called
        results = (own or node)(*grads)
        del grads
        results = results if isinstance(results, tuple) else (results,)
        if own is not None:
            # one for each argument, tensor or not; edges are there for tensors only
            results = [grad for grad, need in zip(results, node.needs_input_grad, strict=False) if need]
            edges = [edge for edge in edges if edge[0] is not None]
    return [(after, index, grad) for (after, index), grad in zip(edges, results, strict=True) if after is not None]
