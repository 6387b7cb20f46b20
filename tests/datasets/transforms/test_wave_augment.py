import numpy as np
import pytest

from mmav.datasets.transforms import WaveAugment
from mmav.datasets.transforms.wave_augment import change_speed

RATE = 16000


def tone(hertz, seconds=1.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def loudest_hertz(wave):
    return np.abs(np.fft.rfft(wave)).argmax() * RATE / len(wave)


def run(wave, seed=0, **kwargs):
    results = dict(audio=[wave], masks=dict(audio=True), rng=np.random.default_rng(seed))
    return WaveAugment(**kwargs)(results)['audio'][0]


@pytest.mark.parametrize('factor', [0.9, 1.0, 1.1])
def test_speed_moves_pitch_and_keeps_length_and_type(factor):
    wave = tone(400)
    changed = change_speed(wave, factor)
    assert changed.shape == wave.shape and changed.dtype == np.float32
    assert loudest_hertz(changed[: int(RATE * 0.9)]) == pytest.approx(400 * factor, abs=2)
    if factor == 1.1:  # the clip ends earlier, and silence follows
        assert not changed[int(RATE / 1.1) + 1 :].any()


def test_shift_wraps_around_and_reaches_both_ends():
    wave = np.arange(1000, dtype=np.float32)
    starts = [int(run(wave, seed, speed=0, shift=0.2)[0]) for seed in range(50)]
    moved = [(start + 500) % 1000 - 500 for start in starts]
    assert -200 <= min(moved) < -100 and 100 < max(moved) <= 200
    assert sorted(run(wave, 1, speed=0, shift=0.2)) == list(wave)


def test_noise_has_the_level_that_is_asked_for():
    wave = tone(400)
    noise = run(wave, speed=0, shift=0, noise=(6, 6), p=1.0) - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(6, abs=0.2)
    np.testing.assert_array_equal(run(wave, speed=0, shift=0, noise=(6, 6), p=0.0), wave)


def test_what_is_absent_stays_and_nothing_is_changed_in_place():
    wave = tone(400)
    kept, silent = wave.copy(), np.zeros(100, np.float32)
    assert not np.array_equal(run(wave, noise=(0, 10)), wave)
    np.testing.assert_array_equal(wave, kept)
    results = dict(audio=[silent], masks=dict(audio=False), rng=np.random.default_rng(0))
    assert WaveAugment()(results)['audio'][0] is silent
    assert not run(silent, noise=(0, 10), p=1.0).any()
    assert WaveAugment()(dict(video=1, masks=dict(video=True), rng=None)) == dict(
        video=1, masks=dict(video=True), rng=None
    )


@pytest.mark.parametrize('kwargs', [dict(speed=1.0), dict(shift=-0.1), dict(p=2.0), dict(noise=(5, 1))])
def test_what_it_refuses(kwargs):
    with pytest.raises(ValueError, match=r'must lie in|the lower first'):
        WaveAugment(**kwargs)
