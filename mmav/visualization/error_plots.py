"""Pictures of a model's errors: the confusion matrix and the reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmav.errors import MmavError
from mmav.visualization.figures import save_figure, short
from mmav.visualization.prediction_sheet import OTHER, RIGHT, WRONG

MOST_CLASSES = 1000  # a matrix of more would have less than a pixel per class
_SIDE = 8.0  # inches of the largest matrix
_SMALLEST = 4.5  # points; smaller type is not legible
_NUMBERS = 20  # most classes whose cells hold numbers
_LINES, _GUESSES = 20, 6  # of the enlarged rows
_NAME = 24  # most characters of a name


def worst_rows(counts: np.ndarray, num: int, clips: np.ndarray | None = None) -> np.ndarray:
    """The classes with the lowest accuracy; of equal ones those with more clips first.

    Args:
        counts: (C, C + 1), see :func:`mmav.evaluation.error_analysis.confusion`.
        num: How many.
        clips: Of each class (C,); the sums of the rows if not given.

    >>> worst_rows(np.array([[9, 1, 0], [5, 5, 0]]), 1)
    array([1])
    """
    clips = counts.sum(axis=1) if clips is None else clips
    accuracy = np.diagonal(counts) / np.maximum(clips, 1)
    order = np.lexsort((-clips, accuracy))
    return order[clips[order] > 0][:num]


def draw_confusion(
    counts: np.ndarray, names: Sequence[str], out_file: str | Path, *, clips: np.ndarray | None = None
) -> None:
    """Draws a confusion matrix: the share of each true class's clips, in logarithmic colours.

    The axes show names where they are legible, else numbers of classes. With more than 20 classes the worst ones are
    enlarged beside the matrix, with what they are mistaken for; with more than 1,000 only those are drawn.

    Args:
        counts: (C, C + 1), see :func:`mmav.evaluation.error_analysis.confusion`.
        names: The C names.
        out_file: The picture; its suffix tells the format.
        clips: Of each class (C,), where clips have any number of classes, see
            :func:`mmav.evaluation.label_set_errors.label_confusion`.

    Raises:
        MmavError: There are no clips.
    """
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    if not counts.sum():
        raise MmavError('there are no predictions to draw')
    if not counts[:, -1].any():
        counts = counts[:, :-1]  # every clip has an answer
    sets = clips is not None
    clips = counts.sum(axis=1) if clips is None else clips
    shares = counts / np.maximum(clips[:, None], 1)
    # from a quarter of the smallest share, so that it is not white
    colours: dict[str, Any] = dict(norm=LogNorm(shares[shares > 0].min() / 4, 1), cmap=colormaps['Blues'])
    classes = len(counts)
    whole, enlarged = classes <= MOST_CLASSES, classes > _NUMBERS
    side = min(_SIDE, max(0.45 * classes, 2.5))
    widths = [side] * whole + [_SIDE] * enlarged
    figure = Figure(figsize=(sum(widths) + 2.0 * len(widths), side + 1.5), layout='compressed')
    axes = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)
    size = min(9.0, 0.8 * 72 * side / classes)  # points of type that fit a line of the matrix
    if whole:
        image = _matrix(axes[0, 0], counts, shares, names, size, colours)
        if sets:
            title = (
                f'{clips.sum()} labels of {classes} classes; off the diagonal: predicted for clips that do not have it'
            )
            axes[0, 0].set_title(title, fontsize=10, wrap=True)
    if enlarged:
        numbered = whole and size < _SMALLEST  # numbers lead to the lines of the matrix
        image = _worst(axes[0, -1], counts, shares, names, numbered, colours, clips=clips)
        if sets:
            axes[0, -1].set_title(
                'the least found classes and what is wrongly predicted for their clips (bold: found)', fontsize=10
            )
    bar = figure.colorbar(image, ax=axes[0, -1], fraction=0.04, pad=0.02)
    bar.set_label('share of the true class')
    save_figure(figure, out_file, dpi=150)


def _matrix(
    axis: Any, counts: np.ndarray, shares: np.ndarray, names: Sequence[str], size: float, colours: dict[str, Any]
) -> Any:
    classes = len(counts)
    image = axis.imshow(np.ma.masked_equal(shares, 0), interpolation='nearest', **colours)
    if size >= _SMALLEST:
        labels = [short(name, _NAME) for name in names] + ['(no answer)'] * (counts.shape[1] - classes)
        axis.set_xticks(range(counts.shape[1]), labels, rotation=90, fontsize=size)
        axis.set_yticks(range(classes), labels[:classes], fontsize=size)
        _lines_between(axis, counts.shape)
    if classes <= _NUMBERS:
        for row, column in np.argwhere(counts):
            _write(axis, column, row, str(counts[row, column]), shares[row, column], colours, size=7)
    unit = '' if size >= _SMALLEST else ' (number of the class, from 0)'
    last = '; last column: no answer' if counts.shape[1] > classes and unit else ''
    axis.set_xlabel(f'predicted{unit}{last}')
    axis.set_ylabel(f'true{unit}')
    axis.set_title(f'{counts.sum()} clips of {classes} classes', fontsize=10)
    return image


def _worst(
    axis: Any,
    counts: np.ndarray,
    shares: np.ndarray,
    names: Sequence[str],
    numbered: bool,
    colours: dict[str, Any],
    *,
    clips: np.ndarray,
) -> Any:
    """One line per class: its most frequent predictions, with their number of clips."""
    lines = worst_rows(counts, _LINES, clips)
    guesses = np.argsort(-counts[lines], axis=1, kind='stable')[:, :_GUESSES]
    cells = np.take_along_axis(shares[lines], guesses, axis=1)
    image = axis.imshow(np.ma.masked_equal(cells, 0), interpolation='nearest', aspect='auto', **colours)
    for place, (row, columns) in enumerate(zip(lines, guesses, strict=True)):
        for at, column in enumerate(columns):
            if counts[row, column]:
                name = names[column] if column < len(names) else '(no answer)'
                text = f'{short(name, _NAME)}\n{counts[row, column]} clip{"s" * bool(counts[row, column] > 1)}'
                _write(axis, at, place, text, shares[row, column], colours, size=6, bold=row == column)
    labels = [
        f'{row}  ' * numbered + f'{short(names[row], _NAME)}  {shares[row, row]:.0%} of {clips[row]}' for row in lines
    ]
    axis.set_yticks(range(len(lines)), labels, fontsize=7)
    axis.set_xticks([])
    _lines_between(axis, cells.shape)
    axis.set_title('the worst classes and what they are taken for, by number of clips (bold: right)', fontsize=10)
    return image


def _lines_between(axis: Any, shape: tuple[int, ...]) -> None:
    """Light lines between the cells, which guide the eye along a row."""
    axis.set_yticks(np.arange(shape[0] + 1) - 0.5, minor=True)
    axis.set_xticks(np.arange(shape[1] + 1) - 0.5, minor=True)
    axis.grid(which='minor', color='#e4e8ec', linewidth=0.4)
    axis.tick_params(which='minor', length=0)


def _write(
    axis: Any, x: int, y: int, text: str, share: float, colours: dict[str, Any], *, size: float, bold: bool = False
) -> None:
    colour, weight = 'white' if colours['norm'](share) > 0.6 else 'black', 'bold' if bold else 'normal'
    axis.text(x, y, text, ha='center', va='center', fontsize=size, color=colour, fontweight=weight)


def draw_reliability(measured: Mapping[str, Any], out_file: str | Path, *, pairs: bool = False) -> None:
    """Draws accuracy against confidence, and below it how many clips have that confidence.

    Args:
        measured: See :func:`mmav.evaluation.error_analysis.calibration`.
        out_file: The picture; its suffix tells the format.
        pairs: Whether it is of pairs of a clip and a class, see
            :func:`mmav.evaluation.label_set_errors.label_calibration`.

    Raises:
        MmavError: There are no clips.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    if not measured['clips']:
        raise MmavError('there are no clips with an answer to draw')
    bins = [each for each in measured['bins'] if each['clips']]
    width = measured['bins'][0]['high']
    places = [each['low'] for each in bins]
    accuracy, confidence = ([each[name] for each in bins] for name in ('accuracy', 'confidence'))
    figure = Figure(figsize=(4.6, 6), layout='constrained')
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    right, sure, of_what = (
        ('share true', 'probability', 'clips x classes') if pairs else ('accuracy', 'confidence', 'clips')
    )
    above.bar(places, accuracy, width, align='edge', color=RIGHT, alpha=0.6, edgecolor='white', label=right)
    above.vlines(confidence, accuracy, confidence, color=WRONG, linewidth=2, label=f'gap to the mean {sure}')
    above.scatter(confidence, confidence, s=9, color=WRONG)
    above.plot([0, 1], [0, 1], '--', color='black', linewidth=1, label='calibrated')
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel=right)
    above.set_title(
        f'ECE {measured["ece"]:.4f}; {right} {measured["accuracy"]:.3f}, mean {sure} {measured["confidence"]:.3f}',
        fontsize=9,
    )
    figure.legend(*above.get_legend_handles_labels(), fontsize=7, loc='outside lower center', ncols=3)
    below.bar(places, [each['clips'] for each in bins], width, align='edge', color=OTHER, edgecolor='white')
    below.set(xlabel=sure, ylabel=of_what, yscale='log' if pairs else 'linear')
    if pairs:
        below.set_ylim(bottom=0.7)
        below.yaxis.set_minor_formatter(NullFormatter())
    save_figure(figure, out_file, dpi=110)
