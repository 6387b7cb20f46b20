"""The steps of a pipeline that a data preprocessor can take over, for a whole batch on the model's device.

Each draws as the transform of its name does. Places are drawn on the CPU, so that nothing waits for a GPU, and a GPU
erases and masks the same places as a CPU: by Python's generator where they decide about shapes, else by torch's. Noise
is drawn by the device's. :class:`~mmav.engine.hooks.seed.SeedHook` seeds all of them before every iteration.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mmav.mel import frame_sizes, log_mel_of_batch, window_and_mel, without_background_of_batch

Fill = Callable[[Tensor], Tensor]


class DeviceLogMel(nn.Module):
    """Log-mel spectrograms of a batch, equal to :class:`mmav.datasets.transforms.LogMel`'s.

    The pipeline gives the waveforms by :class:`mmav.datasets.transforms.DeviceLogMel`. On a CPU the two differ by
    rounding. Another device has another Fourier transform, whose rounding shows where a mel bin holds less than a
    millionth of a frame's power, such as beside a pure tone.

    Args:
        num_mel_bins: F.
        target_frames: T.
        sample_rate: Samples per second of the waveforms.
        frame_shift_ms: Milliseconds from one frame to the next.
        per_clip: Whether each clip is normalised by itself, see there.

    Raises:
        ValueError: There are fewer than 4 mel bins, or no frame.
    """

    window: Tensor
    mel: Tensor

    def __init__(
        self,
        num_mel_bins: int = 128,
        target_frames: int = 1024,
        *,
        sample_rate: int = 16000,
        frame_shift_ms: float = 10.0,
        per_clip: bool = False,
    ) -> None:
        super().__init__()
        if num_mel_bins < 4 or target_frames < 1:
            raise ValueError(f'need at least 4 mel bins and 1 frame, got {num_mel_bins} and {target_frames}')
        self.target_frames = target_frames
        self.per_clip = per_clip
        self.length, self.shift = frame_sizes(sample_rate, frame_shift_ms)
        padded = 1 << (self.length - 1).bit_length()
        window, mel = window_and_mel(self.length, padded, num_mel_bins, sample_rate)
        self.register_buffer('window', window, persistent=False)
        self.register_buffer('mel', mel, persistent=False)

    def num_frames(self, lengths: Tensor) -> Tensor:
        """How many frames lie completely within waveforms of so many samples, of any shape."""
        return ((lengths - self.length).div(self.shift, rounding_mode='floor') + 1).clamp(min=0)

    def forward(self, waves: Tensor, lengths: Tensor, columns: int | None = None) -> Tensor:
        """Computes spectrograms.

        Args:
            waves: Waveforms (B, V, 1, S) float32 without their means, followed by zeros.
            lengths: How many samples of each count (B, V).
            columns: How many of the T columns to give; those left out must be empty.

        Returns:
            (B, V, 1, F, T), zeros where a waveform has ended.
        """
        columns = self.target_frames if columns is None else columns
        frames = self.num_frames(lengths.flatten())
        # a mixed precision of the model is not for this
        with torch.autocast(waves.device.type, enabled=False):
            whole = waves.flatten(0, 2)
            # on a CPU one after the other, as arrays of a batch leave its cache between two operations
            parts = whole.split(1) if whole.device.type == 'cpu' and len(whole) else [whole]
            log_mel = torch.cat([log_mel_of_batch(part, self.window, self.mel, self.shift) for part in parts])
            if self.per_clip:
                log_mel = without_background_of_batch(log_mel, frames)
        log_mel = nn.functional.pad(log_mel, (0, max(columns - log_mel.shape[-1], 0)))[..., :columns]
        counted = torch.arange(columns, device=waves.device) < frames[:, None]
        return torch.where(counted[:, None], log_mel, 0.0).unflatten(0, lengths.shape).unsqueeze(2)


class DeviceSpecAugment:
    """Masks each spectrogram of a batch with zeros, as :class:`mmav.datasets.transforms.SpecAugment` does.

    Args:
        freq_mask: Maximum width of the mask in mel bins.
        time_mask: Maximum width of the mask in frames.
        num_masks: How many masks each axis gets.
        skip_padding: Whether masks of time lie within the clip.
        num_views: How many copies of each spectrogram are masked, each with its own draw, in the place of
            :class:`mmav.datasets.transforms.AudioViews` between LogMel and SpecAugment.

    Raises:
        ValueError: A width is negative, or a number below 1.
    """

    def __init__(
        self,
        freq_mask: int = 48,
        time_mask: int = 192,
        *,
        num_masks: int = 1,
        skip_padding: bool = False,
        num_views: int = 1,
    ) -> None:
        if min(num_masks, num_views) < 1:
            raise ValueError(f'num_masks and num_views must be at least 1, got {num_masks} and {num_views}')
        if min(freq_mask, time_mask) < 0:
            raise ValueError(f'mask widths cannot be negative, got freq_mask={freq_mask}, time_mask={time_mask}')
        self.freq_mask = freq_mask
        self.time_mask = time_mask
        self.num_masks = num_masks
        self.skip_padding = skip_padding
        self.num_views = num_views

    def __call__(self, spectrograms: Tensor, frames: Tensor) -> Tensor:
        """Masks, in new memory.

        Args:
            spectrograms: (B, V, 1, F, T) on any device.
            frames: How many columns of each clip are filled (B,), on the CPU.

        Returns:
            (B, V * num_views, 1, F, T).
        """
        if self.num_views > 1:
            spectrograms = spectrograms.repeat_interleave(self.num_views, dim=1)
        clips, views, _, bins, columns = spectrograms.shape
        sizes = frames.clamp(max=columns) if self.skip_padding else torch.full_like(frames, columns)
        hidden = torch.zeros((), dtype=torch.bool, device=spectrograms.device)
        for axis, (widest, size) in enumerate(
            ((self.freq_mask, torch.full_like(sizes, bins)), (self.time_mask, sizes)), start=3
        ):
            shape = (clips, views, self.num_masks)
            size = size[:, None, None]
            width = torch.rand(shape, dtype=torch.float64, device='cpu') * size.clamp(max=widest)
            start = (torch.rand(shape, dtype=torch.float64, device='cpu') * (size - width)).long()
            spans = to_device(torch.stack((start, start + width.long())), spectrograms.device)
            place = torch.arange(spectrograms.shape[axis], device=spectrograms.device)
            inside = ((place >= spans[0][..., None]) & (place < spans[1][..., None])).any(dim=2)  # (B, V, size)
            hidden = hidden | inside[:, :, None].unsqueeze(7 - axis)
        return torch.where(hidden, 0.0, spectrograms)


class DeviceRandomErasing:
    """Fills random rectangles of a batch with noise, as :class:`mmav.datasets.transforms.RandomErasing` does.

    Args:
        p: Probability for each view.
        area: Minimum and maximum share of the frame's area.
        min_aspect: Minimum ratio of height to width; the maximum is its inverse.
        mean: Mean of the noise in pixel values.
        std: Standard deviation of the noise in pixel values.

    Raises:
        ValueError: An argument is invalid.
    """

    def __init__(
        self,
        p: float = 0.25,
        area: Sequence[float] = (0.02, 1 / 3),
        *,
        min_aspect: float = 0.3,
        mean: float = 0.45 * 255,
        std: float = 0.225 * 255,
    ) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f'p must lie in [0, 1], got {p}')
        if not 0 < area[0] <= area[1] <= 1 or not 0 < min_aspect <= 1:
            raise ValueError(f'area and min_aspect must lie in (0, 1], got {tuple(area)} and {min_aspect}')
        self.p = p
        self.area = area
        self.min_aspect = min_aspect
        self.mean = mean
        self.std = std

    def __call__(self, video: Tensor, normalise: Fill) -> Tensor:
        """Erases, in place.

        Args:
            video: Normalised frames (B, V, 3, T, H, W) float32.
            normalise: Normalises pixel values (1, 1, 3, T, h, w) as the frames were.

        Returns:
            ``video``.
        """
        for clip, view in itertools.product(range(video.shape[0]), range(video.shape[1])):
            box = self._box(*video.shape[-2:]) if random.random() < self.p else None
            if box is not None:
                region = video[clip, view, ..., slice(*box[:2]), slice(*box[2:])]
                noise = torch.randn(region.shape, device=video.device).mul_(self.std).add_(self.mean)
                # whole numbers, as pixels are
                region.copy_(normalise(noise.clamp_(0, 255).floor_()[None, None])[0, 0])
        return video

    def _box(self, height: int, width: int) -> tuple[int, int, int, int] | None:
        """Top, bottom, left and right, or None if ten draws do not fit."""
        low, high = self.area
        log_aspect = math.log(self.min_aspect)
        for _ in range(10):
            area = random.uniform(low, high) * height * width
            aspect = math.exp(random.uniform(log_aspect, -log_aspect))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < h < height and 0 < w < width:
                top, left = random.randint(0, height - h), random.randint(0, width - w)
                return top, top + h, left, left + w
        return None


def to_device(value: Tensor, device: torch.device) -> Tensor:
    """Copies from the CPU without waiting, also for a GPU, which reads pinned memory only in the background."""
    if device.type == 'cuda' and type(value) is Tensor:  # a fake tensor is a subclass, and has no memory
        value = value.pin_memory()
    return value.to(device, non_blocking=True)
