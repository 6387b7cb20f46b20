"""The audio of a `natural` clip: a sound whose timbre and pitch are the event, over coloured noise and short blips."""

import dataclasses

import numpy as np

from mmav.preparation.avsynth.natural.spec import ABSENT, PITCHES, SILENT, TIMBRES, Evidence
from mmav.preparation.avsynth.render_audio import coloured_noise, edges

_TAU = 2 * np.pi
# centres of the lowest and of the highest band in Hz; those between lie evenly on the mel scale
LOW, HIGH = 260.0, 5200.0


@dataclasses.dataclass(frozen=True)
class RenderedSound:
    """A rendered audio track.

    Args:
        waveform: float32, (S,), mono, within [-1, 1]; None for a clip without a track.
        onset: Start of the event in seconds; 0 where there is none.
        offset: End of the event in seconds; 0 where there is none.
    """

    waveform: np.ndarray | None
    onset: float
    offset: float


def render_audio(
    rng: np.random.Generator, evidence: Evidence, *, seconds: float = 2.0, sample_rate: int = 16000
) -> RenderedSound:
    """Renders one audio track. All but the event itself is drawn before it, in the same way for every event.

    Args:
        rng: Source of all nuisance.
        evidence: What is played; a distractor sweeps through all bands.
        seconds: Length of the clip.
        sample_rate: Samples per second.
    """
    if evidence.state in (SILENT, ABSENT):
        silence = np.zeros(round(seconds * sample_rate), np.float32)
        return RenderedSound(silence if evidence.state == SILENT else None, 0.0, 0.0)
    length = round(seconds * sample_rate)
    duration = rng.uniform(0.65, 0.9) * seconds
    onset = rng.uniform(0.02 * seconds, 0.98 * seconds - duration)
    first, last = round(onset * sample_rate), round((onset + duration) * sample_rate)
    level = 10 ** (rng.uniform(-20, -10) / 20)
    noise_level = level * 10 ** (rng.uniform(-26, -8) / 20)
    track = noise_level * coloured_noise(rng, length) + level * _blips(rng, length, sample_rate)
    beat = _Beat(rng, 2.5 + 3.5 * evidence.tempo, last - first, sample_rate)
    if evidence.timbre is None:
        sound = _sweeps(rng, last - first, sample_rate)
    elif evidence.pitch is None:
        bands = [_event(rng, evidence.timbre, band, beat=beat) for band in _bands(evidence.size)]
        sound = sum(bands) / PITCHES**0.5
    else:
        sound = _event(rng, evidence.timbre, _bands(evidence.size)[evidence.pitch], beat=beat)
    track[first:last] += level * sound * edges(last - first, sample_rate)
    return RenderedSound(track.clip(-1, 1).astype(np.float32), first / sample_rate, last / sample_rate)


def _to_mel(hertz: float | np.ndarray) -> np.ndarray:
    return 1127 * np.log1p(np.asarray(hertz) / 700)


def _to_hertz(mel: float | np.ndarray) -> np.ndarray:
    return 700 * np.expm1(np.asarray(mel) / 1127)


def _bands(size: float) -> np.ndarray:
    """Centre of each pitch in mel; what is large sounds lower, by up to a quarter of the way to the next pitch."""
    step = float(_to_mel(HIGH) - _to_mel(LOW)) / (PITCHES - 1)
    return _to_mel(LOW) + step * (np.arange(PITCHES) + 0.5 * (0.5 - size))


class _Beat:
    """The clock of a sound: all that repeats in it does so ``rate`` times a second."""

    def __init__(self, rng: np.random.Generator, rate: float, length: int, sample_rate: int) -> None:
        self.length, self.sample_rate = length, sample_rate
        self.phase = rng.uniform(0, _TAU) + _TAU * rate * np.arange(length) / sample_rate


def _event(rng: np.random.Generator, timbre: int, centre: float, *, beat: _Beat) -> np.ndarray:
    """One event around a pitch in mel, (length,), with peaks of about 1."""
    name, wave = TIMBRES[timbre], np.sin(beat.phase)
    swing = 90.0 * wave if name == 'warble' else 0.0
    if name == 'hiss':
        carrier = _band_noise(rng, centre, beat)
    else:
        carrier = np.sin(
            rng.uniform(0, _TAU)
            + _TAU * np.cumsum(np.broadcast_to(_to_hertz(centre + swing), wave.shape)) / beat.sample_rate
        )
    gate = 1 / (1 + np.exp(-12 * wave)) if name == 'beeps' else 1.0 if name == 'warble' else 0.8 + 0.2 * wave
    return carrier * gate


def _band_noise(rng: np.random.Generator, centre: float, beat: _Beat, width: float = 110.0) -> np.ndarray:
    """White noise cut to ``width`` mel each way, at RMS 0.5."""
    spectrum = np.fft.rfft(rng.normal(0, 1, beat.length))
    mel = _to_mel(np.fft.rfftfreq(beat.length, 1 / beat.sample_rate))
    spectrum[np.abs(mel - centre) > width] = 0
    noise = np.fft.irfft(spectrum, beat.length)
    return 0.5 * noise / np.sqrt(np.mean(noise**2))


def _sweeps(rng: np.random.Generator, length: int, sample_rate: int) -> np.ndarray:
    """Two to four sweeps through all bands and back, (length,)."""
    share = np.arange(length) / length * rng.integers(2, 5) + rng.uniform()
    triangle = 2 * np.abs(share % 1 - 0.5)
    mel = _to_mel(LOW) + triangle * (_to_mel(HIGH) - _to_mel(LOW))
    return np.sin(_TAU * np.cumsum(_to_hertz(mel)) / sample_rate)


def _blips(rng: np.random.Generator, length: int, sample_rate: int) -> np.ndarray:
    """Two to five short tones of any pitch, anywhere in the clip, (length,)."""
    track = np.zeros(length)
    for _ in range(rng.integers(2, 6)):
        frequency = _to_hertz(rng.uniform(_to_mel(LOW), _to_mel(HIGH)))
        samples = round(rng.uniform(0.03, 0.08) * sample_rate)
        start = rng.integers(0, length - samples)
        tone = np.sin(_TAU * frequency * np.arange(samples) / sample_rate)
        track[start : start + samples] += 10 ** (rng.uniform(-14, -2) / 20) * tone * edges(samples, sample_rate)
    return track
