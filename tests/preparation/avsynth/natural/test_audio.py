import numpy as np
import pytest

from mmav.preparation.avsynth.natural.audio import HIGH, LOW, RenderedSound, render_audio
from mmav.preparation.avsynth.natural.spec import ABSENT, DISTRACTOR, ON, SILENT, TIMBRES, Evidence


def _sound(event: int | None, *, state: str = ON, seed: int = 0, ambiguous: bool = False, size: float = 0.5):
    return render_audio(np.random.default_rng(seed), Evidence(state, event, ambiguous, size, 0.5))


def _power(sound: RenderedSound) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (F,) in Hz, and power (F, T) within the event."""
    first, last = (round(16000 * seconds) for seconds in (sound.onset, sound.offset))
    pieces = np.lib.stride_tricks.sliding_window_view(sound.waveform[first:last], 640)[::160] * np.hanning(640)
    return np.fft.rfftfreq(2048, 1 / 16000), np.abs(np.fft.rfft(pieces, 2048)).T ** 2


def _peak(sound: RenderedSound) -> float:
    frequencies, power = _power(sound)
    return float(frequencies[power.mean(axis=1).argmax()])


def _bands(power: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Power in each of the eight pitches, (8,)."""
    mel = 1127 * np.log1p(frequencies / 700)
    low, high = 1127 * np.log1p(np.array([LOW, HIGH]) / 700)
    band = np.round((mel - low) / (high - low) * 7)
    return np.array([power[band == k].sum() for k in range(8)])


def test_tracks_and_seeds() -> None:
    sound, again, other = _sound(5), _sound(5), _sound(5, seed=1)
    assert sound.waveform.shape == (32000,) and sound.waveform.dtype == np.float32
    assert np.abs(sound.waveform).max() <= 1 and 0 < sound.onset < sound.offset < 2
    assert np.array_equal(sound.waveform, again.waveform) and not np.array_equal(sound.waveform, other.waveform)
    assert _sound(None, state=ABSENT) == RenderedSound(None, 0.0, 0.0)
    silent = _sound(None, state=SILENT)
    assert silent.waveform.shape == (32000,) and not silent.waveform.any() and (silent.onset, silent.offset) == (0, 0)


@pytest.mark.parametrize('timbre', range(len(TIMBRES)))
def test_the_pitch_is_that_of_the_class(timbre: int) -> None:
    for pitch in range(8):
        frequencies, power = _power(_sound(4 * pitch + timbre, seed=pitch))
        bands = _bands(power, frequencies)
        assert bands.argmax() == pitch and bands[pitch] > 0.5 * bands.sum()


@pytest.mark.parametrize('timbre', range(len(TIMBRES)))
def test_an_ambiguous_sound_has_all_pitches(timbre: int) -> None:
    alike = [_sound(4 * pitch + timbre, ambiguous=True).waveform for pitch in (0, 5)]
    assert np.array_equal(*alike)
    frequencies, power = _power(_sound(timbre, ambiguous=True, seed=2))
    bands = _bands(power, frequencies)
    assert bands.min() > 0.05 * bands.sum()


def test_timbres_differ() -> None:
    found = {}
    for index, name in enumerate(TIMBRES):
        _, power = _power(_sound(4 * 4 + index, seed=7))
        level, track = power.sum(axis=0), power.argmax(axis=0)
        width = (power.mean(axis=1) > 0.1 * power.mean(axis=1).max()).sum()
        found[name] = np.log10(level[8:-8]).std(), track[level > level.max() / 4].std(), width
    level, track, width = ({name: values[k] for name, values in found.items()} for k in range(3))
    assert max(level, key=level.get) == 'beeps'
    assert track['hum'] < 1 and track['warble'] > 3 * max(track['hum'], track['beeps'])
    assert width['hiss'] > 2 * width['hum']


def test_what_is_large_sounds_lower_within_its_pitch() -> None:
    small, middle, large = (_peak(_sound(4 * 5, size=size)) for size in (0.0, 0.5, 1.0))
    assert small > middle > large
    below, above = (_peak(_sound(4 * pitch, size=size)) for pitch, size in ((4, 0.0), (6, 1.0)))
    assert below < large and small < above


def test_a_distractor_sweeps_through_all_pitches() -> None:
    frequencies, power = _power(_sound(None, state=DISTRACTOR))
    bands = _bands(power, frequencies)
    assert bands.max() < 0.4 * bands.sum()
    assert np.unique(power.argmax(axis=0)).size > 40
