"""The front end against its publication (YuanGongND/ast, src/dataloader.py), torchaudio and transformers."""

from __future__ import annotations

import logging
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
@pytest.mark.parametrize(('backend', 'worst', 'mean'), [('torchaudio', 0, 0), ('native', 1e-3, 2e-5)])
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
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert np.abs(ours - theirs).mean() < 2e-5


def test_fourth_mel_bin_is_empty_as_in_the_published_models(wave):
    assert LogMel(target_frames=100).spectrogram(wave)[3] == pytest.approx(-15.9424, abs=1e-3)


def test_absent_and_very_short_sound_give_zeros():
    mel = LogMel(64, 30)
    out = mel(dict(audio=[np.ones(16000, np.float32)] * 2, masks=dict(audio=False)))
    assert [x.shape for x in out['audio']] == [(64, 30)] * 2 and not np.any(out['audio'])
    assert not mel.spectrogram(np.ones(100, np.float32)).any()
    assert mel(dict(video=[])) == dict(video=[])


def test_steps_in_where_torchaudio_cannot_be_imported(wave, monkeypatch, caplog):
    expected = LogMel(backend='native').spectrogram(wave)
    monkeypatch.setitem(sys.modules, 'torchaudio', None)
    monkeypatch.setitem(sys.modules, 'torchaudio.compliance', None)
    log_mel._front_end.cache_clear()
    with caplog.at_level(logging.INFO, logger='mmengine'), monkeypatch.context() as patch:
        lines = []
        patch.setattr(log_mel, 'print_log', lambda text, *args, **kwargs: lines.append(text))
        for _ in range(3):
            np.testing.assert_array_equal(LogMel(backend='auto').spectrogram(wave), expected)
    assert len(lines) == 1 and 'torchaudio cannot be imported' in lines[0]
    with pytest.raises(ImportError, match="or set backend='native'"):
        LogMel(backend='torchaudio').spectrogram(wave)
    log_mel._front_end.cache_clear()


def test_wrong_arguments():
    with pytest.raises(ValueError, match="did you mean 'native'"):
        LogMel(backend='nativ')
    with pytest.raises(ValueError, match='at least 4 mel bins'):
        LogMel(3)
