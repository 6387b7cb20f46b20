"""Resampling against scipy; placing by time stamps."""

from __future__ import annotations

import av
import numpy as np
import pytest
from scipy.signal import resample_poly

from mmav.datasets.media import waveform
from mmav.datasets.media.channels import as_float
from mmav.datasets.media.waveform import place_frames


def frames_of(wave, rate, *, start=0.0, layout='mono', form='fltp', size=1024):
    """Audio frames (time, frame) of a waveform (channels, S)."""
    out = []
    for k in range(0, wave.shape[1], size):
        piece = wave[:, k : k + size]
        if not form.endswith('p'):
            piece = piece.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format=form, layout=layout)
        frame.sample_rate = rate
        out.append((start + k / rate, frame))
    return out


def tones(rate, seconds=1.0):
    time = np.arange(round(rate * seconds)) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * f * time) for f in (440, 1234.5)]).astype(np.float32)


@pytest.mark.parametrize('rate', [44100, 48000, 22050, 8000])
def test_resampling(rate):
    wave = tones(rate)
    ours = place_frames(frames_of(wave[:1], rate), 0.0, 1.0, 16000)
    divisor = np.gcd(rate, 16000)
    theirs = resample_poly(wave[0], 16000 // divisor, rate // divisor)
    np.testing.assert_allclose(ours[200:-200], theirs[200:-200], atol=0.01)


@pytest.mark.parametrize('form', ['fltp', 'flt'])
def test_two_channels_are_averaged(form):
    wave = tones(16000)
    ours = place_frames(frames_of(wave, 16000, layout='stereo', form=form), 0.0, 1.0, 16000)
    np.testing.assert_allclose(ours, wave.mean(axis=0), atol=1e-6)


def test_whole_numbers_become_parts_of_one():
    wave = (tones(16000)[:1] * 32768).astype(np.int16)
    ours = place_frames(frames_of(wave, 16000, form='s16'), 0.0, 1.0, 16000)
    np.testing.assert_allclose(ours, wave[0] / 32768, atol=1e-6)


@pytest.mark.parametrize('form', ['s16', 's16p', 's32', 's32p', 'u8', 'u8p', 'flt', 'fltp', 'dbl', 'dblp'])
def test_every_format_of_two_channels_gives_the_same_sound(form):
    wave = tones(44100)
    expected = place_frames(frames_of(wave, 44100, layout='stereo'), 0.0, 1.0, 16000)
    resampler = av.AudioResampler(format=form)
    frames = []
    for time, frame in frames_of(wave, 44100, layout='stereo'):
        frame.pts = None
        frames += [(time, other) for other in resampler.resample(frame)]
    atol = {'u8': 2 / 128, 's1': 2 / 32768}.get(form[:2], 1e-6)
    np.testing.assert_allclose(place_frames(frames, 0.0, 1.0, 16000), expected, atol=atol)


def test_whole_numbers_around_the_middle():
    np.testing.assert_array_equal(as_float(np.array([0, 128, 192], np.uint8)), np.float32([-1, 0, 0.5]))
    np.testing.assert_array_equal(as_float(np.array([-(2**31), 0, 2**30], np.int32)), np.float32([-1, 0, 0.5]))


def test_mixed_before_resampling_or_after_is_the_same():
    wave = tones(44100) * np.float32([[1.0], [0.3]])
    one, two = (place_frames(frames_of(channel[None], 44100), 0.0, 1.0, 16000) for channel in wave)
    both = place_frames(frames_of(wave, 44100, layout='stereo'), 0.0, 1.0, 16000)
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-6)


def test_surround_sound_does_not_clip():
    wave = np.repeat(tones(16000)[:1] * 2.4, 6, axis=0)
    ours = place_frames(frames_of(wave, 16000, layout='5.1'), 0.0, 1.0, 16000)
    assert 0.5 < np.abs(ours).max() <= 1.0
    assert np.corrcoef(ours, wave[0])[0, 1] > 0.999


