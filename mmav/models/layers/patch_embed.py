"""Patch embedding of a spectrogram (F, T) or a clip (T, H, W), a strided convolution, and its use of image kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from mmav.adapting import Adapted, Hints

CONVS: dict[int, Callable[..., Any]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


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


def to_one_channel(kernel: Tensor, rgb: str) -> tuple[Tensor, str]:
    """Merges a kernel (D, C, *size) with several channels into one with a single channel.

    The ``sum`` responds to a spectrogram like the old kernel to the spectrogram repeated in every channel; the ``mean``
    is 1 / C of that.

    Args:
        kernel: The kernel.
        rgb: ``sum`` or ``mean``.

    Returns:
        The kernel (D, 1, *size), and a description of the change.
    """
    done = dict(sum='summed', mean='averaged')[rgb]
    merged = kernel.sum(dim=1, keepdim=True) if rgb == 'sum' else kernel.mean(dim=1, keepdim=True)
    return merged, f'{kernel.shape[1]} channels {done} to 1'


def inflate_kernel(kernel: Tensor, frames: int, how: str) -> tuple[Tensor, str]:
    """Inflates a kernel (D, C, H, W) for images into one for clips (D, C, frames, H, W).

    For a clip of equal frames both ways respond like the old kernel to the frame, except where the kernel extends past
    the ends of the clip: there the padding is zero, and only ``center`` keeps the value. (Carreira and Zisserman 2017,
    I3D, and facebookresearch/SlowFast take the mean; Arnab et al. 2021, ViViT, compare the two and prefer the center.)

    Args:
        kernel: The kernel.
        frames: Length over time.
        how: ``center`` puts it into frame ``frames // 2`` and zeros elsewhere. ``mean`` spreads it over all frames.

    Returns:
        The kernel, and a description of the change.
    """
    if how == 'mean':
        return kernel.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames, f'spread over {frames} frames'
    inflated = kernel.new_zeros(*kernel.shape[:2], frames, *kernel.shape[2:])
    inflated[:, :, frames // 2] = kernel
    return inflated, f'in the center of {frames} frames'


class PatchEmbed(nn.Module):
    """Embeds overlapping patches.

    Args:
        in_channels: Channels of the input: 3 for RGB, 1 for a spectrogram.
        embed_dims: Width of the tokens.
        kernel: Kernel size, one entry per axis; its length is the rank of the input.
        stride: Stride, one entry per axis.
        padding: Padding, one entry per axis; ``kernel // 2`` if None.

    >>> import torch
    >>> tokens, grid = PatchEmbed(1, 96, kernel=(7, 7), stride=(4, 4))(torch.zeros(2, 1, 128, 1024))
    >>> tokens.shape, grid
    (torch.Size([2, 8192, 96]), (32, 256))
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        kernel: Sequence[int],
        *,
        stride: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        rank = len(kernel)
        if padding is None:
            padding = tuple(k // 2 for k in kernel)
        self.rank = rank
        self.in_channels = in_channels
        self.kernel = tuple(kernel)
        self.stride = to_tuple(stride, rank, 'stride')
        self.padding = to_tuple(padding, rank, 'padding')
        self.proj = CONVS[rank](in_channels, embed_dims, self.kernel, stride=self.stride, padding=self.padding)

    def grid_of(self, input_size: Sequence[int]) -> tuple[int, ...]:
        """Returns the grid of tokens for an input of this size.

        Raises:
            ValueError: If an axis is too short for the kernel.
        """
        input_size = to_tuple(input_size, self.rank, 'input_size')
        grid = tuple(
            (n + 2 * p - k) // s + 1
            for n, p, k, s in zip(input_size, self.padding, self.kernel, self.stride, strict=True)
        )
        if min(grid) < 1:
            raise ValueError(
                f'input size {tuple(input_size)} is too small for patches of {self.kernel}: no token is left'
            )
        return grid

    def adapt_weight(self, name: str, value: Tensor, hints: Hints) -> Adapted | None:
        """An image model's kernel with merged channels or inflated over time; None if neither applies.

        Args:
            name: Name of the parameter within this module.
            value: The value in the file.
            hints: ``rgb`` and ``inflate`` say how.
        """
        done = []
        if name == 'proj.weight' and value.dim() > 2:
            if self.in_channels == 1 != value.shape[1] and hints.rgb:
                value, how = to_one_channel(value, hints.rgb)
                done.append(how)
            if value.dim() == 4 and self.rank == 3 and hints.inflate:
                value, how = inflate_kernel(value, self.kernel[0], hints.inflate)
                done.append(how)
        return Adapted(value, ', '.join(done)) if done else None

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Turns (B, C, *size) into tokens (B, N, D) and the grid that N unrolls.

        Raises:
            ValueError: If the input has another rank or number of channels.
        """
        if x.dim() != self.rank + 2 or x.shape[1] != self.in_channels:
            raise ValueError(
                f'expected an input (B, {self.in_channels}, {", ".join(["*"] * self.rank)}), got shape {tuple(x.shape)}'
            )
        self.grid_of(x.shape[2:])
        x = self.proj(x)
        return x.flatten(2).transpose(1, 2), tuple(x.shape[2:])
