"""Clips in the plane, one panel per set of features, coloured by class (Figure 4 of the MMT paper)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmav.errors import MmavError
from mmav.visualization.figures import check_picture_name, save_figure, short

MOST_NAMED = 20  # classes in the legend
# ten colours that colour-blind readers can tell apart, by lightness where hues look alike, times ten markers
COLOURS = (
    *('#1f77b4', '#ff7f0e', '#2ca02c', '#d62728', '#9467bd'),
    *('#8c564b', '#f49ac2', '#4d4d4d', '#c4b100', '#17becf'),
)
MARKERS = 'o^sDvPX*ph'
_SIDE = 3.3  # inches of a panel
_COLUMNS = 3
_LEGEND = 1.9  # inches
_SIGNS_AN_INCH = 17.5  # of the note below


class Panel(NamedTuple):
    """One set of features.

    Attributes:
        name: Title.
        points: (clips, 2).
        caption: Text below.
    """

    name: str
    points: np.ndarray
    caption: str = ''


def class_styles(classes: int) -> list[tuple[str, str]]:
    """Colour and marker of each class: up to ten classes differ by colour alone, up to a hundred by both.

    >>> class_styles(2)
    [('#1f77b4', 'o'), ('#ff7f0e', 'o')]
    """
    markers = min(-(-classes // len(COLOURS)), len(MARKERS))
    colours = -(-classes // markers) if markers * len(COLOURS) >= classes else len(COLOURS)
    return [(COLOURS[i % colours], MARKERS[i // colours % len(MARKERS)]) for i in range(classes)]


def draw_embeddings(
    panels: Sequence[Panel], labels: np.ndarray, classes: Sequence[str], *, out_file: str | Path, note: str = ''
) -> None:
    """Draws the same clips once for each set of features.

    A class has one colour and marker in all panels, and its name in a legend if there are no more than 20.

    Args:
        panels: At least one.
        labels: Classes (clips,) of the points of every panel.
        classes: Names of the classes by number.
        out_file: The picture; its suffix tells the format.
        note: Text below all panels.

    Raises:
        MmavError: There is no panel, or one does not have as many points as there are labels; or there is no format of
            the file's suffix, or it cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    check_picture_name(out_file)
    if not panels:
        raise MmavError('there are no features to draw')
    for panel in panels:
        if panel.points.shape != (len(labels), 2):
            raise MmavError(f'{panel.name} has points of shape {panel.points.shape}, need {(len(labels), 2)}')
    drawn = np.unique(labels)
    columns = 2 if len(panels) == 4 else min(len(panels), _COLUMNS)
    rows = -(-len(panels) // columns)
    named = len(drawn) <= MOST_NAMED
    width = _SIDE * columns + _LEGEND * named
    note = _even_lines(note, int(_SIGNS_AN_INCH * width))
    height = (_SIDE + 0.7) * rows + 0.15 * (note.count('\n') + 1)
    figure = Figure(figsize=(width, height), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False)
    styles = class_styles(len(drawn))
    for place, axis in enumerate(axes.flat):
        if place < len(panels):
            _scatter(axis, panels[place], labels, drawn, styles)
            axis.set_title(f'({_letter(place)}) {panels[place].name}', fontsize=11)
        else:
            axis.set_axis_off()
    if named:
        handles = [
            Line2D([], [], color=colour, marker=marker, linestyle='', markersize=5, label=short(classes[label]))
            for (colour, marker), label in zip(styles, drawn, strict=True)
        ]
        figure.legend(handles=handles, loc='outside right center', fontsize=7.5, frameon=False, handletextpad=0.2)
    if note:
        figure.supxlabel(note, fontsize=7.5, color='#444444')
    save_figure(figure, out_file, dpi=130)


def _scatter(axis: Any, panel: Panel, labels: np.ndarray, drawn: np.ndarray, styles: Sequence[tuple[str, str]]) -> None:
    size = float(np.clip(9000 / len(labels), 9, 36))  # square points
    for (colour, marker), label in zip(styles, drawn, strict=True):
        points = panel.points[labels == label]
        axis.scatter(*points.T, s=size, color=colour, marker=marker, linewidths=0.25, edgecolors='white', alpha=0.9)
    axis.set(xticks=[], yticks=[], box_aspect=1)
    axis.set_aspect('equal', adjustable='datalim')  # distances are what the picture is about
    axis.set_xlabel(panel.caption, fontsize=8.5)


def _even_lines(text: str, longest: int) -> str:
    lines = -(-len(text) // longest) or 1
    return textwrap.fill(text, min(longest, len(text) // lines + 10))


def _letter(place: int) -> str:
    return 'abcdefghijklmnopqrstuvwxyz'[place] if place < 26 else str(place + 1)
