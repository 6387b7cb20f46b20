"""Patch embedding of a spectrogram (F, T) or a clip (T, H, W): one strided convolution."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mmav.adapting import Adapted, Hints
from mmav.models.layers.picture_kernels import inflate_kernel, to_one_channel
from mmav.models.layers.pooling import CONVS, to_tuple


class PatchEmbed(nn.Module):
    """Embeds overlapping patches.

    Args:
        in_channels: Channels of the input: 3 for RGB, 1 for a spectrogram.
        embed_dims: Width of the tokens.
        kernel: Kernel size, one entry per axis; their number is the rank of the input.
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
        self.proj = CONVS[rank](
            in_channels,
            embed_dims,
            self.kernel,  # type: ignore[arg-type]
            stride=self.stride,  # type: ignore[arg-type]
            padding=self.padding,  # type: ignore[arg-type]
        )

    def grid_of(self, input_size: Sequence[int]) -> tuple[int, ...]:
        """Returns the grid of tokens for an input of this size.

        Raises:
            ValueError: If an axis is shorter than the kernel allows.
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
        """A picture model's kernel: several channels become one, and it stands in frames; None for what is neither.

        Args:
            name: Name of the parameter within this module.
            value: A file's.
            hints: Has what is wanted under ``rgb`` and ``inflate``.
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
