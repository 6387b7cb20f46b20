"""SpecAugment: one masked band of frequencies, one masked stretch of time."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmav.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SpecAugment(BaseTransform):
    """Masks each spectrogram (F, T) of ``audio`` with zeros.

    The masks are drawn like ``torchaudio.functional.mask_along_axis``: the width uniform in [0, max), the start uniform
    where the mask fits, both truncated to whole numbers. (Park et al. 2019.)

    Args:
        freq_mask: Maximum width of the mask in mel bins.
        time_mask: Maximum width of the mask in frames.

    Raises:
        ValueError: A width is negative.
    """

    def __init__(self, freq_mask: int = 48, time_mask: int = 192) -> None:
        if min(freq_mask, time_mask) < 0:
            raise ValueError(f'mask widths cannot be negative, got freq_mask={freq_mask}, time_mask={time_mask}')
        self.freq_mask = freq_mask
        self.time_mask = time_mask

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Masks the spectrograms, each with its own draw."""
        if 'audio' in results:
            results['audio'] = [self._masked(spectrogram, results['rng']) for spectrogram in results['audio']]
        return results

    def _masked(self, spectrogram: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        out = spectrogram.copy()
        for axis, widest in enumerate((self.freq_mask, self.time_mask)):
            size = out.shape[axis]
            width = rng.random() * min(widest, size)
            start = int(rng.random() * (size - width))
            out.swapaxes(0, axis)[start : start + int(width)] = 0.0
        return out
