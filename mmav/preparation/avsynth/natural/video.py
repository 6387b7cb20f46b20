"""The video of a `natural` clip: a moving object whose hue and mark are the event, over a drifting textured scene."""

import cv2
import numpy as np

from mmav.preparation.avsynth.natural.spec import HUES, MARKS, Evidence
from mmav.preparation.avsynth.render_video import RenderedVideo

_TAU = 2 * np.pi
_SHIFT = 4  # OpenCV draws with 1/16 pixel precision
_MARK = 0.55  # radius of the mark over that of the object
_MARGIN = 0.25  # of the scene around the frame, for the camera's drift


def render_video(
    rng: np.random.Generator, evidence: Evidence, size: int, *, seconds: float = 2.0, fps: int = 8
) -> RenderedVideo:
    """Renders one clip. Random numbers are drawn in the same way for every event of a class.

    A distractor has any of the marks, which is drawn before what passes by.

    Args:
        rng: Source of all nuisance.
        evidence: What is shown; of a distractor the object is grey.
        size: Side of the frames in pixels.
        seconds: Length of the clip.
        fps: Frames per second.

    Returns:
        round(seconds * fps) frames with the object's box in each.
    """
    times = np.arange(round(seconds * fps)) / fps
    scene = _scene(rng, size)
    camera = _MARGIN / 2 + _wander(rng, times, reach=0.1)
    radius = 0.20 + 0.11 * evidence.size
    path = rng.uniform(0.42, 0.58, 2) + _orbit(rng, times, 0.4 + 1.0 * evidence.tempo)
    corners = rng.choice([4, 5, 6, 24])
    turn = rng.uniform(0, _TAU) + rng.uniform(-2, 2) * times
    body = _body_colour(rng, evidence.hue)
    mark = int(rng.integers(len(MARKS))) if evidence.event is None else evidence.mark
    extras = [_Extra(rng, times) for _ in range(rng.integers(2, 5))]
    gain = rng.uniform(0.7, 1.1) + rng.uniform(-0.1, 0.1) * (times / seconds - 0.5)
    grain = rng.uniform(2, 16)
    frames = np.empty((len(times), size, size, 3), np.uint8)
    boxes = np.empty((len(times), 4), np.float32)
    for i, place in enumerate(path):
        frame = _cut(scene, camera[i], size)
        for extra in extras:
            _fill(frame, extra.outlines[i], extra.colour)
        outline = place + radius * _polygon(corners, turn[i])
        _fill(frame, outline, body)
        _draw_mark(rng, frame, mark, place=place, radius=_MARK * radius, turn=turn[i])
        noisy = frame * gain[i] + rng.normal(0, grain, frame.shape)
        frames[i] = noisy.clip(0, 255)
        boxes[i] = np.concatenate([outline.min(axis=0), outline.max(axis=0)])
    return RenderedVideo(frames, boxes.clip(0, 1))


def _scene(rng: np.random.Generator, size: int) -> np.ndarray:
    """A soft texture of little colour, larger than the frame, (H', W', 3) uint8."""
    side = round(size * (1 + 2 * _MARGIN))
    image = np.full((side, side, 3), rng.uniform(40, 130)) + rng.uniform(-20, 20, 3)
    for cells, strength in ((4, rng.uniform(8, 28)), (12, rng.uniform(4, 16))):
        texture = rng.normal(0, 1, (cells, cells, 1)) + 0.25 * rng.normal(0, 1, (cells, cells, 3))
        image += strength * cv2.resize(texture.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return image.clip(0, 255).astype(np.uint8)


def _cut(scene: np.ndarray, corner: np.ndarray, size: int) -> np.ndarray:
    """The frame whose upper left corner lies there, in units of the frame's side, (H, W, 3) uint8."""
    centre = (corner + 0.5) * size - 0.5
    return cv2.getRectSubPix(scene, (size, size), (float(centre[0]), float(centre[1])))


def _wander(rng: np.random.Generator, times: np.ndarray, *, reach: float) -> np.ndarray:
    """A slow drift of at most about ``reach`` each way, (T, 2)."""
    phase, rate = rng.uniform(0, _TAU, 2), rng.uniform(0.1, 0.5, 2)
    return reach * (1 + np.sin(phase + _TAU * rate * times[:, None]))


def _orbit(rng: np.random.Generator, times: np.ndarray, rate: float) -> np.ndarray:
    """Places on an ellipse around the origin that is run through ``rate`` times a second, (T, 2)."""
    angle = rng.uniform(0, _TAU) + rng.choice([-1, 1]) * _TAU * rate * times
    return rng.uniform(0.05, 0.17, 2) * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _body_colour(rng: np.random.Generator, hue: int | None) -> np.ndarray:
    """RGB of an object of a hue, or of a grey one."""
    place, saturation, value = rng.uniform(-0.2, 0.2), rng.uniform(0.6, 1.0), rng.uniform(0.65, 1.0)
    if hue is None:
        return np.full(3, 255 * value * 0.8)
    wheel = 6 * (hue + place) / len(HUES)
    return 255 * value * np.array([1 - saturation * _dip((wheel + offset) % 6) for offset in (0, 4, 2)])


def _dip(sixth: float) -> float:
    """How far one of red, green and blue lies below the brightest of them, at a place on the colour wheel."""
    return float(np.clip(min(sixth, 6 - sixth) - 1, 0, 1))


class _Extra:
    """A small grey thing that passes by."""

    def __init__(self, rng: np.random.Generator, times: np.ndarray) -> None:
        start, velocity = rng.uniform(0, 1, 2), rng.uniform(-0.25, 0.25, 2)
        path: np.ndarray = (start + times[:, None] * velocity) % 1.0
        radius = rng.uniform(0.04, 0.08)
        self.outlines = path[:, None] + radius * _polygon(int(rng.integers(3, 7)), rng.uniform(0, _TAU))
        self.colour = np.full(3, rng.uniform(0, 255))


def _draw_mark(
    rng: np.random.Generator, frame: np.ndarray, mark: int | None, *, place: np.ndarray, radius: float, turn: float
) -> None:
    """Draws the mark; where it is hidden, a grey smudge that flickers."""
    if mark is None:
        _fill(frame, place + 1.2 * radius * _polygon(9, turn), np.full(3, rng.uniform(90, 160)))
        return
    name = MARKS[mark]
    light, dark = np.full(3, 250.0), np.full(3, 12.0)
    if name in ('light', 'split'):
        _fill(frame, place + radius * _polygon(16, turn), light)
    if name == 'dark':
        _fill(frame, place + radius * _polygon(16, turn), dark)
    if name == 'split':
        _fill(frame, place + radius * _polygon(16, turn)[:9], dark)


def _polygon(corners: int, turn: float) -> np.ndarray:
    """Corners of a regular polygon of radius 1, (N, 2)."""
    angles = turn + np.arange(corners) * _TAU / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _fill(frame: np.ndarray, outline: np.ndarray, colour: np.ndarray) -> None:
    """Fills a polygon given in units of the frame's side; pixel i spans [i, i + 1) there."""
    points = np.round((outline * len(frame) - 0.5) * 2**_SHIFT).astype(np.int32)
    cv2.fillPoly(frame, [points], tuple(float(c) for c in colour), lineType=cv2.LINE_AA, shift=_SHIFT)
