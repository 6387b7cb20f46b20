"""The video of an AVSynth clip: one bright object whose motion is the event, on a cluttered darker background.

All events share one formula. The object has six channels (up-down, across, turn, size, squash, colour), each the sine
of a phase (for the turn, the phase itself) that starts uniformly at random. The event decides which phase advances
with time; several events, which ones do. Hence every single frame has the same distribution in all classes: only change
over time tells them apart.
"""

import dataclasses
from collections.abc import Collection

import cv2
import numpy as np

from mmav.preparation.avsynth.spec import VISUAL_EVENTS

_TAU = 2 * np.pi
_SHIFT = 4  # OpenCV draws with 1/16 pixel precision


def _regular(corners: int, inner: float = 1.0) -> np.ndarray:
    angles = np.arange(corners) * _TAU / corners
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)


_ARM = 0.36
_SHAPES = (
    np.array([[1, 0.45], [-1, 0.45], [-1, -0.45], [1, -0.45]]) * 0.95,
    np.array(
        [[1, _ARM], [_ARM, _ARM], [_ARM, 1], [-_ARM, 1], [-_ARM, _ARM], [-1, _ARM]]
        + [[-1, -_ARM], [-_ARM, -_ARM], [-_ARM, -1], [_ARM, -1], [_ARM, -_ARM], [1, -_ARM]]
    ),
    _regular(3) * 1.1,
    _regular(4) * 1.05,
    _regular(20) * np.array([1.0, 0.65]),
    _regular(10, inner=0.55) * 1.05,
)
_MARK_CENTRE = np.array([0.42, 0.0])  # lies inside every shape and sees all of its edge, so the mark stays inside too
_MARK_SCALE = 0.5


@dataclasses.dataclass(frozen=True)
class RenderedVideo:
    """A rendered video track.

    Args:
        frames: uint8, (T, H, W, 3), RGB.
        boxes: float32, (T, 4), x0, y0, x1, y1 of the event object in [0, 1] of the frame.
    """

    frames: np.ndarray
    boxes: np.ndarray


def render_video(
    rng: np.random.Generator,
    event: int | Collection[int],
    size: int,
    *,
    seconds: float = 2.0,
    fps: int = 12,
    clutter: bool = True,
) -> RenderedVideo:
    """Renders one clip. Random numbers are drawn in the same way for every event.

    Args:
        rng: Source of all nuisance.
        event: Index into VISUAL_EVENTS; or any number of them at once, each then with a speed of its own. Of none, the
            object stands still.
        size: Side of the frames in pixels.
        seconds: Length of the clip.
        fps: Frames per second.
        clutter: Whether to add background texture and distractors.

    Returns:
        round(seconds * fps) frames with the object's box in each.
    """
    times = np.arange(round(seconds * fps)) / fps
    channels = _channels(rng, event, times, seconds)
    background = _background(rng, size, clutter)
    shape = _SHAPES[rng.integers(len(_SHAPES))]
    colours = _object_colours(rng)
    if clutter:
        _draw_static_distractors(rng, background)
    drift = _Drifter(rng, times, size)
    gain = rng.uniform(0.8, 1.15) + rng.uniform(-0.08, 0.08) * (times / seconds - 0.5)

    frames = np.empty((len(times), size, size, 3), np.uint8)
    boxes = np.empty((len(times), 4), np.float32)
    for i, frame in enumerate(frames):
        frame[:] = background
        outline, mark = _object_outlines(shape, channels, i)
        mix = channels['flash'][i]
        _fill(frame, outline, colours[0] * mix + colours[1] * (1 - mix))
        _fill(frame, mark, colours[2])
        if clutter:
            _fill(frame, drift.outlines[i], drift.colour)
        cv2.convertScaleAbs(frame, dst=frame, alpha=float(gain[i]))
        boxes[i] = np.concatenate([outline.min(axis=0), outline.max(axis=0)])
    return RenderedVideo(frames, boxes.clip(0, 1))


