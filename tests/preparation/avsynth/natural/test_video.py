import colorsys

import numpy as np
import pytest

from mmav.preparation.avsynth.natural.spec import DISTRACTOR, HUES, ON, Evidence
from mmav.preparation.avsynth.natural.video import render_video

SHAPES = (16, 40, 40, 3)


def _clip(event: int | None, *, seed: int = 0, ambiguous: bool = False, size: float = 0.5, tempo: float = 0.5):
    state = DISTRACTOR if event is None else ON
    evidence = Evidence(state, event, ambiguous, size, tempo)
    return render_video(np.random.default_rng(seed), evidence, 40)


def _inside(clip, *, low: float, high: float) -> np.ndarray:
    """Colours (N, 3) of the pixels between two shares of the object's radius from its centre, of all frames."""
    y, x = (np.mgrid[:40, :40] + 0.5) / 40
    found = []
    for frame, (x0, y0, x1, y1) in zip(clip.frames, clip.boxes, strict=True):
        radius = np.hypot(x - (x0 + x1) / 2, y - (y0 + y1) / 2) / (max(x1 - x0, y1 - y0) / 2)
        found.append(frame[(radius >= low) & (radius < high)])
    return np.concatenate(found).astype(float)


def test_shapes_ranges_and_seeds() -> None:
    clip, again, other = _clip(3), _clip(3), _clip(3, seed=1)
    assert clip.frames.shape == SHAPES and clip.frames.dtype == np.uint8
    assert clip.boxes.shape == (16, 4) and (clip.boxes >= 0).all() and (clip.boxes <= 1).all()
    assert np.array_equal(clip.frames, again.frames) and not np.array_equal(clip.frames, other.frames)


@pytest.mark.parametrize('hue', range(len(HUES)))
def test_the_hue_is_that_of_the_family(hue: int) -> None:
    for seed in range(4):
        colour = np.median(_inside(_clip(4 * hue + 2, seed=seed), low=0.62, high=0.72), axis=0)
        place = colorsys.rgb_to_hsv(*colour / 255)[0] * len(HUES)
        assert abs((place - hue + 4) % 8 - 4) < 0.45, (seed, place)


def test_a_distractor_has_no_hue() -> None:
    for seed in range(4):
        colour = np.median(_inside(_clip(None, seed=seed), low=0.62, high=0.72), axis=0)
        assert np.ptp(colour) < 12


def test_the_mark_is_that_of_the_class_unless_it_is_hidden() -> None:
    for seed in range(4):
        clips = [_clip(4 + mark, seed=seed, size=1.0) for mark in range(4)]
        plain, light, dark, split = (_inside(clip, low=0.0, high=0.4) for clip in clips)
        rim = np.median(_inside(clips[0], low=0.62, high=0.72), axis=0)
        assert np.abs(np.median(plain, axis=0) - rim).max() < 12
        assert np.median(light) > 1.3 * np.median(split) and np.median(dark) < 40
        assert split.mean(axis=1).std() > 1.8 * max(light.mean(axis=1).std(), dark.mean(axis=1).std())
    hidden = [_clip(4 + mark, seed=1, ambiguous=True).frames for mark in range(4)]
    assert all(np.array_equal(frames, hidden[0]) for frames in hidden[1:])


def test_size_and_tempo_are_seen() -> None:
    small, large = (_clip(0, size=size).boxes for size in (0.0, 1.0))
    assert np.mean(large[:, 2] - large[:, 0]) > 1.3 * np.mean(small[:, 2] - small[:, 0])
    paths = [(_clip(0, seed=3, tempo=tempo, size=0.0).boxes[:, :2]) for tempo in (0.0, 1.0)]
    slow, fast = (np.abs(np.diff(path, axis=0)).sum() for path in paths)
    assert fast > 1.5 * slow
