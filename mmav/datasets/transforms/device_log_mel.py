"""The part of a log-mel front end that stays in a worker where the data preprocessor computes the spectrogram."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mmav.datasets.transforms.log_mel import LogMel
from mmav.mel import frame_sizes
from mmav.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DeviceLogMel(LogMel):
    """Packs waveforms, whose spectrograms :class:`mmav.models.AVDataPreprocessor` computes with its ``log_mel``.

    To everything else it is the :class:`LogMel` of its arguments; give ``data_preprocessor.log_mel`` the same. Of
    transforms that change audio only :class:`AudioViews` can follow it; SpecAugment becomes
    ``data_preprocessor.spec_augment``.

    Args:
        num_mel_bins: F.
        target_frames: T.
        sample_rate: Samples per second of the waveforms.
        frame_shift_ms: Milliseconds from one frame to the next.
        per_clip: Whether each clip is normalised by itself, see :class:`LogMel`. Clips longer than ``target_frames``
            are then packed whole, as all of it decides, and the longest of a batch decides about its size.

    Raises:
        ValueError: An argument is invalid.
    """

    deterministic = True
    touches = ('audio',)

    def __init__(
        self,
        num_mel_bins: int = 128,
        target_frames: int = 1024,
        *,
        sample_rate: int = 16000,
        frame_shift_ms: float = 10.0,
        per_clip: bool = False,
    ) -> None:
        super().__init__(
            num_mel_bins, target_frames, sample_rate=sample_rate, frame_shift_ms=frame_shift_ms, per_clip=per_clip
        )
        length, shift = frame_sizes(sample_rate, frame_shift_ms)
        # of T frames, the last of which begins T - 1 shifts after the first
        self.samples = length + (target_frames - 1) * shift

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Subtracts the mean of each waveform of ``audio`` and cuts off what no frame needs.

        Adds ``audio_frames``, how many frames are filled, and ``audio_samples``, the length to pack them in.

        Raises:
            ConfigError: The waveforms have another sample rate than it is made for.
        """
        if 'audio' in results:
            present = self._note(results)
            results['audio'] = [
                self._waveform(wave) if present else np.zeros(0, np.float32) for wave in results['audio']
            ]
            results['audio_samples'] = self.samples
        return results

    def _waveform(self, wave: np.ndarray) -> np.ndarray:
        # as LogMel does, so that both compute with the same values
        whole = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
        centred: np.ndarray = (whole - whole.mean()).numpy()
        return centred if self.per_clip else centred[: self.samples]

    def identity(self) -> dict[str, Any]:
        """That of the LogMel that computes the same."""
        return {**super().identity(), 'front_end': 'LogMel'}
