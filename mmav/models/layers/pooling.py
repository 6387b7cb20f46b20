"""Pooling of a token sequence on its grid; the length of the grid (1, 2 or 3) selects the operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from mmav.adapting import Adapted, Hints
from mmav.models.layers.kept_grid import Spread, spread_cells, take_results
from mmav.models.layers.patch_embed import CONVS, inflate_kernel
from mmav.models.ops.eager import autocast_type, cheap, is_lean, is_plain, normalised, on_eager_cpu

CONV_FUNCTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
MAX_POOLS: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
HALF_TYPES = (torch.bfloat16, torch.float16)


def pooled_grid(grid: Sequence[int], stride: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Returns the grid after a convolution or pooling with padding ``kernel // 2``.

    >>> pooled_grid((8, 56, 57), (1, 2, 2), (3, 3, 3))
    (8, 28, 29)
    """
    return tuple((n + 2 * (k // 2) - k) // s + 1 for n, s, k in zip(grid, stride, kernel, strict=True))


class TokenPool(nn.Module):
    """Depthwise convolution and LayerNorm of the queries, keys or values of each head, shared by the heads.

    The class token is normalised with the patch tokens but not pooled (MViTv2's "conv" mode; facebookresearch/SlowFast,
    slowfast/models/attention.py).

    Args:
        head_dim: Width of one head.
        kernel: Kernel size, one entry per axis.
        stride: Stride, one entry per axis.
    """

    def __init__(self, head_dim: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.head_dim, self.kernel, self.stride = head_dim, tuple(kernel), tuple(stride)
        options = dict(stride=self.stride, padding=tuple(k // 2 for k in self.kernel), groups=head_dim, bias=False)
        self.conv = CONVS[len(self.kernel)](head_dim, head_dim, self.kernel, **options)
        self.norm = nn.LayerNorm(head_dim, eps=1e-6)

    def out_grid(self, grid: Sequence[int]) -> tuple[int, ...]:
        """Returns ``grid`` after pooling."""
        return pooled_grid(grid, self.stride, self.kernel)

    def adapt_weight(self, name: str, value: Tensor, hints: Hints) -> Adapted | None:
        """An image model's kernel, inflated over time; None for other weights.

        Args:
            name: Name of the parameter within this module.
            value: The value in the file.
            hints: ``inflate`` says how.
        """
        if name != 'conv.weight' or value.dim() != 4 or len(self.kernel) != 3 or hints.inflate is None:
            return None
        return Adapted(*inflate_kernel(value, self.kernel[0], hints.inflate))

    def forward(self, x: Tensor, grid: Sequence[int], spread: Spread | None = None) -> tuple[Tensor | None, Tensor]:
        """Pools tokens with concatenated heads.

        Args:
            x: (B, c + N, heads * head_dim), c = 1 with a class token, else 0.
            grid: The grid that N unrolls.
            spread: Where its cells lie if slices of it were dropped.

        Returns:
            The class token (B, 1, heads, head_dim) or None, and the patch tokens (B, N', heads, head_dim).
        """
        num_cls, heads = x.shape[1] - math.prod(grid), x.shape[2] // self.head_dim
        by_head = (heads, self.head_dim)
        cells = x[:, num_cls:].unflatten(1, tuple(grid))
        if spread is not None:
            cells = cheap(spread_cells, cells, list(spread.places), spread.sizes, 0.0)
        cells = self._convolved(cells, heads)
        if spread is not None:
            cells = take_results(cells, spread.results)
        patches = normalised(self.norm, cells.flatten(1, -2).unflatten(2, by_head))
        return (normalised(self.norm, x[:, :num_cls].unflatten(2, by_head)) if num_cls else None), patches

    def _convolved(self, cells: Tensor, heads: int) -> Tensor:
        """Convolves (B, *grid, heads * head_dim), each head by itself."""
        if is_plain(self.conv) and self._is_as_constructed():
            # The heads share a kernel: repeated for each head, it convolves all of them without a copy. It is repeated
            # as a matrix, so that its gradient has the weight's own strides, as DistributedDataParallel expects.
            kernel = self.conv.weight
            weight = torch.cat([kernel.flatten(1)] * heads).unflatten(1, kernel.shape[1:])
            return depthwise_conv(cells, weight, self.stride)
        by_head = cells.unflatten(-1, (heads, self.head_dim)).movedim(-2, 1).flatten(0, 1)
        pooled = _in_float32(self.conv, by_head.movedim(-1, 1)).movedim(1, -1)  # (B * heads, *new grid, head_dim)
        return pooled.unflatten(0, (-1, heads)).movedim(1, -2).flatten(-2)

    def _is_as_constructed(self) -> bool:
        conv, rank = self.conv, len(self.kernel)
        options = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
        padding = tuple(k // 2 for k in self.kernel)
        return conv.bias is None and options == (self.kernel, self.stride, padding, (1,) * rank, self.head_dim, 'zeros')


def depthwise_conv(x: Tensor, weight: Tensor, stride: Sequence[int]) -> Tensor:
    """Depthwise convolution with padding ``kernel // 2``; channels are the last axis, as in tokens.

    Args:
        x: Cells (B, *grid, C) with 1, 2 or 3 grid axes.
        weight: Kernel (C, 1, *kernel).
        stride: Stride, one entry per axis.

    Returns:
        Cells (B, *new grid, C).
    """
    half = _unsafe_type(x)
    if half is not None:
        with torch.autocast('cpu', enabled=False):
            return depthwise_conv(x.float(), weight.float(), stride).to(half)
    if x.dim() == 5 and torch.is_grad_enabled() and on_eager_cpu(x):
        return _DepthwiseConv3d.apply(x, weight, tuple(stride))
    return _convolve(x, weight, stride)


def _in_float32(conv: nn.Module, x: Tensor) -> Tensor:
    """``conv(x)``, computed in float32 if a half type is not safe."""
    half = _unsafe_type(x)
    if half is None:
        return conv(x)
    tensors = (*conv.named_parameters(), *conv.named_buffers())
    widened = {name: tensor.float() for name, tensor in tensors if tensor.dtype in HALF_TYPES}
    with torch.autocast('cpu', enabled=False):
        return functional_call(conv, widened, (x.float(),)).to(half)


def _unsafe_type(x: Tensor) -> torch.dtype | None:
    """The half type in which a CPU would convolve ``x`` in training, or None.

    On processors with AVX-512, oneDNN's gradient of a depthwise kernel in bfloat16 reads uninitialised memory or writes
    out of bounds for small grids: the result is wrong values or a crash.
    """
    if x.device.type != 'cpu' or not torch.is_grad_enabled():
        return None
    half = autocast_type('cpu') if x.dtype != torch.float64 else None
    return half or (x.dtype if x.dtype in HALF_TYPES else None)


def _convolve(x: Tensor, weight: Tensor, stride: Sequence[int]) -> Tensor:
    padding = [k // 2 for k in weight.shape[2:]]
    channels_last = x.movedim(-1, 1)  # a view in that memory format
    out = CONV_FUNCTIONS[len(padding)](channels_last, weight, None, stride, padding, 1, weight.shape[0])
    return out.movedim(1, -1)


class _DepthwiseConv3d(torch.autograd.Function):
    """:func:`_convolve` for training on a CPU, where PyTorch's backward pass of a depthwise 3-D convolution is slow.

    A 3-D convolution is a sum of 2-D convolutions, one for each plane of the kernel: the gradients are computed plane
    by plane and added to the frames they belong to.
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
            # output frame t reads input frame t * step + shift; frames outside are zeros without gradient
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


def max_pool_tokens(x: Tensor, grid: Sequence[int], stride: Sequence[int], spread: Spread | None = None) -> Tensor:
    """Max-pools the skip path, P of Eq. 1, with kernel stride + 1 on axes with a stride above 1.

    Args:
        x: Tokens (B, 1 + N, D), the 1 present only with a class token, which is not pooled.
        grid: The grid that N unrolls.
        stride: Stride, one entry per axis.
        spread: Where its cells lie if slices of it were dropped, which have no part in the maximum.
    """
    if math.prod(stride) == 1:
        return x
    kernel = [s + 1 if s > 1 else 1 for s in stride]
    num_cls = x.shape[1] - math.prod(grid)
    cells = x[:, num_cls:].unflatten(1, tuple(grid))
    if spread is not None:
        cells = cheap(spread_cells, cells, list(spread.places), spread.sizes, -math.inf)
    if len(grid) == 3 and stride[0] == 1:
        # one frame at a time: 2-D pooling is faster on a CPU
        frames = _max_pool(cells.flatten(0, 1), kernel[1:], stride[1:])
        patches = frames.unflatten(0, cells.shape[:2])
    else:
        patches = _max_pool(cells, kernel, stride)
    if spread is not None:
        patches = take_results(patches, spread.results)
    patches = patches.flatten(1, -2)
    return torch.cat((x[:, :num_cls], patches), dim=1) if num_cls else patches


def _max_pool(cells: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Pools (B, *grid, C) in the "channels last" memory format."""
    padding = [k // 2 for k in kernel]
    pool = partial(MAX_POOLS[len(kernel)], kernel_size=kernel, stride=stride, padding=padding)
    cells = cells.movedim(-1, 1)
    if not is_lean():
        return pool(cells).movedim(1, -1)
    if cells.device.type == 'cpu' and len(kernel) == 3 and torch.is_autocast_enabled('cpu'):
        cells = cheap(Tensor.float, cells)  # as autocast does on a CPU, but not with return_indices
    # the backward pass reads the indices of the maxima: 8 bytes each
    return cheap(partial(pool, return_indices=True), cells)[0].movedim(1, -1)
