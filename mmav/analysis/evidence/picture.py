"""The picture of a report on rows: figures and differences as points with intervals, seeds as dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmav.analysis.evidence.judging import Evidence
from mmav.analysis.evidence.telling import Unit, count_of_seeds
from mmav.evaluation.comparing import Judged
from mmav.visualization.figures import check_picture_name, save_figure, short

if TYPE_CHECKING:  # importing matplotlib takes a second
    from matplotlib.axes import Axes

COLOURS = {
    'holds': '#1b7f4b',
    'reversed': '#c0392b',
    'the same': '#2468a8',
    'cannot be told': '#777777',
    'no conclusion': '#bbbbbb',
}
# what a verdict says of a row against the baseline
_AGAINST = {'holds': 'better', 'reversed': 'worse'}
_ROW, _EDGE = 0.3, 0.95  # inches
_LINE_COLOURS = ('#8e5ea2', '#b8860b', '#3b8ea5', '#555555')


def draw_evidence(evidence: Evidence, out_file: str | Path) -> None:
    """Draws the rows, beside them their differences to the baseline, and below them the stated comparisons.

    Args:
        evidence: What was found.
        out_file: The picture; its suffix tells the format.

    Raises:
        MmavError: There is no format of this suffix.
    """
    from matplotlib.figure import Figure

    check_picture_name(out_file)
    stated = evidence.stated
    heights = [_EDGE + _ROW * len(evidence.rows)]
    if evidence.comparisons:
        heights.append(_EDGE + _ROW * len(evidence.comparisons))
    figure = Figure(figsize=(11.0 if stated.baseline else 9.0, sum(heights) + 0.4), layout='constrained')
    above, *below = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    columns = 2 if stated.baseline is not None else 1
    axes = above.subplots(1, columns, squeeze=False, sharey=True, width_ratios=[1.25, 1][:columns])[0]
    _draw_rows(axes[0], evidence)
    if stated.baseline is not None:
        gains = [row.gain for row in evidence.rows]
        _draw_differences(axes[1], gains, Unit(stated.metric), names=_AGAINST)
        axes[1].set_title(f'difference to {short(stated.baseline, 40)}', fontsize=9)
    if below:
        _draw_comparisons(below[0].subplots(), evidence)
    figure.suptitle(f'{stated.metric} on {stated.dataset}, {count_of_seeds(evidence)}', fontsize=11)
    save_figure(figure, out_file, dpi=120)


def _draw_rows(axes: Axes, evidence: Evidence) -> None:
    unit = Unit(evidence.stated.metric)
    for place, row in enumerate(evidence.rows):
        if row.interval is None:
            _write(axes, place, next(iter(row.row.lost.values()), 'not yet run'))
            continue
        low, mean, high = (unit.factor * value for value in (row.interval.low, row.interval.mean, row.interval.high))
        axes.plot([low, high], [place, place], color='#2b5d8b', linewidth=1.8, solid_capstyle='butt')
        axes.plot([mean], [place], 'o', color='#2b5d8b', markersize=5.5, zorder=3)
        seeds = [unit.factor * value for value in row.figures.values()]
        # below the interval, so that neither hides the other
        axes.plot(seeds, [place + 0.26] * len(seeds), 'o', color='#e08a1e', markersize=2.8, alpha=0.85)
    for (name, value), colour in zip(evidence.stated.lines.items(), _LINE_COLOURS * 9, strict=False):
        label = f'{name}: {unit.figure(value)}'
        axes.axvline(unit.factor * value, color=colour, linestyle='--', linewidth=1, zorder=0, label=label)
    if evidence.stated.lines:
        axes.legend(fontsize=7, loc='lower left', bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, borderaxespad=0.2)
    axes.set_yticks(range(len(evidence.rows)), [short(row.row.title, 40) for row in evidence.rows], fontsize=8)
    _guide(axes, len(evidence.rows))
    what = 'figure' if unit.plain else 'in percent'
    axes.set_xlabel(f'{evidence.stated.metric} {what}: mean, 95 % interval; dots are seeds', fontsize=8)


def _write(axes: Axes, place: int, words: str) -> None:
    """Words in the place of what cannot be drawn."""
    at = ('axes fraction', 'data')
    axes.annotate(short(words, 44), (0.02, place), xycoords=at, va='center', fontsize=7.5, color='#777777')


def _guide(axes: Axes, rows: int) -> None:
    """Lines that lead from the names of rows to what is drawn of them, and a grid."""
    axes.set_ylim(rows - 0.4, -0.6)
    axes.grid(axis='x', color='#e6e6e6', linewidth=0.7)
    axes.grid(axis='y', color='#d8d8d8', linewidth=0.7, linestyle=':')
    axes.set_axisbelow(True)
    axes.tick_params(axis='x', labelsize=8)


def _draw_comparisons(axes: Axes, evidence: Evidence) -> None:
    judged = [each for _, each in evidence.comparisons]
    _draw_differences(axes, judged, Unit(evidence.stated.metric))
    names = [f'{short(each.better, 34)} > {short(each.than, 34)}' for each in judged]
    axes.set_yticks(range(len(judged)), names, fontsize=8)
    axes.set_title('stated comparisons', fontsize=9)


def _limit(axes: Axes, ends: Sequence[float]) -> None:
    """Lets intervals for all at once run out of the picture where they would make the others too small to be seen."""
    low, high = min([0.0, *ends]), max([0.0, *ends])
    if low == high:
        return
    room = 0.3 * (high - low)
    before = axes.get_xlim()
    axes.set_xlim(max(before[0], low - room), min(before[1], high + room))


def _draw_differences(
    axes: Axes, judged: Sequence[Judged | None], unit: Unit, *, names: Mapping[str, str] | None = None
) -> None:
    """Differences with their interval, and thinner the one that holds for all at once."""
    from matplotlib.lines import Line2D

    axes.axvline(0, color='#222222', linewidth=1, zorder=0)
    seen = []
    for place, each in enumerate(judged):
        if each is None:  # the baseline itself
            continue
        if each.difference is None:
            _write(axes, place, each.why_not)
            continue
        colour, found = COLOURS[each.verdict], each.difference
        if each.verdict not in seen:
            seen.append(each.verdict)
        if each.together is not None:
            low, high = (unit.factor * end for end in each.together)
            axes.plot([low, high], [place, place], color=colour, linewidth=0.9, alpha=0.8)
        low, high = unit.factor * found.low, unit.factor * found.high
        axes.plot([low, high], [place, place], color=colour, linewidth=2.6, solid_capstyle='butt')
        axes.plot([unit.factor * found.mean], [place], 'o', color=colour, markersize=5, zorder=3)
    _guide(axes, len(judged))
    found_all = [each.difference for each in judged if each is not None and each.difference is not None]
    _limit(axes, [unit.factor * end for found in found_all for end in (found.low, found.high)])
    what = 'difference' if unit.plain else 'points'
    axes.set_xlabel(f'{what}: thick 95 % each, thin 95 % all at once', fontsize=8)
    handles = [
        Line2D([], [], color=COLOURS[name], linewidth=2.6, label=(names or {}).get(name, name))
        for name in COLOURS
        if name in seen
    ]
    if handles:
        axes.legend(handles=handles, fontsize=7, loc='best', framealpha=0.9)
