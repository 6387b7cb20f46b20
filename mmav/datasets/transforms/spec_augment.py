"""SpecAugment: masked bands of frequencies, masked stretches of time."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmav.errors import ConfigError
from mmav.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SpecAugment(BaseTransform):
    """Masks each spectrogram (F, T) of ``audio`` with zeros.

    The masks are drawn like ``torchaudio.functional.mask_along_axis``: the width uniform in [0, max), the start uniform
    where the mask fits, both truncated to whole numbers. (Park et al. 2019.) Zeros are the level of padding and, of a
    spectrogram normalised by :class:`~mmav.datasets.transforms.LogMel`'s ``per_clip``, the median.

    Args:
        freq_mask: Maximum width of the mask in mel bins.
        time_mask: Maximum width of the mask in frames.
        num_masks: How many masks each axis gets.
        skip_padding: Whether masks of time lie within the clip; otherwise those of a short clip may lie in its padding.

    Raises:
        ValueError: A width is negative, or ``num_masks`` below 1.
        ConfigError: When called, the audio is no spectrogram.
    """

    touches = ('audio',)

    def __init__(
        self, freq_mask: int = 48, time_mask: int = 192, *, num_masks: int = 1, skip_padding: bool = False
    ) -> None:
        if num_masks < 1:
            raise ValueError(f'num_masks must be at least 1, got {num_masks}')
        if min(freq_mask, time_mask) < 0:
            raise ValueError(f'mask widths cannot be negative, got freq_mask={freq_mask}, time_mask={time_mask}')
        self.freq_mask = freq_mask
        self.time_mask = time_mask
        self.num_masks = num_masks
        self.skip_padding = skip_padding

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Masks the spectrograms, each with its own draw."""
        if 'audio' in results:
            shape = results['audio'][0].shape
            if len(shape) != 2:
                raise ConfigError(
                    f'SpecAugment masks spectrograms (F, T), got audio of shape {shape}: put it after LogMel, and '
                    'leave it out where the model reads waveforms'
                )
            frames = shape[1]
            if self.skip_padding:
                frames = results.get('audio_frames', frames)
            results['audio'] = [self._masked(spectrogram, frames, results['rng']) for spectrogram in results['audio']]
        return results

    def _masked(self, spectrogram: np.ndarray, frames: int, rng: np.random.Generator) -> np.ndarray:
        out = spectrogram.copy()
        for _ in range(self.num_masks):
            for axis, (widest, size) in enumerate(((self.freq_mask, out.shape[0]), (self.time_mask, frames))):
                width = rng.random() * min(widest, size)
                start = int(rng.random() * (size - width))
                out.swapaxes(0, axis)[start : start + int(width)] = 0.0
        return out
