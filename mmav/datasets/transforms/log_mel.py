"""AST's audio front end: Kaldi's log-mel filter bank."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmav.datasets.transforms.spectrogram import Spectrogram
from mmav.errors import did_you_mean
from mmav.mel import (
    EPSILON,
    FRAME_LENGTH_MS,
    LEAST_STD,
    LOW_FREQ,
    PREEMPHASIS,
    frame_sizes,
    hertz_to_mel,
    window_and_mel,
)
from mmav.registry import TRANSFORMS

BACKENDS = ('native', 'torchaudio')
PER_CLIP = (
    'the median of each mel bin over the frames (of two middle values the lower) is subtracted, then all is divided by '
    f'the standard deviation of the whole (n - 1 in the denominator) plus {LEAST_STD:g}, before padding'
)


@TRANSFORMS.register_module()
class LogMel(Spectrogram):
    """Converts waveforms (S,) to log-mel spectrograms (F, T) float32, as used to train the published AST models.

    Subtracts the waveform's mean; frames of 25 ms, Hann window, no dither, pre-emphasis 0.97, power spectrum, mel
    filters from 20 Hz to half the sample rate (HTK scale), natural logarithm. The result is then padded with zeros or
    truncated to ``target_frames``, before normalisation, so that the zeros become -mean / (2 * std).
    (YuanGongND/ast, src/dataloader.py.) Audio marked as absent gives zeros; audio shorter than a frame is absent.

    Args:
        num_mel_bins: F.
        target_frames: T.
        sample_rate: Samples per second of the waveforms.
        frame_shift_ms: Milliseconds from one frame to the next.
        per_clip: Whether each clip is normalised by itself, before padding: from every mel bin its median over time is
            subtracted, which takes away steady noise and the colour of a microphone, and the result is divided by its
            standard deviation. The level of a recording no longer matters, and padding is the median. Needs no
            statistics of a data set: ``norm.audio`` is ``dict(mean=0, std=1)`` then.
        backend: 'native', this module's filter bank, or 'torchaudio' for ``torchaudio.compliance.kaldi.fbank``, which
            takes twice as long. They differ by 1e-6. The one in use is logged once.

    Raises:
        ValueError: An argument is invalid.
        ImportError: ``backend='torchaudio'`` and torchaudio cannot be imported.
    """

    deterministic = True
    touches = ('audio',)
    bin_name = 'mel bins'

    def __init__(
        self,
        num_mel_bins: int = 128,
        target_frames: int = 1024,
        *,
        sample_rate: int = 16000,
        frame_shift_ms: float = 10.0,
        per_clip: bool = False,
        backend: str = 'native',
    ) -> None:
        if backend not in BACKENDS:
            raise ValueError(
                f'backend {backend!r} is unknown: choose {" or ".join(BACKENDS)}{did_you_mean(backend, BACKENDS)}'
            )
        if num_mel_bins < 4 or target_frames < 1:
            raise ValueError(f'need at least 4 mel bins and 1 frame, got {num_mel_bins} and {target_frames}')
        super().__init__(
            num_mel_bins,
            target_frames,
            sample_rate=sample_rate,
            frame_length_ms=FRAME_LENGTH_MS,
            frame_shift_ms=frame_shift_ms,
        )
        self.per_clip = per_clip
        self.backend = backend
        _front_end(backend)
        _say_once(f'LogMel: log-mel spectrograms by backend={backend!r}')

    def compute(self, waveform: Tensor) -> Tensor:
        """Log-mel energies (F, T') of the frames that lie completely within a waveform."""
        fbank = _front_end(self.backend)
        log_mel = fbank(waveform - waveform.mean(), self.num_bins, self.sample_rate, self.frame_shift_ms).T
        return without_background(log_mel) if self.per_clip else log_mel

    def bin_of(self, hertz: float) -> float:
        """The position of a frequency on the mel bins; bin k peaks at k + 0.5.

        >>> mel = LogMel()
        >>> round(mel.bin_of(8000)), round(mel.bin_of(20))
        (128, 0)
        """
        low, high, mel = (hertz_to_mel(f) for f in (LOW_FREQ, self.sample_rate / 2, hertz))
        return (mel - low) / (high - low) * (self.num_bins + 1) - 0.5

    def describe(self) -> dict[str, Any]:
        """The steps of Kaldi's filter bank with all their parameters."""
        return dict(
            log_mel=dict(
                waveform='its mean is subtracted',
                filter_bank='Kaldi fbank (torchaudio.compliance.kaldi.fbank)',
                sample_rate=self.sample_rate,
                frame_length_ms=FRAME_LENGTH_MS,
                frame_shift_ms=self.frame_shift_ms,
                edges='only frames that lie wholly in the waveform (snip_edges)',
                frame_mean='subtracted (remove_dc_offset)',
                preemphasis=PREEMPHASIS,
                window='hanning',
                fft_size=1 << (int(self.sample_rate * FRAME_LENGTH_MS * 0.001) - 1).bit_length(),
                spectrum='power',
                num_mel_bins=self.num_bins,
                mel_scale='1127 * ln(1 + f / 700)',
                low_freq=LOW_FREQ,
                high_freq=self.sample_rate / 2,
                dither=0.0,
                use_energy=False,
                log='natural, of the energy or epsilon, whichever is larger',
                epsilon=float(EPSILON),
                **(dict(per_clip=PER_CLIP) if self.per_clip else {}),
            )
        )


_window_and_mel = functools.lru_cache(maxsize=8)(window_and_mel)


@functools.cache
def _say_once(text: str) -> None:
    print_log(text, 'current')


@functools.cache
def _front_end(backend: str) -> Callable[[Tensor, int, int, float], Tensor]:
    if backend == 'native':
        return native_fbank
    try:
        from torchaudio.compliance import kaldi
    except (ImportError, OSError) as error:
        raise ImportError(
            f"LogMel(backend='torchaudio') needs torchaudio, which cannot be imported ({error}); install the build "
            "that belongs to this torch, or set backend='native'"
        ) from error

    def torchaudio_fbank(wave: Tensor, num_mel_bins: int, sample_rate: int, frame_shift_ms: float) -> Tensor:
        return kaldi.fbank(
            wave[None],
            htk_compat=True,
            sample_frequency=sample_rate,
            use_energy=False,
            window_type='hanning',
            num_mel_bins=num_mel_bins,
            dither=0.0,
            frame_shift=frame_shift_ms,
        )

    return torchaudio_fbank


def native_fbank(wave: Tensor, num_mel_bins: int, sample_rate: int, frame_shift_ms: float) -> Tensor:
    """Kaldi's log-mel filter bank as AST uses it, without torchaudio.

    Args:
        wave: Waveform (S,) float32, at least one frame of 25 ms long.
        num_mel_bins: F.
        sample_rate: Samples per second.
        frame_shift_ms: Milliseconds from one frame to the next.

    Returns:
        Log-mel energies (T, F) of the T frames that lie completely within the waveform.
    """
    length, shift = frame_sizes(sample_rate, frame_shift_ms)
    padded = 1 << (length - 1).bit_length()
    window, mel = _window_and_mel(length, padded, num_mel_bins, sample_rate)
    frames = wave.unfold(0, length, shift)
    frames = frames - frames.mean(dim=1, keepdim=True)
    # As few arrays as possible: at 2 MB each, memory is the bottleneck.
    emphasised = torch.zeros(len(frames), padded)
    used = emphasised[:, :length]
    torch.mul(frames[:, :1], PREEMPHASIS, out=used[:, :1])
    torch.mul(frames[:, :-1], PREEMPHASIS, out=used[:, 1:])
    torch.sub(frames, used, out=used)
    used *= window
    spectrum = torch.fft.rfft(emphasised)[:, :-1]
    # abs() computes a root that the square undoes, at four times the cost.
    power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
    return (power @ mel).clamp_(min=EPSILON).log_()


def without_background(log_mel: Tensor) -> Tensor:
    """Subtracts from each mel bin of (F, T) its median over time, and divides by the standard deviation of the whole.

    >>> without_background(torch.tensor([[1.0, 1.0, 4.0], [5.0, 5.0, 5.0]]))
    tensor([[0.0000, 0.0000, 2.4475],
            [0.0000, 0.0000, 0.0000]])
    """
    centred = log_mel - log_mel.median(dim=1, keepdim=True).values
    return centred / (centred.std() + LEAST_STD) if centred.numel() > 1 else centred
