"""Predictions as captions of a frame."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

POSITIONS = ('top', 'bottom')
PANEL, BAR, FIRST_BAR, TEXT, FAINT = (
    (12, 16, 22, 165),
    (74, 101, 128, 220),
    (38, 132, 214, 235),
    (255,) * 3,
    (200, 208, 216),
)
LINE_HEIGHT = 1.38  # of the size of the letters
SMALLEST = 8  # pixels


def window_at(windows: Sequence[Mapping[str, Any]], seconds: float) -> Mapping[str, Any] | None:
    """The window whose centre is nearest to a time, the earlier of two; None if there are none.

    Args:
        windows: Dicts with ``start`` and ``end`` in seconds, as :class:`mmav.apis.AVInferencer` returns them.
        seconds: The time.

    >>> window_at([dict(start=0, end=4), dict(start=3, end=7)], 3.6)
    {'start': 3, 'end': 7}
    """
    return min(windows, key=lambda window: abs((window['start'] + window['end']) / 2 - seconds), default=None)


def predictions_at(windows: Sequence[Mapping[str, Any]], seconds: float) -> list[tuple[str, float]]:
    """Labels and probabilities at a time, the most probable first: those of :func:`window_at`.

    Where a clip has several labels, those that reach their thresholds come first, see :func:`reached_at`.

    >>> predictions_at([dict(start=0, end=4, predictions=[dict(label='dog', score=0.9)])], 1.0)
    [('dog', 0.9)]
    """
    window = window_at(windows, seconds)
    if window is None:
        return []
    lines = [(each['label'], each['score']) for each in (*window.get('labels', ()), *window['predictions'])]
    return list(dict.fromkeys(lines))


def reached_at(windows: Sequence[Mapping[str, Any]], seconds: float) -> int:
    """How many of :func:`predictions_at` are what the model says: the first, or those that reach a threshold."""
    window = window_at(windows, seconds)
    return 1 if window is None or 'labels' not in window else len(window['labels'])


def span_at(windows: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """Start and end of :func:`window_at`, as a heading of its predictions.

    >>> span_at([dict(start=0.0, end=4.0), dict(start=62.5, end=66.5)], 70.0)
    '1:02.5 to 1:06.5'
    """
    window = window_at(windows, seconds)
    return '' if window is None else f'{clock(window["start"])} to {clock(window["end"])}'


def clock(seconds: float) -> str:
    """A time in hours, minutes and tenths of a second.

    >>> clock(3725.04)
    '1:02:05.0'
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{rest / 10:04.1f}' if hours else f'{minutes}:{rest / 10:04.1f}'


def draw_captions(
    frame: np.ndarray,
    lines: Sequence[tuple[str, float]],
    *,
    heading: str = '',
    position: str = 'top',
    max_lines: int = 5,
    strong: int = 1,
) -> np.ndarray:
    """Draws labels with their probabilities over a frame, on a dark, translucent panel.

    The font grows with the frame, lines that do not fit are left out, and long labels end in an ellipsis. Enlarge
    frames smaller than about 200 pixels before.

    Args:
        frame: (H, W, 3) uint8 RGB; it is not changed.
        lines: Label and probability of each line.
        heading: A line above them, such as the time.
        position: 'top' or 'bottom'.
        max_lines: The most lines, without the heading.
        strong: How many of the first lines have the bar of what the model says.

    Returns:
        The captioned frame (H, W, 3) uint8.

    Raises:
        ValueError: ``position`` is neither, or the frame has another shape or type.
    """
    if position not in POSITIONS:
        raise ValueError(f"position {position!r} is neither 'top' nor 'bottom'")
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise ValueError(f'a frame is (H, W, 3) uint8, got shape {frame.shape} of {frame.dtype}')
    drawn = frame.copy()
    shown = tuple((str(label), float(score)) for label, score in lines[:max_lines])
    panel = _panel(frame.shape[0], frame.shape[1], shown, heading, strong)
    if panel is None:
        return drawn
    margin = _margin(*frame.shape[:2])
    top = margin if position == 'top' else frame.shape[0] - margin - panel.shape[0]
    place = drawn[top : top + panel.shape[0], margin : margin + panel.shape[1]]
    alpha = panel[..., 3:].astype(np.uint16)
    place[:] = (place * (255 - alpha) + panel[..., :3] * alpha + 127) // 255
    return drawn


