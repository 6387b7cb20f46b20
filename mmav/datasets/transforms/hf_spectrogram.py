"""The log-mels that a model of transformers was trained on, computed by its own feature extractor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmav.datasets.transforms.log_mel import LogMel
from mmav.datasets.transforms.spectrogram import Spectrogram
from mmav.errors import ConfigError, one_line
from mmav.hf_files import build_extractor
from mmav.mel import FRAME_LENGTH_MS
from mmav.registry import TRANSFORMS

_SHIFT_MS = 10.0
_AST = 'ASTFeatureExtractor'


@TRANSFORMS.register_module()
class HFSpectrogram(Spectrogram):
    """Converts waveforms (S,) to spectrograms (F, T) float32 by a feature extractor of transformers.

    They are those that the model gets from its processor, bit for bit: CLAP's mels at 48 kHz with short audio repeated,
    Whisper's 30 s. Only the fixed mean and deviation of AST's extractor are left to the data preprocessor, as
    ``norm=dict(audio='backbone')`` takes them; AST's spectrograms are also those of
    :class:`~mmav.datasets.transforms.LogMel`, which is faster and needs no transformers.

    Length and sample rate are the extractor's; of longer audio the beginning is taken. Give LoadClip its sample rate.

    Args:
        extractor: A folder or a name of the hub with preprocessor_config.json, or a dict of
            ``feature_extractor_type`` and its arguments.
        changes: Arguments of the extractor to change.

    Raises:
        ConfigError: transformers is not installed; there is no such extractor; or it gives waveforms.
    """

    touches = ('audio',)
    packages = ('transformers',)
    bin_name = 'mel bins'
    length = 'the extractor pads or cuts to target_frames'

    def __init__(self, extractor: str | Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> None:
        entries = {**extractor, **(changes or {})} if isinstance(extractor, Mapping) else changes
        built = build_extractor(extractor, entries, who='HFSpectrogram')
        if built is None:
            raise ConfigError("HFSpectrogram: extractor has no feature_extractor_type, such as 'ClapFeatureExtractor'")
        self.kind = type(built).__name__
        self.settings = {key: value for key, value in built.to_dict().items() if _is_setting(value)}
        self.extractor = built
        if getattr(built, 'do_normalize', False) and isinstance(getattr(built, 'mean', None), int | float):
            built.do_normalize = False  # left to the data preprocessor
        shift = 1000 * getattr(built, 'hop_length', _SHIFT_MS * built.sampling_rate / 1000) / built.sampling_rate
        frame = 1000 * getattr(built, 'fft_window_size', getattr(built, 'n_fft', 0)) / built.sampling_rate
        # of one second, as all of them pad
        shape = self._extract(np.zeros(built.sampling_rate, np.float32)).shape
        if len(shape) != 2 or shape[0] == 1:
            raise ConfigError(f"HFSpectrogram: {self.kind} gives no spectrograms; use dict(type='Waveform')")
        super().__init__(
            shape[0],
            shape[1],
            sample_rate=built.sampling_rate,
            frame_length_ms=frame or FRAME_LENGTH_MS,
            frame_shift_ms=shift,
        )

    @property
    def deterministic(self) -> bool:
        """Unless the extractor adds noise."""
        return not self.settings.get('dither')

    def _extract(self, waveform: np.ndarray) -> np.ndarray:
        built = self.extractor
        # an extractor that cuts at random is given no more than it takes
        most = getattr(built, 'nb_max_samples', None)
        wave = np.asarray(waveform[:most], np.float32)
        try:
            values = np.asarray(built(wave, sampling_rate=built.sampling_rate)[built.model_input_names[0]][0])
        except Exception as error:  # extractors can raise anything
            raise ConfigError(f'{self.kind} cannot read {len(wave)} samples: {one_line(error)}') from error
        if values.ndim == 3:  # of several equal channels one
            values = values[0]
        bins = getattr(built, 'num_mel_bins', getattr(built, 'feature_size', None))
        # Whisper's has the bins first, all others the frames
        return values if self.kind == 'WhisperFeatureExtractor' or values.shape[-1] != bins else values.T

    def spectrogram(self, waveform: np.ndarray) -> np.ndarray:
        """The spectrogram (F, T) of a waveform (S,)."""
        return np.ascontiguousarray(self._extract(waveform), np.float32)

    def identity(self) -> dict[str, Any]:
        """What decides the values; for AST's, that of the LogMel that computes the same."""
        if self.kind == _AST:
            return LogMel(self.num_bins, self.target_frames, sample_rate=self.sample_rate).identity()
        return dict(front_end=self.kind, **self.settings)

    def describe(self) -> dict[str, Any]:
        """The extractor and its arguments."""
        return dict(log_mel=dict(by=f'transformers.{self.kind}', **self.settings))


def _is_setting(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
