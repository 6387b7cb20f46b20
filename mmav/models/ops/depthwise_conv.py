"""Depthwise convolution of cells whose channels lie last, as tokens do: no head and no channel is moved for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmav.models.ops.eager_cpu import on_eager_cpu

CONV_FUNCTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def depthwise_conv(x: Tensor, weight: Tensor, stride: Sequence[int]) -> Tensor:
    """Convolves each channel by itself, with padding ``kernel // 2``.

    Args:
        x: Cells (B, *grid, C), grid of 1, 2 or 3 axes.
        weight: Kernel (C, 1, *kernel).
        stride: Stride, one entry per axis.

    Returns:
        Cells (B, *new grid, C).
    """
    if x.device.type == 'cpu' and torch.is_grad_enabled() and (half := _half_type(x)) is not None:
        # oneDNN's gradient of such a kernel in bfloat16 takes up memory that nothing was written to, or writes where
        # nothing is its own, on processors with AVX-512 and small grids: wrong values, or the end of the process.
        with torch.autocast('cpu', enabled=False):
            return depthwise_conv(x.float(), weight.float(), stride).to(half)
    if x.dim() == 5 and torch.is_grad_enabled() and on_eager_cpu(x):
        return _DepthwiseConv3d.apply(x, weight, tuple(stride))
    return _convolve(x, weight, stride)


def _half_type(x: Tensor) -> torch.dtype | None:
    """The half type in which a convolution on a CPU would be computed; None where it is a whole one."""
    if torch.is_autocast_enabled('cpu') and x.dtype != torch.float64:
        return torch.get_autocast_dtype('cpu')
    return x.dtype if x.dtype in (torch.bfloat16, torch.float16) else None


def _convolve(x: Tensor, weight: Tensor, stride: Sequence[int]) -> Tensor:
    padding = [k // 2 for k in weight.shape[2:]]
    # a view in the "channels last" layout
    return CONV_FUNCTIONS[len(padding)](x.movedim(-1, 1), weight, None, stride, padding, 1, weight.shape[0]).movedim(
        1, -1
    )


class _DepthwiseConv3d(torch.autograd.Function):
    """The same in training on a CPU, where the backward pass of a depthwise 3-D convolution is slow.

    A 3-D convolution is a sum of 2-D ones, one for each plane of the kernel; here the gradients are computed plane by
    plane, each added to the frames that it belongs to.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return _convolve(x, weight, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        kernel, (step, *stride) = weight.shape[2:], ctx.stride
        frames, out_frames = x.shape[1], grad.shape[1]
        grad_x, grad_weight = torch.zeros_like(x), torch.zeros_like(weight)
        for tap in range(kernel[0]):
            # output frame t reads input frame t * step + shift; those outside are zeros and have no gradient
            shift = tap - kernel[0] // 2
            first = max(0, -(shift // step))
            last = min(out_frames - 1, (frames - 1 - shift) // step)
            if last < first:
                continue
            read = slice(first * step + shift, last * step + shift + 1, step)
            images, grads = x[:, read], grad[:, first : last + 1]
            of_images, of_plane, _ = torch.ops.aten.convolution_backward(
                grads.flatten(0, 1).movedim(-1, 1),
                images.flatten(0, 1).movedim(-1, 1),
                weight[:, :, tap],
                None,
                stride,
                [k // 2 for k in kernel[1:]],
                [1, 1],
                False,
                [0, 0],
                weight.shape[0],
                [True, True, False],
            )
            grad_x[:, read] += of_images.movedim(1, -1).unflatten(0, images.shape[:2])
            grad_weight[:, :, tap] = of_plane
        return grad_x, grad_weight, None
