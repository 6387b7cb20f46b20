"""A picture of a model's predictions along a long clip: one row per class, one cell per window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mmav.errors import MmavError
from mmav.visualization.figures import short

WIDTH, ROW_HEIGHT, FEET = 6.4, 0.25, 0.55  # inches


def draw_timeline(
    spans: Sequence[tuple[float, float]],
    scores: np.ndarray,
    names: Sequence[str],
    *,
    most: int = 6,
    thresholds: np.ndarray | None = None,
) -> Figure:
    """Draws the probabilities of the classes that lead in a window, and of those that are probable overall.

    Windows may overlap; each is drawn until the next one begins. The leading class of a window has a frame; with
    thresholds, every class that reaches its own.

    Args:
        spans: Start and end of each of the W windows in seconds, ascending.
        scores: Probabilities (W, C).
        names: Names of the C classes.
        most: Rows shown.
        thresholds: (C,), for clips with several labels.

    Raises:
        MmavError: There are no windows.
    """
    if not len(spans):
        raise MmavError('there are no windows to draw')
    if thresholds is None:
        framed, what = scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1]), 'the most probable class'
    else:
        framed, what = scores >= thresholds, 'classes that reach their threshold'
    rows = rank_classes(scores, most, framed)
    edges = [start for start, _ in spans] + [spans[-1][1]]
    figure = Figure(figsize=(WIDTH, ROW_HEIGHT * len(rows) + FEET), layout='constrained')
    axis = figure.subplots()
    mesh = axis.pcolormesh(
        edges, np.arange(len(rows) + 1), scores[:, rows].T, vmin=0, vmax=1, cmap='Blues', edgecolors='white', lw=0.6
    )
    for window, row in np.argwhere(framed[:, rows]):
        left, right = edges[window], edges[window + 1]
        axis.plot(
            [left, right, right, left, left], [row, row, row + 1, row + 1, row], color='#d9480f', lw=1.4, zorder=3
        )
    axis.set_ylim(len(rows), 0)
    axis.set_xlim(edges[0], edges[-1])
    axis.set_yticks(np.arange(len(rows)) + 0.5, [short(names[row]) for row in rows], fontsize=9)
    axis.tick_params(axis='y', length=0)
    axis.tick_params(axis='x', labelsize=9)
    axis.set_xlabel(f'seconds; framed: {what}', fontsize=9)
    axis.spines[:].set_visible(False)
    figure.colorbar(mesh, ax=axis, pad=0.01, aspect=12).ax.tick_params(labelsize=8)
    return figure


def rank_classes(scores: np.ndarray, most: int, framed: np.ndarray) -> list[int]:
    """Classes by the number of windows in which they are framed (W, C), then by their mean probability.

    >>> scores = np.array([[0.5, 0.4, 0.1], [0.45, 0.5, 0.05], [0.1, 0.9, 0.0]])
    >>> rank_classes(scores, 2, scores > 0.45)
    [1, 0]
    """
    return np.lexsort((-scores.mean(axis=0), -framed.sum(axis=0)))[:most].tolist()
