"""The front end against its publication (YuanGongND/ast, src/dataloader.py), torchaudio and transformers."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from mmav.datasets.transforms import LogMel, log_mel


@pytest.fixture
def wave():
    rng = np.random.default_rng(0)
    time = np.arange(int(5.3 * 16000)) / 16000
    tone = np.sin(2 * np.pi * (300 + 200 * time) * time) * np.exp(-time)
    return (0.3 * tone + 0.02 * rng.standard_normal(len(time)) + 0.05).astype(np.float32)


def published(waveform, mel_bins, target_length, sr=16000):
    """AST's ``_wav2fbank`` line by line: (T, F)."""
    kaldi = pytest.importorskip('torchaudio').compliance.kaldi
    waveform = waveform - waveform.mean()
    fbank = kaldi.fbank(
        waveform,
        htk_compat=True,
        sample_frequency=sr,
        use_energy=False,
        window_type='hanning',
        num_mel_bins=mel_bins,
        dither=0.0,
        frame_shift=10,
    )
    p = target_length - fbank.shape[0]
    if p > 0:
        fbank = torch.nn.ZeroPad2d((0, 0, 0, p))(fbank)
    elif p < 0:
        fbank = fbank[0:target_length, :]
    return fbank


@pytest.mark.parametrize('target', [1024, 192])
@pytest.mark.parametrize(('backend', 'worst', 'mean'), [('torchaudio', 0, 0), ('native', 2e-6, 1e-6)])
def test_equals_asts_published_front_end(wave, target, backend, worst, mean):
    expected = published(torch.from_numpy(wave)[None], 128, target)
    ours = torch.from_numpy(LogMel(128, target, backend=backend).spectrogram(wave)).T
    assert ours.shape == (target, 128)
    difference = (ours - expected).abs()
    assert difference.max() <= worst and difference.mean() <= mean
    # Normalised as AST does, padding is no exception: it was put in before.
    norm_mean, norm_std = -4.2677393, 4.5689974
    normalised = [(x - norm_mean) / (norm_std * 2) for x in (ours, expected)]
    torch.testing.assert_close(*normalised, atol=1e-4, rtol=0)


def test_agrees_with_transformers(wave):
    transformers = pytest.importorskip('transformers')
    pytest.importorskip('torchaudio')
    extractor = transformers.ASTFeatureExtractor()
    theirs = extractor(wave - wave.mean(), sampling_rate=16000, return_tensors='np')['input_values'][0]
    ours = LogMel().spectrogram(wave).T
    np.testing.assert_allclose((ours - extractor.mean) / (2 * extractor.std), theirs, atol=1e-4)


@pytest.mark.parametrize(('bins', 'rate', 'shift'), [(64, 16000, 10.0), (128, 32000, 5.0), (40, 8000, 12.5)])
def test_native_equals_torchaudio_at_other_settings(wave, bins, rate, shift):
    pytest.importorskip('torchaudio')
    options = dict(sample_rate=rate, frame_shift_ms=shift)
    ours, theirs = (LogMel(bins, 400, backend=name, **options).spectrogram(wave) for name in ('native', 'torchaudio'))
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize('signal', ['speech', 'noise', 'music'])
def test_backends_are_equal_at_the_levels_of_recordings(wave, signal):
    """In float32; the formula in float64 tells how much of the result that is: little where something is heard."""
    pytest.importorskip('torchaudio')
    time = np.arange(2 * 16000) / 16000
    signals = dict(
        speech=wave[: 2 * 16000],
        noise=0.1 * np.random.default_rng(1).standard_normal(2 * 16000),
        music=sum(0.2 * np.sin(2 * np.pi * 220 * k * time) / k for k in range(1, 9)),
    )
    samples = signals[signal].astype(np.float32)
    native, torchaudio = (LogMel(128, 190, backend=name).spectrogram(samples).T for name in log_mel.BACKENDS)
    np.testing.assert_allclose(native, torchaudio, atol=1e-4, rtol=0)
    formula = slow_fbank(samples.astype(np.float64), 128, 16000, 10.0)[:190]
    heard = formula > formula.max(axis=1, keepdims=True) - math.log(1e4)
    for ours in (native, torchaudio):
        np.testing.assert_allclose(ours[heard], formula[heard], atol=1e-4)
        energy = np.abs(np.exp(ours, dtype=np.float64) - np.exp(formula)) / np.exp(formula).max(axis=1, keepdims=True)
        assert energy.max() < 5e-5


