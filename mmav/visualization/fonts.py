"""Finds installed fonts that have the letters of a text; letters that none has become escapes.

The usual font is DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic, Arabic and Hebrew, but neither
Chinese, Japanese and Korean nor the scripts of India.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from mmengine.logging import print_log

# fonts that have a box for every letter, or other symbols in place of letters
_NO_LETTERS = ('Last Resort', 'STIXNonUnicode', 'STIXSize', 'cmb', 'cmex', 'cmmi', 'cmr', 'cmss', 'cmsy', 'cmtt')
# beginning of letters' Unicode names -> package of Debian and Ubuntu with a font for them
_PACKAGES = {
    'CJK': 'fonts-noto-cjk',
    'HIRAGANA': 'fonts-noto-cjk',
    'KATAKANA': 'fonts-noto-cjk',
    'HANGUL': 'fonts-noto-cjk',
    'FULLWIDTH': 'fonts-noto-cjk',
    'IDEOGRAPHIC': 'fonts-noto-cjk',
}
_SYMBOLS, _OTHERS = 'fonts-symbola', 'fonts-noto-core'
_told: set[str] = set()


class Font(NamedTuple):
    """An installed font."""

    family: str
    path: str


def usual_font() -> Font:
    """The default font of pictures."""
    path = str(font_manager.findfont('DejaVu Sans'))
    return Font('DejaVu Sans', path)


def missing_letters(text: str, path: str) -> set[str]:
    """The letters of a text that a font lacks, without invisible ones."""
    return {letter for letter in text if ord(letter) not in letters_of(path) and not _shapeless(letter)}


def covering_fonts(letters: Iterable[str]) -> tuple[list[Font], set[str]]:
    """A few installed fonts that together have some letters.

    Returns:
        The fonts, the one with most of the letters first, and the letters that none has.
    """
    left, chosen = set(letters), []
    if left:
        _find_new_fonts()
    while left:
        best, most = None, 0
        for font in _installed():
            known = letters_of(font.path)
            number = sum(ord(letter) in known for letter in left)
            if number > most:
                best, most = font, number
            if number == len(left):
                break
        if best is None:
            break
        chosen.append(best)
        left = {letter for letter in left if ord(letter) not in letters_of(best.path)}
    return chosen, left


def font_of(text: str) -> tuple[str, str]:
    """One font for a whole text.

    Returns:
        The font's path, and the text with escapes for letters that it lacks, see :func:`escaped`.
    """
    usual = usual_font()
    missing = missing_letters(text, usual.path)
    if not missing:
        return usual.path, text
    _find_new_fonts()
    # with all letters of the text, as the font replaces the usual one
    best = min([usual, *_installed()], key=lambda font: len(missing_letters(text, font.path)))
    return best.path, escaped(text, missing_letters(text, best.path))


def escaped(text: str, letters: Iterable[str]) -> str:
    r"""A text with some letters as escapes; logs once that they are missing and what to install.

    >>> escaped('a狗', set())
    'a狗'
    """
    missing = set(letters)
    if not missing:
        return text
    new = sorted(missing - _told)
    if new:
        _told.update(new)
        shown = ''.join(new[:20]) + '…' * (len(new) > 20)
        packages = ' and '.join(sorted({_package(letter) for letter in new}))
        print_log(
            f'no installed font has the letters {shown}: they are drawn as escapes, such as {_escape(new[0])}; install '
            f'a font that has them (Debian, Ubuntu: {packages})',
            'current',
            level=logging.WARNING,
        )
    return ''.join(_escape(letter) if letter in missing else letter for letter in text)


def is_complex(text: str) -> bool:
    """Whether a text has letters that run from right to left, or change their shape in context, as in Devanagari."""
    return any(unicodedata.bidirectional(letter) in ('R', 'AL') or 0x0900 <= ord(letter) <= 0x0DFF for letter in text)


def tell_unshaped(text: str, remedy: str) -> None:
    """Logs once that such letters are drawn one by one, from left to right."""
    if is_complex(text) and 'unshaped' not in _told:
        _told.add('unshaped')
        print_log(
            f'{text!r}: letters of this script are drawn one by one from left to right here; {remedy}',
            'current',
            level=logging.WARNING,
        )


@functools.cache
def letters_of(path: str) -> frozenset[int]:
    """The code points of a font file; none if it cannot be read."""
    with contextlib.suppress(OSError, RuntimeError):
        return frozenset(FT2Font(path).get_charmap())
    return frozenset()


@functools.lru_cache(maxsize=1)
def _find_new_fonts() -> None:
    """Adds fonts that were installed after matplotlib cached its list."""
    known = {str(entry.fname) for entry in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            # for fonts that it cannot draw, such as coloured ones, it raises errors of several types
            with contextlib.suppress(Exception):
                font_manager.fontManager.addfont(path)


def _installed() -> Sequence[Font]:
    """All fonts with letters, upright ones of normal weight first."""
    entries = [entry for entry in font_manager.fontManager.ttflist if not entry.name.startswith(_NO_LETTERS)]
    entries.sort(key=lambda entry: (entry.style != 'normal', str(entry.weight) not in ('400', 'normal', 'regular')))
    return [Font(entry.name, str(entry.fname)) for entry in entries]


def _shapeless(letter: str) -> bool:
    """Spaces, controls, joiners and variation selectors."""
    return letter.isspace() or unicodedata.category(letter) in ('Cc', 'Cf') or '\ufe00' <= letter <= '\ufe0f'


def _escape(letter: str) -> str:
    return f'\\u{ord(letter):04x}' if ord(letter) < 0x10000 else f'\\U{ord(letter):08x}'


def _package(letter: str) -> str:
    name = unicodedata.name(letter, '')
    if unicodedata.category(letter).startswith('S'):
        return _SYMBOLS
    return next((package for script, package in _PACKAGES.items() if name.startswith(script)), _OTHERS)
