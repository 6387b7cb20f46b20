"""The audio of an AVSynth clip: one event of about half the clip's length over coloured noise and short blips.

Sweeps, warble, beeps and the rest lie in the same band of one to two octaves, drawn per clip: pitch, timbre and level
tell nothing. A rising and a falling sweep hold the same spectrum and differ in order alone.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from mmav.preparation.avsynth.spec import SOUND_EVENTS

_TAU = 2 * np.pi
_RAMP = 0.010  # s, raised-cosine edges of events and blips


@dataclasses.dataclass(frozen=True)
class RenderedAudio:
    """A rendered audio track.

    Args:
        waveform: float32, (S,), mono, within [-1, 1].
        event: float32, (S,), the event's own share of the waveform; of several events, that of all.
        onset: Start of the event in seconds; of several events, of the first.
        offset: End of the event in seconds; of several events, of the last. Both are 0 where there is none.
        spans: Of each event its index, start and end.
    """

    waveform: np.ndarray
    event: np.ndarray
    onset: float
    offset: float
    spans: tuple[tuple[int, float, float], ...]


def render_audio(
    rng: np.random.Generator,
    event: int | Collection[int],
    *,
    seconds: float = 2.0,
    sample_rate: int = 24000,
    clutter: bool = True,
) -> RenderedAudio:
    """Renders one audio track. Random numbers are drawn in the same way for every event.

    Args:
        rng: Source of all nuisance.
        event: Index into SOUND_EVENTS; or any number of them, each with its own onset, length, band and level.
        seconds: Length of the clip.
        sample_rate: Samples per second.
        clutter: Whether to add noise and blips.
    """
    if isinstance(event, Collection):
        return _render_several(rng, sorted(event), seconds=seconds, sample_rate=sample_rate, clutter=clutter)
    length = round(seconds * sample_rate)
    duration = rng.uniform(0.5, 0.65) * seconds
    onset = rng.uniform(0.04 * seconds, 0.96 * seconds - duration)
    first, last = round(onset * sample_rate), round((onset + duration) * sample_rate)
    low = rng.uniform(np.log2(350), np.log2(800))  # lower edge of the band, log2 Hz
    high = low + rng.uniform(1.3, 1.9)
    level = 10 ** (rng.uniform(-18, -9) / 20)
    noise_level = level * 10 ** (rng.uniform(-30, -14) / 20)

    sound = level * _event(rng, SOUND_EVENTS[event], last - first, low=low, high=high, sample_rate=sample_rate)
    clean = np.zeros(length)
    clean[first:last] = sound
    noise = noise_level * coloured_noise(rng, length)
    blips = level * _blips(rng, length, low=low, high=high, sample_rate=sample_rate)
    waveform = clean + noise + blips if clutter else clean
    return RenderedAudio(
        waveform.clip(-1, 1).astype(np.float32),  # the loudest event leaves room; only overlapping blips get here
        clean.astype(np.float32),
        first / sample_rate,
        last / sample_rate,
        ((event, first / sample_rate, last / sample_rate),),
    )


def _render_several(
    rng: np.random.Generator, events: Sequence[int], *, seconds: float, sample_rate: int, clutter: bool
) -> RenderedAudio:
    """The sum of several events' tracks, over the noise and blips of one more, whose event is left out."""
    streams = rng.spawn(len(SOUND_EVENTS) + 1)
    share = dict(seconds=seconds, sample_rate=sample_rate)
    around = render_audio(streams[-1], 0, **share, clutter=True)  # type: ignore[arg-type]
    tracks = [render_audio(streams[event], event, **share, clutter=False) for event in events]  # type: ignore[arg-type]
    clean = sum((track.event / max(len(tracks), 1) ** 0.5 for track in tracks), np.zeros_like(around.event))
    waveform = clean + (around.waveform - around.event if clutter else 0)
    return RenderedAudio(
        waveform.clip(-1, 1).astype(np.float32),
        clean.astype(np.float32),
        min((track.onset for track in tracks), default=0.0),
        max((track.offset for track in tracks), default=0.0),
        tuple(span for track in tracks for span in track.spans),
    )


