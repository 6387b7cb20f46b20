"""The front end of models that read waveforms."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmav.datasets.transforms.spectrogram import Spectrogram
from mmav.registry import TRANSFORMS

# of transformers, models/wav2vec2/feature_extraction_wav2vec2.py
EPSILON = 1e-7


@TRANSFORMS.register_module()
class Waveform(Spectrogram):
    """Brings waveforms (S,) to one length (T,) float32, for Wav2Vec 2.0, HuBERT, WavLM, PE-A and other such models.

    Shorter audio is followed by zeros, of longer audio the beginning is taken. The packed input is (V, 1, T).

    Args:
        target_samples: T.
        sample_rate: Samples per second of the waveforms.
        normalize: Whether each waveform, before zeros follow, is brought to mean 0 and variance 1, as the feature
            extractor of Wav2Vec 2.0 does (``do_normalize`` of its preprocessor_config.json).

    Raises:
        ValueError: ``target_samples`` is below 1.
    """

    deterministic = True
    touches = ('audio',)
    axes = 'T'
    length = 'zeros are appended up to target_frames samples; what exceeds them is cut'

    def __init__(self, target_samples: int = 160000, sample_rate: int = 16000, *, normalize: bool = False) -> None:
        if target_samples < 1:
            raise ValueError(f'target_samples must be at least 1, got {target_samples}')
        milliseconds = 1000 / sample_rate
        super().__init__(
            1, target_samples, sample_rate=sample_rate, frame_length_ms=milliseconds, frame_shift_ms=milliseconds
        )
        self.normalize = normalize

    @property
    def shape(self) -> tuple[int, ...]:
        """(T,)."""
        return (self.target_frames,)

    def num_frames(self, num_samples: int) -> int:
        """How many of the T samples a waveform fills."""
        return min(num_samples, self.target_frames)

    def spectrogram(self, waveform: np.ndarray) -> np.ndarray:
        """The waveform (T,) of one of any length."""
        wave = np.asarray(waveform[: self.target_frames], np.float32)
        if self.normalize and wave.size:
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + EPSILON)
        return np.pad(wave, (0, self.target_frames - len(wave)))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Brings each waveform of ``audio`` to T samples, and says that it is to stay one (``audio_rank``)."""
        results = super().transform(results)
        results['audio_rank'] = 1
        return results

    def identity(self) -> dict[str, Any]:
        """What decides the values; the length does not."""
        return dict(front_end='Waveform', sample_rate=self.sample_rate, normalize=self.normalize)

    def describe(self) -> dict[str, Any]:
        """What is done to the samples."""
        how = f'(x - mean) / sqrt(variance + {EPSILON:g}) over the samples of the clip' if self.normalize else 'none'
        return dict(waveform=dict(sample_rate=self.sample_rate, normalisation=how))
