"""Pictures of the classes' scores: bars of one model, and one modality against the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmav.errors import MmavError
from mmav.visualization.figures import save_figure, short
from mmav.visualization.prediction_sheet import OTHER, RIGHT, WRONG

MOST_BARS = 40  # with more classes the lowest and the highest have bars, and all a curve
_ENDS = 20
_NAME = 30  # most characters of a name
_NAMED = 25  # classes with a name in the scatter plot


def draw_class_scores(
    rows: Sequence[Mapping[str, Any]], out_file: str | Path, *, score: str = 'AP', chance: str | None = 'share'
) -> None:
    """Draws a score of each class, the highest at the top.

    With more than 40 classes the 20 highest and the 20 lowest have bars, and all of them a curve.

    Args:
        rows: Of each class ``class``, ``support`` or ``clips``, and the score, see
            :func:`mmav.evaluation.label_set_errors.class_table` and
            :func:`mmav.evaluation.error_analysis.class_accuracies`. Those whose score is None are left out.
        score: Which one.
        chance: What a guess gives, marked in each bar; None for no mark.
        out_file: The picture; its suffix tells the format.

    Raises:
        MmavError: No class has the score.
    """
    from matplotlib.figure import Figure

    rows = sorted((row for row in rows if row[score] is not None), key=lambda row: -row[score])
    if not rows:
        raise MmavError(f'no class has the score {score} to draw')
    values = [row[score] for row in rows]
    told = f'{score} of {len(rows)} classes: mean {np.mean(values):.3f}, median {np.median(values):.3f}'
    if len(rows) <= MOST_BARS:
        figure = Figure(figsize=(7, 0.24 * len(rows) + 1.4), layout='constrained')
        _bars(figure.subplots(), rows, score, chance, title=told)
    else:
        figure = Figure(figsize=(13, 8.5), layout='constrained')
        above, below = figure.subfigures(2, 1, height_ratios=[2.1, 1])  # type: ignore[misc]
        left, right = above.subplots(1, 2)
        _bars(left, rows[:_ENDS], score, chance, title=f'the {_ENDS} highest')
        _bars(right, rows[-_ENDS:], score, chance, title=f'the {_ENDS} lowest')
        axis = below.subplots()
        places = np.arange(len(rows))
        axis.fill_between(places, values, step='mid', color=RIGHT, alpha=0.5)
        axis.axhline(float(np.mean(values)), color='black', linewidth=1, linestyle='--', label='mean')
        if chance:
            axis.plot(places, [row[chance] for row in rows], '.', color=WRONG, markersize=2, label='a guess')
        axis.legend(fontsize=8, loc='upper right')
        axis.set(xlim=(-0.5, len(rows) - 0.5), ylim=(0, 1.02), xlabel='classes, the highest first', ylabel=score)
        axis.set_title(told, fontsize=10)
    save_figure(figure, out_file, dpi=120)


def _bars(axis: Any, rows: Sequence[Mapping[str, Any]], score: str, chance: str | None, *, title: str) -> None:
    places, values = np.arange(len(rows)), [row[score] for row in rows]
    axis.barh(places, values, color=RIGHT, alpha=0.6, height=0.8)
    if chance:
        guess = [row[chance] for row in rows]
        axis.vlines(guess, places - 0.4, places + 0.4, color=WRONG, linewidth=1.2, label='a guess')
    for place, value in zip(places, values, strict=True):
        # inside a long bar, beside a short one
        inside = value > 0.85
        axis.text(
            value - 0.01 if inside else value + 0.01,
            place,
            f'{value:.2f}',
            va='center',
            ha='right' if inside else 'left',
            fontsize=6.5,
        )
    names = [f'{short(str(row["class"]), _NAME)} ({row.get("support", row.get("clips"))})' for row in rows]
    axis.set_yticks(places, names, fontsize=7)
    axis.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
    axis.set_xlabel(f'{score} (in brackets: clips of the class' + ('; red: a guess)' if chance else ')'), fontsize=8)
    axis.set_title(title, fontsize=10)


def draw_modality_scatter(rows: Sequence[Mapping[str, Any]], out_file: str | Path) -> None:
    """Draws each class's average precision by audio alone against that by video alone, coloured by the model's gain.

    Args:
        rows: See :func:`mmav.evaluation.label_set_errors.modality_scores`.
        out_file: The picture; its suffix tells the format.

    Raises:
        MmavError: There are no classes.
    """
    from matplotlib.colors import CenteredNorm
    from matplotlib.figure import Figure

    if not rows:
        raise MmavError('no class can be judged, so there is nothing to draw')
    audio, video, gain = (np.array([row[name] for row in rows]) for name in ('AP_audio', 'AP_video', 'gain'))
    figure = Figure(figsize=(8, 6.6), layout='constrained')
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], '--', color=OTHER, linewidth=1)
    points = axis.scatter(
        audio, video, c=gain, cmap='RdYlGn', norm=CenteredNorm(halfrange=max(1e-6, float(np.abs(gain).max()))),
        s=28, edgecolors='black', linewidths=0.3,
    )  # fmt: skip
    for index in _apart(audio, video, np.maximum(np.abs(audio - video), np.abs(gain))):
        left = audio[index] > 0.7
        axis.annotate(
            short(str(rows[index]['class']), _NAME),
            (audio[index], video[index]),
            xytext=(-5 if left else 5, 3),
            textcoords='offset points',
            ha='right' if left else 'left',
            fontsize=7,
        )
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel='AP by audio alone', ylabel='AP by video alone')
    axis.set_title(f'{len(rows)} classes: above the line video tells more, below it audio', fontsize=10)
    figure.colorbar(points, ax=axis, label="the model's AP less that of the better modality")
    save_figure(figure, out_file, dpi=120)


def _apart(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> list[int]:
    """The points with the largest weights whose names, on one line each, do not meet."""
    chosen: list[int] = []
    for index in np.argsort(-weight, kind='stable'):
        if all(abs(y[index] - y[other]) > 0.025 or abs(x[index] - x[other]) > 0.3 for other in chosen):
            chosen.append(int(index))
    return chosen[:_NAMED]
