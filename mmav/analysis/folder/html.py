"""The parts of a self-contained HTML page: cards, tables, bars with intervals, pictures inside the file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from mmav import __version__

_STYLE = Path(__file__).with_name('report.css')


def text(words: str) -> str:
    """Words as the content of an element.

    >>> text('a < b')
    'a &lt; b'
    """
    return escape(words)


def page(title: str, subtitle: str, parts: Sequence[str]) -> str:
    """A whole page, which loads nothing from elsewhere."""
    style = _STYLE.read_text(encoding='utf-8')
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{text(title)}</title><style>{style}</style></head><body><main>'
        f'<h1>{text(title)}</h1><div class="sub">{text(subtitle)}</div>{"".join(parts)}'
        f'<p class="faint">Written by mmav {__version__}.</p></main></body></html>\n'
    )


def card(title: str, body: str) -> str:
    """A section with a heading; nothing where there is no body."""
    return f'<section class="card"><h2>{text(title)}</h2>{body}</section>' if body else ''


def tiles(items: Sequence[tuple[str, str, str]]) -> str:
    """Numbers in a row: of each its name, the number, and a remark."""
    cells = ''.join(
        f'<div class="tile"><span class="sub">{text(name)}</span><b>{text(value)}</b><span class="faint">{text(remark)}'
        '</span></div>'
        for name, value, remark in items
    )
    return f'<div class="tiles">{cells}</div>'


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table of text; the first row is the header, left out if it is empty."""
    header, *others = rows
    head = f'<tr>{"".join(f"<th>{text(cell)}</th>" for cell in header)}</tr>' if any(header) else ''
    lines = ''.join(f'<tr>{"".join(f"<td>{text(cell)}</td>" for cell in row)}</tr>' for row in others)
    return f'<table>{head}{lines}</table>'


def track(share: float, interval: tuple[float, float] | None, colour: str) -> str:
    """A bar of a share from 0 to 1, with its interval."""
    whisker = ''
    if interval is not None:
        low, high = interval
        whisker = f'<div class="whisker" style="left:{low:.2%};width:{high - low:.2%}"></div>'
    return f'<div class="track"><div class="bar" style="width:{share:.2%};background:{colour}"></div>{whisker}</div>'


def bars(rows: Sequence[tuple[str, float, tuple[float, float] | None, str, str]]) -> str:
    """Bars below each other: of each its name, share, interval, the words behind it, and the colour."""
    cells = ''.join(
        f'<div>{text(name)}</div>{track(share, interval, colour)}<div class="num">{text(words)}</div>'
        for name, share, interval, words, colour in rows
    )
    return f'<div class="bars">{cells}</div>'


def picture(path: Path, alt: str, *, scale: float = 1.0) -> str:
    """A PNG picture inside the page, as wide as ``scale`` times its pixels, at most the page."""
    content = path.read_bytes()
    width = int.from_bytes(content[16:20], 'big')  # of the IHDR chunk
    data = base64.b64encode(content).decode()
    return f'<img alt="{text(alt)}" width="{round(scale * width)}" src="data:image/png;base64,{data}">'
