"""The filter bank of a batch against the one of a clip, which test_log_mel.py compares with its publication."""

import pytest
import torch

from mmav.datasets.transforms.log_mel import native_fbank, without_background
from mmav.mel import frame_sizes, hertz_to_mel, log_mel_of_batch, window_and_mel, without_background_of_batch


@pytest.mark.parametrize(('rate', 'shift_ms', 'bins'), [(16000, 10.0, 128), (44100, 31.0, 40), (8000, 12.5, 64)])
def test_each_clip_of_a_batch_is_computed_as_alone(rate, shift_ms, bins):
    waves = torch.randn(3, rate // 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [0.1], [0.0]])
    length, shift = frame_sizes(rate, shift_ms)
    window, mel = window_and_mel(length, 1 << (length - 1).bit_length(), bins, rate)
    found = log_mel_of_batch(waves, window, mel, shift)
    expected = torch.stack([native_fbank(wave, bins, rate, shift_ms).T for wave in waves])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_background_of_each_clip_is_that_of_its_own_frames():
    log_mel = torch.randn(4, 6, 9, generator=torch.Generator().manual_seed(1))
    frames = torch.tensor([9, 4, 1, 0])
    found = without_background_of_batch(log_mel, frames)
    for k, number in enumerate(frames.tolist()[:3]):
        torch.testing.assert_close(found[k, :, :number], without_background(log_mel[k, :, :number]))
    assert found.isfinite().all()


def test_single_precision_leaves_few_digits_where_a_bin_holds_little():
    """What another device's Fourier transform can differ by: docs/data_speed.md has the figure."""
    time = torch.arange(32000) / 16000
    noise = torch.randn(32000, generator=torch.Generator().manual_seed(0))
    waves = torch.stack([0.1 * noise, torch.sin(2 * torch.pi * 440 * time)])
    window, mel = window_and_mel(400, 512, 128, 16000)
    single, double = (
        log_mel_of_batch(waves.to(t), window.to(t), mel.to(t), 160) for t in (torch.float32, torch.float64)
    )
    difference = (single - double).abs()
    assert difference[0].max() <= 1e-3 and difference[1].max() <= 5e-3 and difference.median() <= 1e-6


def test_the_scale():
    assert hertz_to_mel(0) == 0 and hertz_to_mel(700) == pytest.approx(781.17, abs=0.01)
