"""Kaldi's log-mel filter bank: its constants and filters, and one computation for a batch on any device.

A worker computes a clip's spectrogram alone (:class:`mmav.datasets.transforms.LogMel`), a data preprocessor those of a
batch; both take what is here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

FRAME_LENGTH_MS = 25.0
PREEMPHASIS = 0.97
LOW_FREQ = 20.0
EPSILON = torch.finfo(torch.float32).eps
# the standard deviation of a silent clip is 0
LEAST_STD = 1e-3


def frame_sizes(sample_rate: int, frame_shift_ms: float) -> tuple[int, int]:
    """Samples of a frame, and from one frame to the next.

    >>> frame_sizes(16000, 10.0)
    (400, 160)
    """
    return int(sample_rate * FRAME_LENGTH_MS * 0.001), int(sample_rate * frame_shift_ms * 0.001)


def hertz_to_mel(hertz: float) -> float:
    """A frequency on the mel scale (HTK's, which is Kaldi's).

    >>> round(hertz_to_mel(1000.0), 1)
    1000.0
    """
    return float(1127.0 * np.log(1.0 + hertz / 700.0))


def window_and_mel(length: int, padded: int, num_mel_bins: int, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Hann window (length,) and triangular filters (padded / 2, F), equally wide on the mel scale.

    The filters are computed in single precision and in torchaudio's order: where a filter hardly reaches a bin of the
    spectrum, rounding otherwise would change its weight by a thousandth.
    """
    low, high = (hertz_to_mel(f) for f in (LOW_FREQ, 0.5 * sample_rate))
    points = low + torch.arange(num_mel_bins + 2) * ((high - low) / (num_mel_bins + 1))
    left, centre, right = points[:-2], points[1:-1], points[2:]
    bins = 1127.0 * (1.0 + torch.arange(padded // 2)[:, None] * (sample_rate / padded) / 700.0).log()
    rise, fall = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return torch.hann_window(length, periodic=False), torch.minimum(rise, fall).clamp(min=0.0)


def log_mel_of_batch(waves: Tensor, window: Tensor, mel: Tensor, shift: int) -> Tensor:
    """Log-mel energies (N, F, T) of the T frames of waveforms (N, S), one every ``shift`` samples.

    Args:
        waves: Waveforms (N, S) float32 without their means, at least one frame long.
        window: Of :func:`window_and_mel`, on the device of the waveforms.
        mel: Likewise.
        shift: Samples from one frame to the next.
    """
    frames = waves.unfold(1, len(window), shift)  # (N, T, length)
    frames = frames - frames.mean(dim=2, keepdim=True)
    before = torch.cat((frames[..., :1], frames[..., :-1]), dim=2)
    emphasised = (frames - PREEMPHASIS * before) * window
    spectrum = torch.fft.rfft(emphasised, n=2 * len(mel))[..., :-1]
    power = spectrum.real.square() + spectrum.imag.square()
    # GPUs may round factors of a float32 product to 10 bits (TF32); they do not in double precision
    energy = (power.double() @ mel.double()).float() if power.is_cuda else power @ mel
    return energy.clamp(min=EPSILON).log().transpose(1, 2)


def without_background_of_batch(log_mel: Tensor, frames: Tensor) -> Tensor:
    """Subtracts from each mel bin of (N, F, T) its median over time, divides by the standard deviation of the whole.

    Of two middle values the median is the lower one.

    Args:
        log_mel: Spectrograms (N, F, T).
        frames: How many columns of each count (N,); what comes out in the others has no meaning.
    """
    counted = (torch.arange(log_mel.shape[-1], device=log_mel.device) < frames[:, None])[:, None]  # (N, 1, T)
    ordered = torch.where(counted, log_mel, torch.inf).sort(dim=-1).values
    middle = ((frames - 1).clamp(min=0) // 2)[:, None, None].expand(-1, log_mel.shape[1], 1)
    centred = torch.where(counted, log_mel - ordered.gather(2, middle), 0.0)
    number = (frames * log_mel.shape[1])[:, None, None]
    mean = centred.sum((1, 2), keepdim=True) / number.clamp(min=1)
    squares = torch.where(counted, centred - mean, 0.0).square().sum((1, 2), keepdim=True)
    return centred / ((squares / (number - 1).clamp(min=1)).sqrt() + LEAST_STD)