def _channels(
    rng: np.random.Generator, event: int | Collection[int], times: np.ndarray, seconds: float
) -> dict[str, np.ndarray]:
    """Value of each channel over time, (T,), named after the event that moves it."""
    several = isinstance(event, Collection)
    moving = set(event) if isinstance(event, Collection) else {event}
    # At 8 frames in 2 s the fastest oscillation is still seen 4 times a period; the slowest shows its whole range.
    turns = [
        rng.choice([-1.0, 1.0]) * rng.uniform(0.55, 1.0) * max(1.0, 2.0 / seconds) * times
        for _ in (VISUAL_EVENTS if several else VISUAL_EVENTS[:1])
    ]
    phases = rng.uniform(0, _TAU, len(VISUAL_EVENTS))
    waves = {}
    for k, name in enumerate(VISUAL_EVENTS):
        speed = 0.6 if name == 'spin' else 1.0
        phase = phases[k] + (_TAU * speed * turns[k % len(turns)] if k in moving else np.zeros_like(times))
        waves[name] = phase if name == 'spin' else np.sin(phase)
    centre = rng.uniform(0.44, 0.56, 2)
    reach = rng.uniform(0.20, 0.25, 2)
    return {
        'bounce': centre[1] + reach[1] * waves['bounce'],
        'slide': centre[0] + reach[0] * waves['slide'],
        'spin': waves['spin'],
        'pulse': rng.uniform(0.21, 0.25) * np.exp(0.42 * waves['pulse']),
        'squash': np.exp(0.25 * waves['squash']),
        'flash': 0.5 + 0.5 * waves['flash'],
    }


def _object_outlines(shape: np.ndarray, channels: dict[str, np.ndarray], i: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the object and of its mark in frame i, each (N, 2), in units of the frame's side."""
    cos, sin = np.cos(channels['spin'][i]), np.sin(channels['spin'][i])
    squash = channels['squash'][i]
    turn = np.array([[cos, sin], [-sin, cos]])
    place = np.array([channels['slide'][i], channels['bounce'][i]])
    mark = _MARK_CENTRE + _MARK_SCALE * (shape - _MARK_CENTRE)
    outlines = []
    for points in (shape, mark):
        outlines.append(place + channels['pulse'][i] * (points * np.array([squash, 1 / squash])) @ turn)
    return outlines[0], outlines[1]


def _background(rng: np.random.Generator, size: int, clutter: bool) -> np.ndarray:
    """Gradient with two scales of soft texture, (H, W, 3) uint8, of any hue but darker than the objects.

    If some objects were darker than the background, a small transformer would need many times the epochs to see motion
    at all; brightness is no cue to the class either way.
    """
    colour = rng.uniform(25, 110, 3)
    slope = rng.uniform(-25, 25, (2, 3))
    coarse = rng.normal(0, 1, (4, 4, 3)).astype(np.float32)
    fine = rng.normal(0, 1, (14, 14, 3)).astype(np.float32)
    strength = rng.uniform(3, 9, 2)
    ramp = np.linspace(-0.5, 0.5, size)
    image = colour + ramp[:, None, None] * slope[0] + ramp[None, :, None] * slope[1]
    if clutter:
        for noise, amount in zip((coarse, fine), strength, strict=True):
            image += amount * cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return image.clip(0, 255).astype(np.uint8)


def _object_colours(rng: np.random.Generator) -> np.ndarray:
    """Two bright body colours that differ well, and a dark mark colour, (3, 3)."""
    first = rng.uniform(150, 255, 3)
    others = rng.uniform(150, 255, (6, 3))
    second = others[np.abs(others - first).sum(axis=1).argmax()]
    return np.stack([first, second, rng.uniform(0, 70, 3)])


def _draw_static_distractors(rng: np.random.Generator, frame: np.ndarray) -> None:
    for _ in range(rng.integers(3, 7)):
        shape = _SHAPES[rng.integers(len(_SHAPES))]
        place, radius, angle = rng.uniform(0, 1, 2), rng.uniform(0.025, 0.045), rng.uniform(0, _TAU)
        _fill(frame, place + radius * _turned(shape, angle), rng.uniform(0, 255, 3))


class _Drifter:
    """A small object that drifts at random: motion without meaning."""

    def __init__(self, rng: np.random.Generator, times: np.ndarray, size: int) -> None:
        start, velocity = rng.uniform(0.1, 0.9, 2), rng.uniform(-0.2, 0.2, 2)
        swing, rate, phase = rng.uniform(0, 0.08, 2), rng.uniform(0.3, 1.2, 2), rng.uniform(0, _TAU, 2)
        path = start + times[:, None] * velocity + swing * np.sin(_TAU * rate * times[:, None] + phase)
        shape = _turned(_SHAPES[rng.integers(len(_SHAPES))], rng.uniform(0, _TAU))
        self.outlines = (path % 1.0)[:, None] + rng.uniform(0.03, 0.045) * shape
        self.colour = rng.uniform(0, 255, 3)


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _fill(frame: np.ndarray, outline: np.ndarray, colour: np.ndarray) -> None:
    """Fills a polygon given in units of the frame's side; pixel i spans [i, i + 1) there."""
    points = np.round((outline * len(frame) - 0.5) * 2**_SHIFT).astype(np.int32)
    cv2.fillPoly(frame, [points], tuple(float(c) for c in colour), lineType=cv2.LINE_AA, shift=_SHIFT)
