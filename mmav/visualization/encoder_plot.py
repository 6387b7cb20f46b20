"""Bars of what encoders are worth: linear probe, k-NN and retrieval, with intervals and chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmav.errors import MmavError
from mmav.evaluation.judging import TITLES
from mmav.visualization.figures import check_picture_name, save_figure, short

_COLOURS = dict(linear='#1f77b4', knn='#ff7f0e')
_SHADES = ('#1f77b4', '#6ba6d3', '#b7d3e9')  # of the values of k


def draw_figures(rows: Sequence[Mapping[str, Any]], out_file: str | Path, *, note: str = '') -> None:
    """Draws top-1 of each feature with its 95 % interval, and recall where there is retrieval.

    Args:
        rows: See :func:`mmav.evaluation.judging.judge`.
        out_file: The picture; its suffix tells the format.
        note: Text below.

    Raises:
        MmavError: There are no figures, or there is no format of the file's suffix.
    """
    from matplotlib.figure import Figure

    check_picture_name(out_file)
    accuracies = [row for row in rows if row['measure'] != 'retrieval']
    recalls = [row for row in rows if row['measure'] == 'retrieval']
    if not rows:
        raise MmavError('there are no figures to draw')
    kinds = list(dict.fromkeys((row['features'], row['part']) for row in accuracies))
    widths = [1.6 + 0.9 * len(kinds)] * bool(kinds) + [1.6 + 0.9 * len(recalls)] * bool(recalls)
    figure = Figure(figsize=(max(sum(widths), 4.5), 3.8), layout='constrained')
    axes = list(figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0])
    if kinds:
        _accuracy_bars(axes.pop(0), accuracies, kinds)
    if recalls:
        _recall_bars(axes.pop(0), recalls)
    if note:
        figure.supxlabel(note, fontsize=7, color='#444444', wrap=True)
    save_figure(figure, out_file, dpi=130)


def _accuracy_bars(axis: Any, rows: Sequence[Mapping[str, Any]], kinds: Sequence[tuple[str, str]]) -> None:
    several = len({part for _, part in kinds}) > 1
    measures = [name for name in _COLOURS if any(row['measure'] == name for row in rows)]
    for place, measure in enumerate(measures):
        chosen = {(row['features'], row['part']): row for row in rows if row['measure'] == measure}
        at = np.arange(len(kinds)) + (place - (len(measures) - 1) / 2) * 0.38
        _bars(axis, at, [(chosen[kind]['top1'], chosen[kind]['top1_interval']) for kind in kinds], _COLOURS[measure])
        axis.bar(0, 0, color=_COLOURS[measure], label=TITLES[measure])
    for place, kind in enumerate(kinds):
        chance = next(row['majority'] for row in rows if (row['features'], row['part']) == kind)
        axis.hlines(chance, place - 0.45, place + 0.45, colors='#444444', linestyles='dashed', linewidth=1)
    axis.plot([], [], color='#444444', linestyle='dashed', linewidth=1, label='commonest class')
    names = [f'{name}\n{part}' if several else name for name, part in kinds]
    axis.set_xticks(range(len(kinds)), [short(name) for name in names], fontsize=8)
    _head(axis, 'top-1')


def _recall_bars(axis: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    recalls = [int(key[1:]) for key in rows[0] if key[0] == 'r' and key[1:].isdigit()]
    for place, recall in enumerate(recalls):
        at = np.arange(len(rows)) + (place - (len(recalls) - 1) / 2) * 0.27
        values = [(row[f'r{recall}'], row[f'r{recall}_interval']) for row in rows]
        _bars(axis, at, values, _SHADES[place % len(_SHADES)], width=0.25)
        axis.bar(0, 0, color=_SHADES[place % len(_SHADES)], label=f'R@{recall}')
        for x, row in zip(at, rows, strict=True):
            chance = row['chance'][f'r{recall}']
            axis.hlines(chance, x - 0.13, x + 0.13, colors='#444444', linestyles='dashed', linewidth=1)
    axis.plot([], [], color='#444444', linestyle='dashed', linewidth=1, label='chance')
    axis.set_xticks(
        range(len(rows)), [f'{row["direction"].replace("_to_", " to ")}\n{row["right"]}' for row in rows], fontsize=8
    )
    _head(axis, f'retrieval among {rows[0]["clips"]:,} clips')


def _head(axis: Any, title: str) -> None:
    """Title and legend, above the bars."""
    axis.set_title(title, fontsize=10, pad=22)
    axis.legend(
        *axis.get_legend_handles_labels(),
        fontsize=7,
        ncols=4,
        loc='lower center',
        bbox_to_anchor=(0.5, 1),
        frameon=False,
    )


def _bars(
    axis: Any, at: np.ndarray, values: Sequence[tuple[float, Sequence[float]]], colour: str, *, width: float = 0.36
) -> None:
    heights = np.array([value for value, _ in values])
    ends = np.abs(np.array([interval for _, interval in values]).T - heights)
    axis.bar(at, heights, width, color=colour, yerr=ends, ecolor='#444444', error_kw=dict(linewidth=1, capsize=2))
    for x, height, end in zip(at, heights, ends[1], strict=True):
        axis.text(x, height + end + 0.01, f'{height:.2f}', ha='center', va='bottom', fontsize=7)
    axis.set_ylim(0, 1.12)
    axis.spines[['top', 'right']].set_visible(False)
