import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.ensemble import RandomForestClassifier

from mmav.preparation.avsynth import render_video as module
from mmav.preparation.avsynth.render_video import render_video
from mmav.preparation.avsynth.spec import VISUAL_EVENTS, AVSynthSpec

EVENTS = range(len(VISUAL_EVENTS))


@pytest.mark.parametrize(('seconds', 'fps', 'size'), [(2.0, 12, 96), (1.5, 25, 64)])
def test_shapes_and_ranges(seconds: float, fps: int, size: int) -> None:
    clip = render_video(np.random.default_rng(0), 0, size, seconds=seconds, fps=fps)
    assert clip.frames.shape == (round(seconds * fps), size, size, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.boxes.shape == (len(clip.frames), 4)
    assert (clip.boxes >= 0).all()
    assert (clip.boxes <= 1).all()
    assert (clip.boxes[:, 2:] > clip.boxes[:, :2]).all()


def test_same_seed_same_pixels() -> None:
    a, b, c = (render_video(np.random.default_rng(seed), 2, 64).frames for seed in (3, 3, 4))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize('seed', range(4))
def test_first_frame_is_the_same_for_every_event(seed: int) -> None:
    clips = [render_video(np.random.default_rng(seed), event, 64) for event in EVENTS]
    for clip in clips[1:]:
        assert np.array_equal(clip.frames[0], clips[0].frames[0])
        assert not np.array_equal(clip.frames[6], clips[0].frames[6])


def test_no_frame_tells_the_event() -> None:
    """At any time, each channel has one distribution, whichever event is playing."""
    times = np.array([0.0, 1.3])
    rng = np.random.default_rng(0)
    draws = [[module._channels(rng, event, times, 2.0) for _ in range(1000)] for event in EVENTS]
    for name in VISUAL_EVENTS:
        values = np.array([[draw[name][1] for draw in event] for event in draws])
        if name == 'spin':
            values %= 2 * np.pi
        assert all(ks_2samp(values[0], other).pvalue > 1e-4 for other in values[1:])


@pytest.mark.parametrize('event', EVENTS)
@pytest.mark.parametrize('seed', range(3))
def test_change_lies_inside_the_boxes(event: int, seed: int) -> None:
    size = 96
    clip = render_video(np.random.default_rng(seed), event, size, clutter=False)
    change = np.abs(np.diff(clip.frames.astype(int), axis=0)).sum(axis=-1)
    inside = np.zeros_like(change, dtype=bool)
    edge = 2  # pixels that smooth edges reach beyond the outline
    for i, pair in enumerate(zip(clip.boxes[:-1], clip.boxes[1:], strict=True)):
        for box in pair:
            x0, y0 = np.floor(box[:2] * size).astype(int).clip(edge) - edge
            x1, y1 = np.ceil(box[2:] * size).astype(int) + edge
            inside[i, y0:y1, x0:x1] = True
    slow = 12  # the picture's brightness drifts
    assert (change[inside] > slow).any()
    assert not (change[~inside] > slow).any()


@pytest.mark.parametrize('event', [VISUAL_EVENTS.index('bounce'), VISUAL_EVENTS.index('slide')])
def test_boxes_are_tight(event: int) -> None:
    for seed in range(5):
        clip = render_video(np.random.default_rng(seed), event, 96, clutter=False)
        change = np.ptp(clip.frames.astype(int), axis=0).sum(axis=-1) > 40
        rows, columns = np.flatnonzero(change.any(axis=1)), np.flatnonzero(change.any(axis=0))
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / 96
        union = np.concatenate([clip.boxes[:, :2].min(axis=0), clip.boxes[:, 2:].max(axis=0)])
        assert np.abs(seen - union).max() <= 3 / 96


def test_only_bounce_moves_up_and_down_and_only_slide_across() -> None:
    for name in ('bounce', 'slide', 'spin', 'pulse'):
        for seed in range(5):
            channels = module._channels(np.random.default_rng(seed), VISUAL_EVENTS.index(name), np.arange(24) / 12, 2.0)
            assert {key for key, value in channels.items() if np.ptp(value) > 0} == {name}


@pytest.mark.parametrize('events', [(), (0, 2), (1, 3), (4, 5)])
def test_several_events_move_several_channels(events: tuple[int, ...]) -> None:
    names = {VISUAL_EVENTS[k] for k in events}
    for seed in range(5):
        channels = module._channels(np.random.default_rng(seed), events, np.arange(24) / 12, 2.0)
        assert {key for key, value in channels.items() if np.ptp(value) > 0} == names
    alone, several = (render_video(np.random.default_rng(1), each, 64).frames for each in ((), events))
    assert np.array_equal(alone[0], several[0]) and np.array_equal(alone[6], several[6]) == (not events)


def test_events_at_once_have_speeds_of_their_own() -> None:
    channels = module._channels(np.random.default_rng(0), (0, 1), np.arange(240) / 120, 2.0)
    waves = [(channels[name] - np.mean(channels[name])) / np.ptp(channels[name]) for name in ('bounce', 'slide')]
    turning = [np.abs(np.diff(np.sign(np.diff(wave)))).sum() for wave in waves]
    speeds = [np.abs(np.diff(wave)).sum() for wave in waves]
    assert speeds[0] != pytest.approx(speeds[1], rel=0.02) and min(turning) > 0


def _moments(mass: np.ndarray) -> np.ndarray:
    """Mean, variance, covariance and amount of (T, H, W) maps over H and W, (T, 6)."""
    y, x = np.mgrid[: mass.shape[1], : mass.shape[2]] / mass.shape[1]
    total = mass.sum(axis=(1, 2)) + 1e-6

    def mean(values: np.ndarray) -> np.ndarray:
        return (mass * values).sum(axis=(1, 2)) / total

    cx, cy = mean(x), mean(y)
    return np.stack([cx, cy, mean(x * x) - cx**2, mean(y * y) - cy**2, mean(x * y) - cx * cy, total], axis=1)


def test_motion_tells_the_event_and_a_frame_does_not() -> None:
    spec = AVSynthSpec(train=160, test=80)
    moving, still, labels = {}, {}, {}
    for split in ('train', 'test'):
        events = [spec.events(split, index)[0] for index in range(spec.count(split))]
        features = []
        for index, event in enumerate(events):
            frames = render_video(spec.rng(split, index, 'video'), event, 48).frames.astype(float)
            mass = np.abs(frames - np.median(frames.reshape(-1, 3), axis=0)).sum(axis=-1)
            features.append(_moments(np.maximum(mass - 120, 0)))
        tracks = np.array(features)
        change = np.abs(np.diff(tracks, axis=1)).mean(axis=1)
        moving[split] = np.concatenate([tracks.std(axis=1), change], axis=1)
        still[split] = tracks[:, 10]
        labels[split] = events

    def score(features: dict[str, np.ndarray]) -> float:
        forest = RandomForestClassifier(100, random_state=0).fit(features['train'], labels['train'])
        return float(forest.score(features['test'], labels['test']))

    assert score(moving) > 0.85
    assert score(still) < 0.45  # chance is 0.25, its standard deviation on 80 clips 0.05