def slow_fbank(wave, bins, rate, shift_ms):
    """Kaldi's filter bank (feat/feature-fbank.cc, mel-computations.cc), a frame and a filter at a time: (T, F)."""
    length, shift = round(rate * 0.025), round(rate * shift_ms / 1000)
    padded = 2 ** math.ceil(math.log2(length))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))
    low, high = (1127 * math.log(1 + hertz / 700) for hertz in (20, rate / 2))
    mels = 1127 * np.log(1 + np.arange(padded // 2) * rate / padded / 700)
    rows = []
    for begin in range(0, len(wave) - length + 1, shift):
        frame = wave[begin : begin + length] - wave.mean()
        frame = frame - frame.mean()
        emphasised = np.array([frame[k] - 0.97 * frame[max(k - 1, 0)] for k in range(length)])
        power = np.abs(np.fft.rfft(emphasised * window, padded)[:-1]) ** 2
        row = []
        for k in range(bins):
            left, centre, right = (low + (k + step) * (high - low) / (bins + 1) for step in range(3))
            weights = np.minimum((mels - left) / (centre - left), (right - mels) / (right - centre)).clip(min=0)
            row.append(math.log(max(weights @ power, torch.finfo(torch.float32).eps)))
        rows.append(row)
    return np.array(rows)


def test_fourth_mel_bin_is_empty_as_in_the_published_models(wave):
    assert LogMel(target_frames=100).spectrogram(wave)[3] == pytest.approx(-15.9424, abs=1e-3)


def test_absent_and_very_short_sound_give_zeros():
    mel = LogMel(64, 30)
    out = mel(dict(audio=[np.ones(16000, np.float32)] * 2, masks=dict(audio=False)))
    assert [x.shape for x in out['audio']] == [(64, 30)] * 2 and not np.any(out['audio'])
    assert not mel.spectrogram(np.ones(100, np.float32)).any()
    assert mel(dict(video=[])) == dict(video=[])


def test_the_default_does_not_depend_on_what_can_be_imported(wave, monkeypatch):
    expected = LogMel().spectrogram(wave)
    for name in ('torchaudio', 'torchaudio.compliance'):
        monkeypatch.setitem(sys.modules, name, None)
    log_mel._front_end.cache_clear()
    np.testing.assert_array_equal(LogMel().spectrogram(wave), expected)
    with pytest.raises(ImportError, match="or set backend='native'"):
        LogMel(backend='torchaudio')
    log_mel._front_end.cache_clear()


def test_the_backend_is_logged_once(monkeypatch):
    lines = []
    monkeypatch.setattr(log_mel, 'print_log', lambda text, logger: lines.append(text))
    log_mel._say_once.cache_clear()
    for _ in range(3):
        LogMel()
    assert lines == ["LogMel: log-mel spectrograms by backend='native'"]


def test_wrong_arguments():
    with pytest.raises(ValueError, match="did you mean 'native'"):
        LogMel(backend='nativ')
    with pytest.raises(ValueError, match="backend 'auto' is unknown: choose native or torchaudio"):
        LogMel(backend='auto')
    with pytest.raises(ValueError, match='at least 4 mel bins'):
        LogMel(3)


def test_per_clip_takes_level_and_steady_noise_away():
    wave = torch.randn(16000, generator=torch.Generator().manual_seed(0)).numpy() * 0.1
    plain, per_clip = LogMel(32, 120), LogMel(32, 120, per_clip=True)
    values, used = per_clip.spectrogram(wave), per_clip.num_frames(len(wave))
    reference = plain.spectrogram(wave)[:, :used]
    middle = np.sort(reference, axis=1)[:, (used - 1) // 2, None]  # torch's median: of two the lower
    expected = (reference - middle) / ((reference - middle).std(ddof=1) + 1e-3)
    np.testing.assert_allclose(values[:, :used], expected, atol=1e-4)
    np.testing.assert_allclose(per_clip.spectrogram(wave * 0.3), values, atol=1e-3)
    assert not values[:, used:].any()
    assert not per_clip.spectrogram(np.zeros(16000, np.float32)).any()
    assert 'per_clip' in per_clip.describe()['log_mel'] and 'per_clip' not in plain.describe()['log_mel']
