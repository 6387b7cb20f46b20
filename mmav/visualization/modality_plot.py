"""The picture of a modality report: scores under each condition, how the clips divide, and each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmav.errors import MmavError
from mmav.visualization.figures import check_picture_name, save_figure, short

_COLOURS = dict(both='#0072b2', video='#2e8b57', audio='#d55e00', shuffled='#8a94a0', shuffled_same='#b9c1c9')
_ONE, _TWO = '#2e8b57', '#d55e00'  # of other modalities
_LINES = 30  # most classes of the picture


def colour_of(name: str, names: Sequence[str]) -> str:
    """The colour of a condition; video and audio always have theirs."""
    return _COLOURS.get(name, _ONE if name == names[0] else _TWO)


def draw_modalities(
    figures: Sequence[Mapping[str, Any]],
    out_file: str | Path,
    *,
    names: tuple[str, str],
    conditions: Mapping[str, str],
    cases: Mapping[str, str],
    title: str = '',
) -> None:
    """Draws a row for each part of the label.

    Args:
        figures: Of each part ``part``, ``scores``, ``majority``, ``cases``, ``classes``, as
            ``mmav.analysis.modality_report.figures`` gives them.
        out_file: The picture; its suffix tells the format.
        names: The two modalities.
        conditions: Condition -> what to call it.
        cases: Case -> what to call it.
        title: Of the whole picture.

    Raises:
        MmavError: There are no figures, or there is no format of the file's suffix.
    """
    from matplotlib.figure import Figure

    check_picture_name(out_file)
    if not figures:
        raise MmavError('there are no figures to draw')
    heights = [max(4.4, 1.6 + 0.2 * min(len(each['classes']), _LINES)) for each in figures]
    figure = Figure(figsize=(13.0, sum(heights) + 0.5), layout='constrained')
    rows = figure.subfigures(len(figures), 1, squeeze=False, height_ratios=heights)[:, 0]
    for each, row in zip(figures, rows, strict=True):
        many = bool(each['classes'])
        left, *right = row.subfigures(1, 1 + many, squeeze=False, width_ratios=[1.15, 1][: 1 + many])[0]
        above, below = left.subplots(2, 1, height_ratios=[3, 1])
        _scores(above, each, names, conditions)
        _cases(below, each, names, cases)
        if many:
            _classes(right[0].subplots(), each, names)
    if title:
        figure.suptitle(title, fontsize=11)
    save_figure(figure, out_file, dpi=110)


def _scores(axis: Any, figures: Mapping[str, Any], names: Sequence[str], conditions: Mapping[str, str]) -> None:
    scores = figures['scores']
    shown = [name for name in conditions if name in scores and scores[name]['clips']]
    for place, name in enumerate(shown):
        value, (low, high) = scores[name]['score'], scores[name]['interval']
        ends = np.array([[value - low], [high - value]]).clip(min=0)
        axis.bar(place, value, 0.62, color=colour_of(name, names), yerr=ends, ecolor='#333333', capsize=3)
        axis.text(place, max(value, high) + 0.015, f'{100 * value:.1f} %', ha='center', va='bottom', fontsize=9)
    axis.axhline(figures['majority'], color='#444444', linestyle='dashed', linewidth=1)
    axis.set_xticks(range(len(shown)), [conditions[name] for name in shown], fontsize=8)
    axis.set(ylim=(0, 1.13), xlim=(-0.5, len(shown) - 0.5), ylabel='right at the first guess')
    axis.spines[['top', 'right']].set_visible(False)
    part = '' if figures['part'] == 'label' else f'{figures["part"]}: '
    axis.set_title(
        f'{part}{figures["clips"]:,} clips, with 95 % intervals; dashed: always the commonest class',
        fontsize=10,
        loc='left',
    )


def _cases(axis: Any, figures: Mapping[str, Any], names: Sequence[str], cases: Mapping[str, str]) -> None:
    """One bar, divided."""
    colours = dict(
        either='#56b4e9', first=colour_of(names[0], names), second=colour_of(names[1], names), synergy='#7b61a8',
        confusion='#c0392b', never='#d5dae0',
    )  # fmt: skip
    begin = 0.0
    for name, words in cases.items():
        share = figures['cases'][name]['share']
        axis.barh(
            0, share, 0.6, left=begin, color=colours[name], edgecolor='white', label=f'{words} {100 * share:.1f} %'
        )
        if share > 0.06:
            colour = 'black' if name in ('either', 'never') else 'white'
            axis.text(begin + share / 2, 0, f'{100 * share:.0f} %', ha='center', va='center', fontsize=8, color=colour)
        begin += share
    axis.set(xlim=(0, 1), ylim=(-0.4, 0.4))
    axis.set_axis_off()
    axis.legend(loc='upper center', bbox_to_anchor=(0.5, 0.05), ncols=2, fontsize=8, frameon=False)
    axis.set_title('what a clip needs to be right', fontsize=10, loc='left')


def _classes(axis: Any, figures: Mapping[str, Any], names: Sequence[str]) -> None:
    """A line a class, from its scores with one modality to that with both."""
    rows = list(figures['classes'])
    if len(rows) > _LINES:
        rows = [*rows[: _LINES // 2], *rows[-(_LINES // 2) :]]  # those that gain most and least
    at = np.arange(len(rows))[::-1]
    conditions = (*names, 'both')
    values = np.array([[row[name] for name in conditions] for row in rows])
    axis.hlines(at, values.min(axis=1), values.max(axis=1), color='#c9d0d7', linewidth=2, zorder=1)
    # apart where they would hide each other
    for column, (name, lift) in enumerate(zip(conditions, (0.13, -0.13, 0.0), strict=True)):
        words = 'both' if name == 'both' else f'{name} alone'
        size = 46 if name == 'both' else 26
        axis.scatter(values[:, column], at + lift, s=size, color=colour_of(name, names), label=words, zorder=2)
    axis.set_yticks(at, [f'{short(row["class"], 26)}  ({row["clips"]:,})' for row in rows], fontsize=7)
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.8, len(rows) - 0.2))
    axis.set_xlabel('average precision' if figures.get('multi_label') else 'share of its clips that are right')
    axis.grid(axis='x', color='#e4e8ec', linewidth=0.6)
    axis.spines[['top', 'right']].set_visible(False)
    total = len(figures['classes'])
    which = f'{len(rows)} of {total:,} classes: the most and the least gain' if total > len(rows) else 'each class'
    axis.set_title(f'{which} (clips), most gain from a modality first', fontsize=10, loc='left')
    axis.legend(loc='lower center', bbox_to_anchor=(0.5, 1.04), ncols=3, fontsize=8, frameon=False)