def test_span_cuts_and_pads():
    wave = tones(16000)[:1]
    frames = frames_of(wave, 16000, start=2.0)
    np.testing.assert_array_equal(place_frames(frames, 2.25, 2.75, 16000), wave[0, 4000:12000])
    out = place_frames(frames, 1.5, 3.5, 16000)
    assert out.shape == (32000,) and not out[:8000].any() and not out[24000:].any()
    np.testing.assert_array_equal(out[8000:24000], wave[0])
    assert place_frames(frames, 3.5, 4.0, 16000) is None
    assert place_frames([], 0.0, 1.0, 16000) is None


def test_a_gap_between_time_stamps_stays_a_gap():
    wave = tones(16000)[:1]
    frames = frames_of(wave, 16000)
    out = place_frames(frames[:4] + frames[6:], 0.0, 1.0, 16000)
    lost = slice(4 * 1024, 6 * 1024)
    assert not out[lost].any()
    np.testing.assert_array_equal(np.delete(out, np.r_[lost]), np.delete(wave[0], np.r_[lost]))


def test_rounded_time_stamps_do_not_tear_the_sound():
    wave = tones(44100)[:1]
    exact = place_frames(frames_of(wave, 44100), 0.0, 1.0, 16000)
    rounded = [(round(time, 3), frame) for time, frame in frames_of(wave, 44100)]
    np.testing.assert_array_equal(place_frames(rounded, 0.0, 1.0, 16000), exact)


def test_long_sound_goes_through_in_parts(monkeypatch):
    frames = frames_of(tones(44100)[:1], 44100)
    whole = place_frames(frames, 0.0, 1.0, 16000)
    monkeypatch.setattr(waveform, 'MOST_SAMPLES', 5000)
    np.testing.assert_allclose(place_frames(frames, 0.0, 1.0, 16000), whole, atol=1e-6)


@pytest.mark.parametrize('wrong', [np.nan, np.inf, -np.inf, 1e20])
@pytest.mark.parametrize(('layout', 'rate'), [('mono', 16000), ('stereo', 44100), ('5.1', 16000)])
def test_samples_that_are_no_numbers_are_damage(wrong, layout, rate):
    count = av.AudioLayout(layout).nb_channels
    wave = np.repeat(tones(rate)[:1], count, axis=0)
    whole = place_frames(frames_of(wave, rate, layout=layout), 0.0, 1.0, 16000)
    wave[:, rate // 2] = wrong
    damage = []
    ours = place_frames(
        frames_of(wave, rate, layout=layout), 0.0, 1.0, 16000, on_damage=lambda: damage.append(1)
    )  # fmt: skip
    assert len(damage) == 1 and np.isfinite(ours).all()
    far = np.abs(np.arange(16000) - 8000) > 200
    np.testing.assert_allclose(ours[far], whole[far], atol=1e-4)


def test_sound_without_any_number_is_refused():
    frames = frames_of(np.full((1, 1600), np.nan, np.float32), 16000)
    with pytest.raises(ValueError, match='none of its samples is a finite number'):
        place_frames(frames, 0.0, 0.1, 16000)


def test_a_change_of_channels_format_and_rate_is_heard_through():
    parts = [
        (1, 'mono', 'fltp', 16000),
        (6, '5.1', 's16', 48000),
        (2, 'stereo', 'flt', 44100),
        (4, 'quad', 's16p', 8000),
    ]
    frames = []
    for k, (count, layout, form, rate) in enumerate(parts):
        wave = np.repeat(tones(rate)[:1], count, axis=0)
        wave = (wave * 32767).astype(np.int16) if form.startswith('s16') else wave
        frames += frames_of(wave, rate, start=float(k), layout=layout, form=form)
    ours = place_frames(frames, 0.0, 4.0, 16000).reshape(4, 16000)
    # the whole tone of 440 Hz in each second: a full period at its borders
    for part in ours:
        np.testing.assert_allclose(part[300:-300], tones(16000)[0][300:-300], atol=0.01)
