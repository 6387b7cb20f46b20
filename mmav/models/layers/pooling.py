"""Pooling of a token sequence on the grid that it unrolls; the length of the grid (1, 2 or 3) selects the operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmav.adapting import Adapted, Hints
from mmav.models.layers.picture_kernels import inflate_kernel
from mmav.models.ops.depthwise_conv import depthwise_conv
from mmav.models.ops.lean import cheap, is_lean, normalised

CONVS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
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

    def adapt_weight(self, name: str, value: Tensor, hints: Hints) -> Adapted | None:
        """A picture model's kernel in frames; None for other weights.

        Args:
            name: Name of the parameter within this module.
            value: A file's.
            hints: Has what is wanted under ``inflate``.
        """
        if name != 'conv.weight' or value.dim() != 4 or len(self.kernel) != 3 or hints.inflate is None:
            return None
        return Adapted(*inflate_kernel(value, self.kernel[0], hints.inflate))

    def forward(self, x: Tensor, grid: Sequence[int]) -> tuple[Tensor | None, Tensor]:
        """Pools tokens whose heads lie side by side.

        Args:
            x: (B, c + N, heads * head_dim), c = 1 with a class token, else 0.
            grid: What N unrolls.

        Returns:
            The class token (B, 1, heads, head_dim), None without one, and the patch tokens (B, N', heads, head_dim).
        """
        num_cls, dim = x.shape[1] - math.prod(grid), self.norm.weight.shape[0]
        heads = x.shape[2] // dim
        # The heads share a kernel: repeated for each, it convolves all of them where they lie. It passes through a
        # matrix, so that its gradient has the weight's own strides, for which DistributedDataParallel asks.
        weight = torch.cat([self.conv.weight.flatten(1)] * heads).unflatten(1, self.conv.weight.shape[1:])
        cells = depthwise_conv(x[:, num_cls:].unflatten(1, tuple(grid)), weight, self.stride)
        patches = normalised(self.norm, cells.flatten(1, -2).unflatten(2, (heads, dim)))
        return (normalised(self.norm, x[:, :num_cls].unflatten(2, (heads, dim))) if num_cls else None), patches


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
    cells = x[:, num_cls:].unflatten(1, tuple(grid))
    if len(grid) == 3 and stride[0] == 1:
        # frame by frame, as 2-D pooling is the faster one on a CPU
        frames = _max_pool(cells.flatten(0, 1), kernel[1:], stride[1:])
        patches = frames.unflatten(0, cells.shape[:2])
    else:
        patches = _max_pool(cells, kernel, stride)
    patches = patches.flatten(1, -2)
    return torch.cat((x[:, :num_cls], patches), dim=1) if num_cls else patches


def _max_pool(cells: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Pools (B, *grid, C) in the "channels last" layout."""
    padding = [k // 2 for k in kernel]
    pool = partial(MAX_POOLS[len(kernel)], kernel_size=kernel, stride=stride, padding=padding)
    cells = cells.movedim(-1, 1)
    if not is_lean():
        return pool(cells).movedim(1, -1)
    if cells.device.type == 'cpu' and len(kernel) == 3 and torch.is_autocast_enabled('cpu'):
        cells = cheap(Tensor.float, cells)  # as autocast does on a CPU, but not where indices are wanted
    # the backward pass reads where the greatest numbers were: 8 bytes for each
    return cheap(partial(pool, return_indices=True), cells)[0].movedim(1, -1)
