"""Figures as files: in the format that the name says, with legible text, and never over a file of the user's."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmav.errors import MmavError, did_you_mean
from mmav.outputs import write_output

if TYPE_CHECKING:  # importing matplotlib takes a second
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# the first version of matplotlib that shapes and orders the letters of all scripts
_SHAPES = (3, 11)


def check_picture_name(out_file: str | Path) -> str:
    """The format of a picture by its suffix; call it before a long computation.

    Raises:
        MmavError: There is no such format.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    suffix = Path(out_file).suffix[1:].lower()
    known = FigureCanvasBase.get_supported_filetypes()
    if suffix not in known:
        raise MmavError(
            f"'{out_file}' is not the name of a picture: end it in .png or .pdf{did_you_mean(suffix, known)}"
        )
    return suffix


def save_figure(figure: Figure, out_file: str | Path, **options: Any) -> None:
    """Writes a figure, whole or not at all.

    Args:
        figure: The figure.
        out_file: The picture; its suffix tells the format.
        **options: Of ``Figure.savefig``, such as ``dpi``.

    Raises:
        MmavError: There is no format of this suffix, or the file cannot be written or is not this program's own.
    """
    write_output(out_file, figure_bytes(figure, check_picture_name(out_file), **options))


def figure_bytes(figure: Figure, kind: str = 'png', **options: Any) -> bytes:
    """A figure as the content of a file; see :func:`make_legible`."""
    make_legible(figure)
    canvas = io.BytesIO()
    figure.savefig(canvas, format=kind, **options)
    return canvas.getvalue()


def make_legible(figure: Figure) -> None:
    """Gives each text of a figure the fonts that have its letters, and turns off formulas.

    Letters that no installed font has become escapes; the log says once what to install.
    """
    from matplotlib.text import Text
    from matplotlib.ticker import FixedLocator

    from mmav.visualization.fonts import escaped

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if isinstance(axis.get_major_locator(), FixedLocator) and any(map(_hopeless, labels)):
                axis.set_ticks(axis.get_ticklocs(), [escaped(label, _hopeless(label)) for label in labels])
    for text in figure.findobj(Text):
        words = text.get_text()
        if not words or (words.isascii() and '$' not in words):
            continue
        _make_text_legible(text, words)


def _make_text_legible(text: Text, words: str) -> None:
    import matplotlib

    from mmav.visualization.fonts import covering_fonts, escaped, is_complex, missing_letters, tell_unshaped

    if '$' in words and '\\math' not in words:  # numbers at logarithmic axes are formulas
        text.set_parse_math(False)
    missing = missing_letters(words, _path(text))
    if missing:
        fonts, nowhere = covering_fonts(missing)
        if nowhere:
            text.set_text(escaped(words, nowhere))
        text.set_fontfamily([*text.get_fontfamily(), *(font.family for font in fonts)])
    if is_complex(words) and tuple(map(int, matplotlib.__version__.split('.')[:2])) < _SHAPES:
        tell_unshaped(words, 'matplotlib 3.11 and later put them right')


def _hopeless(words: str) -> set[str]:
    """The letters that no installed font has."""
    from matplotlib.text import Text

    from mmav.visualization.fonts import covering_fonts, missing_letters

    if words.isascii():
        return set()
    return covering_fonts(missing_letters(words, _path(Text())))[1]


def _path(text: Text) -> str:
    from matplotlib import font_manager

    return str(font_manager.findfont(text.get_fontproperties()))


def short(name: str, most: int = 28) -> str:
    """The beginning of a name that has more than ``most`` characters.

    >>> short('playing the violin', 12)
    'playing the…'
    """
    return name if len(name) <= most else f'{name[: most - 1]}…'


def short_path(path: str, most: int = 80) -> str:
    """The end of a path that has more than ``most`` characters.

    >>> short_path('data/clips/a.mp4', 11)
    '…clips/a.mp4'
    """
    return path if len(path) <= most else f'…{path[-most:]}'
