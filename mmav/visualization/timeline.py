"""A picture of a model's predictions along a long clip: one row per class, one cell per window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mmav.errors import MmavError
from mmav.visualization.figures import short

WIDTH, ROW_HEIGHT, FEET = 6.4, 0.25, 0.55  # inches


def draw_timeline(
    spans: Sequence[tuple[float, float]], scores: np.ndarray, names: Sequence[str], *, most: int = 6
) -> Figure:
    """Draws the probabilities of the classes that lead in a window, and of those that are probable overall.

    Windows may overlap; each is drawn until the next one begins. The leading class of a window has a frame.

    Args:
        spans: Start and end of each of the W windows in seconds, ascending.
        scores: Probabilities (W, C).
        names: Names of the C classes.
        most: Rows shown.

    Raises:
        MmavError: There are no windows.
    """
    if not len(spans):
        raise MmavError('there are no windows to draw')
    rows = rank_classes(scores, most)
    edges = [start for start, _ in spans] + [spans[-1][1]]
    figure = Figure(figsize=(WIDTH, ROW_HEIGHT * len(rows) + FEET), layout='constrained')
    axis = figure.subplots()
    mesh = axis.pcolormesh(
        edges, np.arange(len(rows) + 1), scores[:, rows].T, vmin=0, vmax=1, cmap='Blues', edgecolors='white', lw=0.6
    )
    for window, leader in enumerate(scores.argmax(axis=1)):
        if leader in rows:
            left, right = edges[window], edges[window + 1]
            row = rows.index(leader)
            axis.plot(
                [left, right, right, left, left], [row, row, row + 1, row + 1, row], color='#d9480f', lw=1.4, zorder=3
            )
    axis.set_ylim(len(rows), 0)
    axis.set_xlim(edges[0], edges[-1])
    axis.set_yticks(np.arange(len(rows)) + 0.5, [short(names[row]) for row in rows], fontsize=9)
    axis.tick_params(axis='y', length=0)
    axis.tick_params(axis='x', labelsize=9)
    axis.set_xlabel('seconds; framed: the most probable class', fontsize=9)
    axis.spines[:].set_visible(False)
    figure.colorbar(mesh, ax=axis, pad=0.01, aspect=12).ax.tick_params(labelsize=8)
    return figure


def rank_classes(scores: np.ndarray, most: int) -> list[int]:
    """Classes by the number of windows that they lead, then by their mean probability.

    >>> rank_classes(np.array([[0.5, 0.4, 0.1], [0.45, 0.5, 0.05], [0.1, 0.9, 0.0]]), 2)
    [1, 0]
    """
    led = np.bincount(scores.argmax(axis=1), minlength=scores.shape[1])
    return np.lexsort((-scores.mean(axis=0), -led))[:most].tolist()
