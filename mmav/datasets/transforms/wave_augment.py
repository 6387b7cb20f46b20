"""Random changes of a waveform: level, position in time, speed, and the sound of another clip behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmav.registry import TRANSFORMS


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Plays a waveform (S,) faster by a factor, and so higher; cut or padded with silence to its length.

    >>> change_speed(np.arange(4, dtype=np.float32), 2.0)
    array([0., 2., 0., 0.], dtype=float32)
    """
    out = np.zeros_like(wave)
    times = np.arange(min(len(wave), int(np.ceil(len(wave) / factor)))) * factor
    # linear between samples: what it adds above 4 kHz is far below what it is to be robust against
    out[: len(times)] = np.interp(times, np.arange(len(wave)), wave)
    return out


def shift(wave: np.ndarray, samples: int) -> np.ndarray:
    """Moves a waveform (S,) later, or earlier if negative; what leaves at one end enters at the other."""
    return np.roll(wave, samples)


@TRANSFORMS.register_module()
class WaveAugment(BaseTransform):
    """Changes each waveform (S,) of ``audio`` before its spectrogram is taken; each view with its own draw.

    None of it changes what a clip sounds like to a listener: speed and pitch by a few percent, the place in time, which
    wraps around, and noise.

    Args:
        speed: The speed is drawn from [1 - speed, 1 + speed].
        shift: The waveform is moved by up to this share of its length in either direction.
        noise: Lowest and highest signal-to-noise ratio in dB of white noise; None for no noise.
        p: Probability of noise.

    Raises:
        ValueError: An argument is invalid.
    """

    touches = ('audio',)

    def __init__(
        self, speed: float = 0.1, shift: float = 0.2, noise: tuple[float, float] | None = None, *, p: float = 0.5
    ) -> None:
        if not 0 <= speed < 1 or not 0 <= shift <= 1 or not 0 <= p <= 1:
            raise ValueError(f'speed must lie in [0, 1), shift and p in [0, 1], got {speed}, {shift} and {p}')
        if noise is not None and not noise[0] <= noise[1]:
            raise ValueError(f'noise must be two levels in dB, the lower first; got {tuple(noise)}')
        self.speed = speed
        self.shift = shift
        self.noise = noise
        self.p = p

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Changes the waveforms."""
        if results.get('masks', {}).get('audio', 'audio' in results):
            results['audio'] = [self._changed(wave, results['rng']) for wave in results['audio']]
        return results

    def _changed(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.speed:
            wave = change_speed(wave, 1 + rng.uniform(-self.speed, self.speed))
        if self.shift:
            wave = shift(wave, int(rng.uniform(-self.shift, self.shift) * len(wave)))
        if self.noise is not None and rng.random() < self.p:
            level = np.sqrt(np.mean(wave**2)) * 10 ** (-rng.uniform(*self.noise) / 20)
            wave = wave + rng.standard_normal(len(wave), dtype=np.float32) * np.float32(level)
        return wave