def _margin(height: int, width: int) -> int:
    return min(height, width) // 40


@functools.lru_cache(maxsize=32)
def _panel(
    height: int, width: int, lines: tuple[tuple[str, float], ...], heading: str, strong: int
) -> np.ndarray | None:
    """The panel (h, w, 4) uint8 RGBA for a frame of a size; None if there is nothing to show or nothing fits."""
    margin = _margin(height, width)
    rows = len(lines) + bool(heading)
    if not rows:
        return None
    # at most half of the frame, unless the text would be illegible
    size = round(min(11 + 0.025 * min(height, width), max(SMALLEST, (0.5 * height) / (LINE_HEIGHT * rows + 0.5))))
    line, pad = math.ceil(size * LINE_HEIGHT), size // 3
    fitting = (height - 2 * margin - 2 * pad) // line
    widest = width - 2 * margin
    if fitting < 1 or widest < 4 * size:
        return None
    texts = ([(drawable(heading), None)] if heading and (fitting > 1 or not lines) else []) + [
        (f'{score:.2f}  {drawable(label)}', score) for label, score in lines
    ]
    texts = texts[:fitting]
    longest = max(fitting_font(text, size).getlength(text) for text, _ in texts)
    wide = min(widest, max(math.ceil(longest) + 4 * pad, width // 2, 14 * size))
    image = Image.new('RGBA', (wide, line * len(texts) + 2 * pad), PANEL)
    pen = ImageDraw.Draw(image)
    for k, (text, score) in enumerate(texts):
        top = pad + k * line
        font = fitting_font(text, size if score is not None else max(SMALLEST, round(0.85 * size)))
        if score is not None:
            length = (wide - 2 * pad) * (min(max(score, 0.0), 1.0) if math.isfinite(score) else 0.0)
            colour = FIRST_BAR if k < strong + (texts[0][1] is None) else BAR
            if length >= 1:
                pen.rectangle((pad, top + 1, pad + length - 1, top + line - 2), fill=colour)
        fill = TEXT if score is not None else FAINT
        words = shortened(text, font, wide - 4 * pad)
        draw_text(pen, (2 * pad, top + line / 2), words, fill=fill, font=font, anchor='lm')
    return np.asarray(image)


def shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, or as much of its beginning as fits into ``width`` pixels, and an ellipsis."""
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle].rstrip() + '…') <= width else (low, middle - 1)
    return text[:low].rstrip() + '…'


def fitting_font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans of a size in pixels; if it lacks letters of the text, an installed font that has them."""
    from mmav.visualization.fonts import font_of

    return _font(font_of(text)[0], size, _shaped(text))


def drawable(text: str) -> str:
    """The text on one line, with escapes for letters that no font has; the log says once what to install."""
    from mmav.visualization.fonts import font_of

    return font_of(' '.join(''.join(letter if letter.isprintable() else ' ' for letter in text).split()))[1]


def draw_text(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, **options: Any) -> None:
    """Draws a line of text; scripts that run from right to left keep their order within it."""
    pen.text(place, text, direction='ltr' if _shaped(text) else None, **options)


def _shaped(text: str) -> bool:
    """Whether a text needs a library that shapes and orders its letters; without one the log says so."""
    from mmav.visualization.fonts import is_complex, tell_unshaped

    if not is_complex(text):
        return False
    if not features.check('raqm'):
        tell_unshaped(text, 'a Pillow with libraqm, as pip installs it, puts them right')
        return False
    return True


@functools.lru_cache(maxsize=64)
def _font(path: str, size: int, shaped: bool) -> ImageFont.FreeTypeFont:
    # without need, do without a shaping library, so that all machines draw the same letters
    engine = ImageFont.Layout.RAQM if shaped else ImageFont.Layout.BASIC
    return ImageFont.truetype(path, size, layout_engine=engine)
