"""A small residual convolutional encoder, the backbone that learns from a few thousand clips without pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmav.models.backbones.base import Backbone, require_size
from mmav.models.init import DrawnModule
from mmav.registry import MODELS
from mmav.structures import Tokens

POOLS = ('max', 'mean')


def shift_in_time(x: Tensor, frames: int, share: float) -> Tensor:
    """Moves a share of the channels one frame back, and as many one frame on; zeros enter at the ends.

    The temporal shift of Lin et al. (2019, TSM): two-dimensional convolutions then see neighbouring frames, without
    parameters or operations of their own.

    Args:
        x: Maps (B * T, C, H, W).
        frames: T.
        share: Share of the channels that moves in each direction.

    >>> shift_in_time(torch.arange(1.0, 7).view(3, 2, 1, 1), 3, 0.5).flatten(1).tolist()
    [[3.0, 0.0], [5.0, 2.0], [0.0, 4.0]]
    """
    moved = int(x.shape[1] * share)
    # (B, T, H, W, C): in this order nothing is copied before the next convolution, which saves a third of a step
    x = x.permute(0, 2, 3, 1).unflatten(0, (-1, frames))
    back, on, still = x.split((moved, moved, x.shape[-1] - 2 * moved), dim=-1)
    none = torch.zeros_like(back[:, :1])
    x = torch.cat((torch.cat((back[:, 1:], none), dim=1), torch.cat((none, on[:, :-1]), dim=1), still), dim=-1)
    return x.flatten(0, 1).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm beside a shortcut (He et al. 2016), the first strided and shifted in time.

    Where size or width change, the shortcut is an average over the stride and a 1 x 1 convolution (He et al. 2019,
    ResNet-D).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride along both axes.
        shift: Share of the channels that :func:`shift_in_time` moves in each direction.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: tuple[int, int], *, shift: float = 0.0) -> None:
        super().__init__()
        self.stride = stride
        self.shift = shift
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, frames: int = 1) -> Tensor:
        """Maps (B * T, C, H, W) to maps of the other width and size."""
        shortcut = self.norm(self.shortcut(F.avg_pool2d(x, self.stride, ceil_mode=True)))
        if self.shift and frames > 1:
            x = shift_in_time(x, frames, self.shift)
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(shortcut + self.norm2(self.conv2(x)))


def _are_counts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(type(n) is int and n > 0 for n in value)


@MODELS.register_module()
class ConvEncoder(DrawnModule, Backbone):
    """Residual convolutional network for clips and spectrograms; the length of ``input_size`` tells which.

    A strided 3 x 3 convolution and one :class:`ResidualBlock` a stage. A clip (B, 3, T, H, W) is convolved frame by
    frame, and its frames see their neighbours by :func:`shift_in_time`. A spectrogram (B, 1, F, T) keeps the position
    along F, which tells one sound from another: a last convolution spans all rows that are left (``span=True``).

    The class embedding is by default the maximum over the last map, not its mean. What a clip is about fills a small
    part of it, and its mean over all places changes so little at first that training does not start
    (configs/small/README.md has the measurements).

    At run time inputs may have another size than ``input_size``. With ``span`` the last map is then averaged to the
    number of rows that the last convolution has.

    Args:
        input_size: Size of the input at construction: (F, T) of a spectrogram or (T, H, W) of a clip.
        in_channels: Channels of the input.
        widths: Channels of the stem and of each stage; the last is the width D of the tokens.
        strides: Stride of the stem and of each stage along both axes: (H, W), or (F, T).
        shift: Share of the channels that moves one frame in each direction; 0 for frames on their own.
        span: Whether a last convolution spans the first axis; None for spectrograms only.
        pool: 'max' or 'mean' over the last map.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If an argument is invalid, or the input has another rank.

    >>> tokens = ConvEncoder(input_size=(4, 32, 32), widths=(8, 16, 32))(torch.zeros(2, 3, 4, 32, 32))
    >>> tokens.cls.shape, tokens.patches.shape, tokens.grid
    (torch.Size([2, 32]), torch.Size([2, 64, 32]), (4, 4, 4))
    >>> tokens = ConvEncoder(input_size=(32, 64), in_channels=1, widths=(8, 16, 32))(torch.zeros(2, 1, 32, 64))
    >>> tokens.cls.shape, tokens.patches.shape, tokens.grid
    (torch.Size([2, 32]), torch.Size([2, 8, 32]), (1, 8))
    """

    def __init__(
        self,
        input_size: Sequence[int] = (8, 64, 64),
        in_channels: int = 3,
        widths: Sequence[int] = (32, 64, 128, 256),
        *,
        strides: int | Sequence[int | Sequence[int]] = 2,
        shift: float = 0.125,
        span: bool | None = None,
        pool: str = 'max',
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if len(require_size(input_size, '(F, T) of a spectrogram or (T, H, W) of a clip')) not in (2, 3):
            raise ValueError(f'input_size={tuple(input_size)} must be (F, T) of a spectrogram or (T, H, W) of a clip')
        if not _are_counts(widths) or len(widths) < 2:
            raise ValueError(f'widths={widths} must have the stem and at least one stage, each above 0')
        if not 0 <= shift <= 0.5:
            raise ValueError(f'shift={shift} must lie in [0, 0.5]: that share moves in each direction')
        if pool not in POOLS:
            raise ValueError(f'pool={pool!r} is unknown: choose {" or ".join(POOLS)}')
        each = strides if isinstance(strides, (list, tuple)) else [strides]
        if not all(_are_counts([step] if isinstance(step, int) else step) for step in each) or any(
            not isinstance(step, int) and len(step) != 2 for step in each
        ):
            raise ValueError(f'strides={strides} must be whole numbers above 0, or pairs of them')
        steps = [strides] * len(widths) if isinstance(strides, int) else list(strides)
        if len(steps) != len(widths):
            raise ValueError(f'strides={strides} has {len(steps)} entries for {len(widths)} widths: give one for each')
        pairs = [(step, step) if isinstance(step, int) else (step[0], step[1]) for step in steps]
        super().__init__(input_size, in_channels, widths[-1], init_cfg=init_cfg)
        self.pool = pool
        first = widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, first, 3, stride=pairs[0], padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU()
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(before, after, pair, shift=shift if len(input_size) == 3 else 0.0)
            for before, after, pair in zip(widths[:-1], widths[1:], pairs[1:], strict=True)
        )
        self.rows = self.input_size[-2]
        for pair in pairs:
            self.rows = -(-self.rows // pair[0])
        self.last = None
        if len(input_size) == 2 if span is None else span:
            conv = nn.Conv2d(self.out_dims, self.out_dims, (self.rows, 1), bias=False)
            self.last = nn.Sequential(conv, nn.BatchNorm2d(self.out_dims), nn.ReLU())
        self.draw_aside()

    def forward(self, x: Tensor) -> Tokens:
        """Encodes (B, C, *size) into tokens of width ``out_dims``.

        Raises:
            ValueError: If the input has another rank.
        """
        if x.dim() != len(self.input_size) + 2:
            raise ValueError(
                f'an input of shape {tuple(x.shape)} does not fit input_size={self.input_size}: expected '
                f'(B, {self.in_channels}, {", ".join("THW" if len(self.input_size) == 3 else "FT")})'
            )
        frames = x.shape[2] if x.dim() == 5 else 1
        # (B * T, C, H, W); convolutions on a CPU, and in half types on a GPU, are faster with the channels last
        x = (x.transpose(1, 2).flatten(0, 1) if x.dim() == 5 else x).contiguous(memory_format=torch.channels_last)
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, frames)
        if self.last is not None:
            if x.shape[2] != self.rows:
                x = F.adaptive_avg_pool2d(x, (self.rows, x.shape[3]))
            x = self.last(x)
        height, width = x.shape[2:]
        patches = x.unflatten(0, (-1, frames)).permute(0, 1, 3, 4, 2).flatten(1, 3)  # (B, N, D)
        cls = patches.amax(dim=1) if self.pool == 'max' else patches.mean(dim=1)
        return Tokens(cls, patches, (frames, height, width) if len(self.input_size) == 3 else (height, width))
