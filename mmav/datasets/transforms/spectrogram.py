"""The contract between an audio front end and the rest of the library, as a base class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch import Tensor

from mmav.errors import ConfigError


class Spectrogram(BaseTransform):
    """Converts waveforms (S,) to spectrograms (F, T) float32, like :class:`~mmav.datasets.transforms.LogMel`.

    A subclass implements :meth:`compute`; its result is padded with zeros or truncated to ``target_frames``. Absent
    audio gives zeros, and audio shorter than a frame is absent. Everything else in the library that deals with
    spectrograms uses the attributes and methods defined here: statistics for normalisation, the window of inference,
    the axes of figures, and the description of an exported model. A front end that pads in another way, or gives
    something else than a spectrogram, overrides :meth:`spectrogram` and says so in ``length`` and ``axes``.

    Args:
        num_bins: F.
        target_frames: T.
        sample_rate: Samples per second of the waveforms.
        frame_length_ms: Milliseconds of a frame of analysis.
        frame_shift_ms: Milliseconds from one frame to the next.
    """

    bin_name = 'bins'  # what figures call F
    axes = 'F, T'  # of what it gives
    length = 'zeros are appended to the spectrogram up to target_frames; what exceeds them is cut'

    def __init__(
        self, num_bins: int, target_frames: int, *, sample_rate: int, frame_length_ms: float, frame_shift_ms: float
    ) -> None:
        self.num_bins = num_bins
        self.target_frames = target_frames
        self.sample_rate = sample_rate
        self.frame_length_ms = frame_length_ms
        self.frame_shift_ms = frame_shift_ms

    def compute(self, waveform: Tensor) -> Tensor:
        """The spectrogram (F, T') of a waveform (S,) float32: all T' >= 1 frames that lie completely within it."""
        raise NotImplementedError

    def bin_of(self, hertz: float) -> float | None:
        """The position of a frequency along F, with bin k centred at k + 0.5; None if unknown."""
        return None

    def describe(self) -> dict[str, Any]:
        """How a spectrogram is computed, in plain values, for users without mmav; empty by default."""
        return {}

    def identity(self) -> dict[str, Any]:
        """What decides the values of a spectrogram but for its length; two of one identity compute the same."""
        return dict(
            front_end=type(self).__name__,
            num_bins=self.num_bins,
            sample_rate=self.sample_rate,
            frame_length_ms=self.frame_length_ms,
            frame_shift_ms=self.frame_shift_ms,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """(F, T)."""
        return self.num_bins, self.target_frames

    @property
    def window(self) -> float:
        """Seconds that T frames span."""
        return self.target_frames * self.step

    @property
    def step(self) -> float:
        """Seconds from one column to the next."""
        return self.frame_shift_ms / 1000

    @property
    def first(self) -> float:
        """Seconds from the waveform's start to the beginning of column 0, each column centred in its frame."""
        return (self.frame_length_ms / 1000 - self.step) / 2

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replaces each waveform of ``audio`` by its spectrogram; adds ``audio_frames``, how many are filled.

        Raises:
            ConfigError: The waveforms have another sample rate than it is made for.
        """
        if 'audio' in results:
            present = self._note(results)
            results['audio'] = [
                self.spectrogram(wave) if present else np.zeros(self.shape, np.float32) for wave in results['audio']
            ]
        return results

    def _note(self, results: dict[str, Any]) -> bool:
        """Whether there is audio, by its length, too; noted with ``audio_frames``."""
        rate = results.get('sample_rate', self.sample_rate)
        if rate != self.sample_rate:
            raise ConfigError(
                f'{type(self).__name__} reads {self.sample_rate} samples a second, but LoadClip gives {rate}: set '
                f'sample_rate={self.sample_rate} of LoadClip'
            )
        frames = [self.num_frames(len(wave)) for wave in results['audio']]
        present = bool(results['masks']['audio'] and all(frames))
        results['masks']['audio'] = present
        results['audio_frames'] = max(frames) if present else 0
        return present

    def num_frames(self, num_samples: int) -> int:
        """How many of the ``target_frames`` a waveform with ``num_samples`` fills; the rest is padding."""
        length, shift = (int(self.sample_rate * ms * 0.001) for ms in (self.frame_length_ms, self.frame_shift_ms))
        return min(1 + (num_samples - length) // shift, self.target_frames) if num_samples >= length else 0

    def spectrogram(self, waveform: np.ndarray) -> np.ndarray:
        """The spectrogram (F, T) of a waveform (S,).

        Raises:
            ConfigError: :meth:`compute` returns something else than it should.
        """
        out = np.zeros((self.num_bins, self.target_frames), np.float32)
        used = self.num_frames(len(waveform))
        if used:
            values = self.compute(torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32)))
            found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            if not isinstance(found, tuple) or found[:-1] != (self.num_bins,) or found[1] < used:
                raise ConfigError(
                    f'{type(self).__name__}.compute returns {found} for {len(waveform)} samples, not a tensor '
                    f'({self.num_bins}, T), T at least the {used} frames of {self.frame_length_ms:g} ms that fit, one '
                    f'every {self.frame_shift_ms:g} ms: see mmav.datasets.transforms.spectrogram'
                )
            out[:, :used] = values[:, :used].detach().numpy()
        return out


def find_spectrogram(steps: Iterable[Any]) -> Spectrogram | None:
    """The audio front end among the steps of a pipeline, or None."""
    return next((step for step in steps if isinstance(step, Spectrogram)), None)
