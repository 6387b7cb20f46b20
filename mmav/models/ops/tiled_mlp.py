"""Linear, GELU, Linear in tiles of rows: on a CPU the hidden layer stays in cache, and its GELU is not saved."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmav.models.ops.eager import on_eager_cpu

# Hidden activations per tile: 2 MB of float32.
TILE = 512 * 1024
FEWEST_ROWS = 256
# A smaller hidden layer fits the cache without tiles; larger weights would pass through the cache with every tile. For
# shapes in between, the forward pass took 0.6 to 0.9 of the time, forward and backward pass 0.7 to 1.
LEAST_HIDDEN = 2 * TILE
MOST_WEIGHTS = TILE


def tiles_pay(x: Tensor, weight: Tensor) -> bool:
    """Whether :func:`tiled_mlp` is faster for (..., in_dims) and a first weight (hidden, in_dims) than plain layers."""
    hidden = math.prod(x.shape[:-1]) * weight.shape[0]
    return on_eager_cpu(x) and weight.numel() <= MOST_WEIGHTS and hidden >= LEAST_HIDDEN


def tiled_mlp(x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    """weight2 gelu(weight1 x + bias1) + bias2, tile by tile; the backward pass recomputes the GELU.

    Args:
        x: (..., in_dims).
        weight1: (hidden, in_dims).
        bias1: (hidden,).
        weight2: (out_dims, hidden).
        bias2: (out_dims,).

    Returns:
        (..., out_dims).
    """
    # checked here: inside an autograd function gradients always look disabled, even if inputs require them
    return _TiledMLP.apply(x, weight1, bias1, weight2, bias2, torch.is_grad_enabled())


def _rows(number: int, hidden: int) -> int:
    """Rows per tile, so that all tiles are about equal."""
    most = min(number, max(FEWEST_ROWS, TILE // hidden))
    return math.ceil(number / math.ceil(number / most))


class _TiledMLP(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor, grad_enabled: bool
    ) -> Tensor:
        inputs = x.reshape(-1, x.shape[-1])
        number, hidden = inputs.shape[0], weight1.shape[0]
        rows = _rows(number, hidden)
        needed = grad_enabled and any(ctx.needs_input_grad)
        before = inputs.new_empty(number if needed else rows, hidden)
        after = inputs.new_empty(rows, hidden) if needed else before
        out = inputs.new_empty(number, weight2.shape[0])
        for start in range(0, number, rows):
            part = inputs[start : start + rows]
            linear = before[start : start + rows] if needed else before[: len(part)]
            activated = after[: len(part)]
            torch.addmm(bias1, part, weight1.t(), out=linear)
            torch.ops.aten.gelu.out(linear, out=activated)
            torch.addmm(bias2, activated, weight2.t(), out=out[start : start + rows])
        if needed:
            ctx.save_for_backward(inputs, before, weight1, weight2)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, before, weight1, weight2 = ctx.saved_tensors
        grads = grad.reshape(-1, grad.shape[-1])
        number, hidden = before.shape
        rows = _rows(number, hidden)
        grad_inputs = torch.empty_like(inputs)
        grad_weight1, grad_weight2 = torch.zeros_like(weight1), torch.zeros_like(weight2)
        grad_bias1 = weight1.new_zeros(hidden)
        activated, grad_hidden = before.new_empty(rows, hidden), before.new_empty(rows, hidden)
        for start in range(0, number, rows):
            part = slice(start, start + rows)
            grad_out, linear = grads[part], before[part]
            after, of_hidden = activated[: len(linear)], grad_hidden[: len(linear)]
            torch.ops.aten.gelu.out(linear, out=after)
            torch.addmm(grad_weight2, grad_out.t(), after, out=grad_weight2)
            torch.mm(grad_out, weight2, out=of_hidden)
            torch.ops.aten.gelu_backward.grad_input(of_hidden, linear, grad_input=of_hidden)
            torch.addmm(grad_weight1, of_hidden.t(), inputs[part], out=grad_weight1)
            grad_bias1 += of_hidden.sum(dim=0)
            torch.mm(of_hidden, weight1, out=grad_inputs[part])
        return grad_inputs.view(*grad.shape[:-1], -1), grad_weight1, grad_bias1, grad_weight2, grads.sum(dim=0), None