def _event(
    rng: np.random.Generator, name: str, length: int, *, low: float, high: float, sample_rate: int
) -> np.ndarray:
    """One event in a band given as log2 Hz, (length,), with peaks of at most 2."""
    place, rate, phase = rng.uniform(0.2, 0.8), rng.uniform(4.0, 6.5), rng.uniform(0, _TAU)
    overtones = rng.uniform(0, [0.5, 0.3])
    noise = rng.normal(0, 1, length)
    share = np.arange(length) / length
    time = np.arange(length) / sample_rate
    pitch = np.full(length, low + place * (high - low))
    gate = edges(length, sample_rate)
    if name == 'sweep_up':
        pitch = low + share * (high - low)
    elif name == 'sweep_down':
        pitch = high - share * (high - low)
    elif name == 'warble':
        pitch = pitch + 0.3 * np.sin(_TAU * rate * time + phase)
    elif name == 'beeps':
        # A whole number of periods and a half: the event begins and ends with a beep, so onset and offset are heard.
        beeps = round(rate * length / sample_rate)
        beep = round(length / (2 * beeps + 1))
        gate = np.zeros(length)
        for k in range(beeps + 1):
            start = min(2 * k * beep, length - beep)
            gate[start : start + beep] = edges(beep, sample_rate)
    elif name == 'hiss':
        return gate * _band_noise(noise, 2 ** pitch[0], sample_rate)
    angle = _TAU * np.cumsum(2.0**pitch) / sample_rate
    wave = sum(a * np.sin((h + 1) * angle) for h, a in enumerate((1.0, *overtones)))
    if name == 'chord':
        wave = (wave + np.sin(angle * 2 ** (4 / 12)) + np.sin(angle * 2 ** (7 / 12))) / 2.2
    return gate * wave


def edges(length: int, sample_rate: int) -> np.ndarray:
    """Ones with a raised-cosine ramp at both ends, (length,)."""
    ramp = min(round(_RAMP * sample_rate), length // 2)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(ramp) / ramp)
    return np.concatenate([rise, np.ones(length - 2 * ramp), rise[::-1]])


def _band_noise(noise: np.ndarray, centre: float, sample_rate: int) -> np.ndarray:
    """White noise cut to a third of an octave around a frequency in Hz, with peaks of about 1.5."""
    spectrum = np.fft.rfft(noise)
    frequency = np.fft.rfftfreq(len(noise), 1 / sample_rate)
    spectrum[(frequency < centre * 2 ** (-1 / 6)) | (frequency > centre * 2 ** (1 / 6))] = 0
    band = np.fft.irfft(spectrum, len(noise))
    return 0.4 * band / np.sqrt(np.mean(band**2))


def coloured_noise(rng: np.random.Generator, length: int) -> np.ndarray:
    """Noise with a power spectrum of frequency ** -beta, beta from white (0) to brown (2), at RMS 1, (length,)."""
    beta = rng.uniform(0, 2)
    spectrum = np.fft.rfft(rng.normal(0, 1, length))
    bins = np.arange(len(spectrum))
    spectrum *= np.maximum(bins, length / 500) ** (-beta / 2)  # flat below 1/500 of the rate, about 50 Hz
    noise = np.fft.irfft(spectrum, length)
    return noise / np.sqrt(np.mean(noise**2))


def _blips(rng: np.random.Generator, length: int, *, low: float, high: float, sample_rate: int) -> np.ndarray:
    """Two to four short tones outside the event's band, anywhere in the clip, (length,)."""
    track = np.zeros(length)
    below, above = (np.log2(200), low - 0.35), (high + 0.35, np.log2(6500))
    for _ in range(rng.integers(2, 5)):
        band = below if rng.uniform() < 0.4 else above
        frequency = 2 ** rng.uniform(*band)
        samples = round(rng.uniform(0.05, 0.10) * sample_rate)
        start = rng.integers(0, length - samples)
        amplitude = 10 ** (rng.uniform(-14, -4) / 20)
        tone = np.sin(_TAU * frequency * np.arange(samples) / sample_rate)
        track[start : start + samples] += amplitude * tone * edges(samples, sample_rate)
    return track
