import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from mmav.preparation.avsynth.render_audio import render_audio
from mmav.preparation.avsynth.spec import SOUND_EVENTS, AVSynthSpec

EVENTS = range(len(SOUND_EVENTS))


def _spectrogram(waveform: np.ndarray, window: int = 960, hop: int = 240) -> np.ndarray:
    """Power over (frequency, time) at 24 kHz: 25 Hz and 10 ms steps."""
    pieces = np.lib.stride_tricks.sliding_window_view(waveform, window)[::hop] * np.hanning(window)
    return np.abs(np.fft.rfft(pieces, axis=1).T) ** 2


@pytest.mark.parametrize('event', EVENTS)
@pytest.mark.parametrize(('seconds', 'sample_rate'), [(2.0, 24000), (1.0, 22050), (5.0, 16000)])
def test_event_fills_its_span_and_nothing_else(event: int, seconds: float, sample_rate: int) -> None:
    clip = render_audio(np.random.default_rng(event), event, seconds=seconds, sample_rate=sample_rate)
    assert clip.waveform.shape == clip.event.shape == (round(seconds * sample_rate),)
    assert clip.waveform.dtype == np.float32
    assert np.abs(clip.waveform).max() <= 1
    first, last = round(clip.onset * sample_rate), round(clip.offset * sample_rate)
    assert 0.49 * seconds < clip.offset - clip.onset < 0.66 * seconds
    assert not clip.event[:first].any()
    assert not clip.event[last:].any()
    edge = round(0.02 * sample_rate)
    assert np.abs(clip.event[first : first + edge]).max() > 0.01
    assert np.abs(clip.event[last - edge : last]).max() > 0.01


def test_same_seed_same_samples() -> None:
    a, b, c = (render_audio(np.random.default_rng(seed), 1).waveform for seed in (3, 3, 4))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize('seed', range(4))
def test_nuisance_is_the_same_for_every_event(seed: int) -> None:
    clips = [render_audio(np.random.default_rng(seed), event) for event in EVENTS]
    for clip in clips[1:]:
        assert (clip.onset, clip.offset) == (clips[0].onset, clips[0].offset)
        np.testing.assert_allclose(clip.waveform - clip.event, clips[0].waveform - clips[0].event, atol=1e-6)


def test_clutter_can_be_left_out() -> None:
    clip = render_audio(np.random.default_rng(0), 0, clutter=False)
    assert np.array_equal(clip.waveform, clip.event)


@pytest.mark.parametrize('events', [(), (2,), (0, 4), (1, 5)])
def test_several_events_sound_together(events: tuple[int, ...]) -> None:
    clip = render_audio(np.random.default_rng(7), events)
    assert [index for index, _, _ in clip.spans] == list(events) and np.abs(clip.waveform).max() < 1
    assert (clip.onset, clip.offset) == (
        min((begin for _, begin, _ in clip.spans), default=0.0),
        max((end for _, _, end in clip.spans), default=0.0),
    )
    # each sounds alike whatever sounds beside it, up to the level
    alone = [render_audio(np.random.default_rng(7), (index,), clutter=False) for index in events]
    total = sum((each.event for each in alone), np.zeros_like(clip.event)) / max(len(events), 1) ** 0.5
    np.testing.assert_allclose(clip.event, total, atol=1e-6)
    silence = render_audio(np.random.default_rng(7), ())
    assert not silence.event.any() and silence.waveform.any()
    np.testing.assert_allclose(clip.waveform - clip.event, silence.waveform, atol=1e-6)


def test_rising_and_falling_sweep_differ_in_order_alone() -> None:
    up, down = (render_audio(np.random.default_rng(5), SOUND_EVENTS.index(f'sweep_{way}')) for way in ('up', 'down'))
    rising, falling = _spectrogram(up.event), _spectrogram(down.event)
    assert np.corrcoef(rising.mean(axis=1), falling.mean(axis=1))[0, 1] > 0.98
    loud = rising.sum(axis=0) > 0.1 * rising.sum(axis=0).max()
    assert np.all(np.diff(rising[:, loud].argmax(axis=0)) >= 0)
    assert np.all(np.diff(falling[:, loud].argmax(axis=0)) <= 0)


def test_sound_tells_its_event() -> None:
    spec = AVSynthSpec(train=160, test=80)
    features, labels = {}, {}
    for split in ('train', 'test'):
        labels[split] = [spec.events(split, index)[1] for index in range(spec.count(split))]
        features[split] = []
        for index, event in enumerate(labels[split]):
            power = _spectrogram(render_audio(spec.rng(split, index, 'audio'), event).waveform)[8:160]
            peak, level = power.argmax(axis=0), np.log(power.max(axis=0))
            loud = level > level.max() - 3
            track, times = np.log(peak[loud] + 8.0), np.flatnonzero(loud)
            slope = np.polyfit(times, track, 1)[0]
            wobble = np.abs(np.diff(track)).mean() - abs(slope)
            features[split].append([slope, track.std(), wobble, loud.mean(), np.abs(np.diff(loud)).sum()])
    forest = RandomForestClassifier(100, random_state=0).fit(features['train'], labels['train'])
    assert forest.score(features['test'], labels['test']) > 0.85
