"""Pooling of a token sequence on the grid that it unrolls; the length of the grid (1, 2 or 3) selects the operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CONV_FUNCTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
MAX_POOLS: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def to_tuple(value: int | Sequence[int], rank: int, name: str) -> tuple[int, ...]:
    """Returns one integer per axis.

    >>> to_tuple(2, 3, 'stride'), to_tuple([1, 2], 2, 'stride')
    ((2, 2, 2), (1, 2))
    """
    result = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(result) != rank:
        raise ValueError(
            f'{name}={value} has {len(result)} entries, but the grid has {rank} axes: give {rank} or one integer'
        )
    return result


def pooled_grid(grid: Sequence[int], stride: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Returns the grid after a convolution or pooling with padding ``kernel // 2``.

    >>> pooled_grid((8, 56, 57), (1, 2, 2), (3, 3, 3))
    (8, 28, 29)
    """
    return tuple((n + 2 * (k // 2) - k) // s + 1 for n, s, k in zip(grid, stride, kernel, strict=True))


class TokenPool(nn.Module):
    """Depthwise convolution and LayerNorm of queries, keys or values, per head and shared by the heads.

    The class token is normalised with the patch tokens but not pooled (MViTv2's "conv" mode; facebookresearch/SlowFast,
    slowfast/models/attention.py).

    Args:
        head_dim: Width of one head.
        kernel: Kernel size, one entry per axis.
        stride: Stride, one entry per axis.
    """

    def __init__(self, head_dim: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.kernel, self.stride = tuple(kernel), tuple(stride)
        self.conv = CONVS[len(self.kernel)](
            head_dim,
            head_dim,
            self.kernel,  # type: ignore[arg-type]
            stride=self.stride,  # type: ignore[arg-type]
            padding=tuple(k // 2 for k in self.kernel),  # type: ignore[arg-type]
            groups=head_dim,
            bias=False,
        )
        self.norm = nn.LayerNorm(head_dim, eps=1e-6)

    def out_grid(self, grid: Sequence[int]) -> tuple[int, ...]:
        """Returns the grid that ``grid`` becomes."""
        return pooled_grid(grid, self.stride, self.kernel)

    def forward(self, x: Tensor, grid: Sequence[int]) -> Tensor:
        """Pools (B, heads, 1 + N, head_dim), the 1 present only with a class token, to the same with the new N."""
        batch, heads, length, dim = x.shape
        num_cls = length - math.prod(grid)
        cells = x[:, :, num_cls:].reshape(batch * heads, *grid, dim)
        on_cpu = x.device.type == 'cpu' and len(grid) == 3
        if on_cpu and (torch.is_grad_enabled() or math.prod(self.stride) > 1):
            pooled = depthwise_conv_by_planes(cells, self.conv.weight, self.stride)
        else:
            # Views in the "channels last" layout of 2-D convolutions: nothing is copied. The weight passes through a
            # matrix, so that its gradient has the weight's own strides, for which DistributedDataParallel asks.
            weight = self.conv.weight.flatten(1).unflatten(1, self.conv.weight.shape[1:])
            padding = [k // 2 for k in self.kernel]
            images = cells.movedim(-1, 1)
            pooled = CONV_FUNCTIONS[len(grid)](images, weight, None, self.stride, padding, 1, dim).movedim(1, -1)
        patches = pooled.reshape(batch, heads, -1, dim)
        if num_cls:
            patches = torch.cat((x[:, :, :num_cls], patches), dim=2)
        return self.norm(patches)


def depthwise_conv_by_planes(x: Tensor, weight: Tensor, stride: Sequence[int]) -> Tensor:
    """The depthwise 3-D convolution with padding ``kernel // 2``, as a sum of 2-D ones over the planes of the kernel.

    On a CPU the backward pass of PyTorch's depthwise 3-D convolution is slow: forward and backward took 2 to 7 times as
    long as in this form on the shapes of MViTv2 (2 cores, torch 2.14). tests/models/layers/test_pooling.py guards that
    the two are equal.

    Args:
        x: Cells (B, T, H, W, C), in which a frame lies as 2-D convolutions like it.
        weight: Kernel (C, 1, kT, kH, kW).
        stride: Stride (T, H, W).

    Returns:
        Cells (B, T', H', W', C).
    """
    batch, frames, channels = x.shape[0], x.shape[1], x.shape[-1]
    kernel = weight.shape[2:]
    out_frames = pooled_grid((frames,), stride[:1], kernel[:1])[0]
    images = x.flatten(0, 1).movedim(-1, 1)
    total: Tensor | None = None
    for tap in range(kernel[0]):
        plane = F.conv2d(images, weight[:, :, tap], None, stride[1:], [k // 2 for k in kernel[1:]], groups=channels)
        plane = plane.movedim(1, -1).unflatten(0, (batch, frames))  # (B, T, H', W', C)
        # output frame t takes input frame t * stride + tap - kernel // 2; frames outside count as zeros
        before = max(kernel[0] // 2 - tap, 0)
        after = max((out_frames - 1) * stride[0] + tap - kernel[0] // 2 - (frames - 1), 0)
        plane = F.pad(plane[:, max(tap - kernel[0] // 2, 0) :], (0, 0, 0, 0, 0, 0, before, after))
        plane = plane[:, : (out_frames - 1) * stride[0] + 1 : stride[0]]
        total = plane if total is None else total + plane
    assert total is not None  # a kernel has a plane
    return total


def max_pool_tokens(x: Tensor, grid: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Max-pools the skip path, P of Eq. 1: kernel stride + 1 where the stride is above 1.

    Args:
        x: Tokens (B, 1 + N, D), the 1 present only with a class token, which passes unpooled.
        grid: What N unrolls.
        stride: Stride, one entry per axis.
    """
    if math.prod(stride) == 1:
        return x
    kernel = [s + 1 if s > 1 else 1 for s in stride]
    num_cls = x.shape[1] - math.prod(grid)
    patches = x[:, num_cls:].transpose(1, 2).reshape(x.shape[0], x.shape[2], *grid)
    patches = MAX_POOLS[len(grid)](patches, kernel, stride, [k // 2 for k in kernel]).flatten(2).transpose(1, 2)
    return torch.cat((x[:, :num_cls], patches), dim=1) if num_cls else patches
