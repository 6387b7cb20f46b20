"""The picture of an ablation."""

from __future__ import annotations

from pathlib import Path

from mmav.analysis.ablation.report import mean_and_spread, values_of
from mmav.analysis.ablation.rows import Results


def draw(results: Results, path: str | Path, title: str) -> None:
    """Draws the mean top-1 of each row as a bar, its standard deviation as a line, the seeds as dots; writes a PNG."""
    from matplotlib.figure import Figure

    from mmav.visualization.figures import save_figure

    rows = [(row, values) for row, runs in results.items() if (values := values_of(runs, 'top1'))]
    figure = Figure(figsize=(8, 0.36 * len(rows) + 1.2), layout='constrained')
    axes = figure.add_subplot()
    for place, (_, values) in enumerate(rows):
        mean, spread = mean_and_spread(values)
        axes.barh(place, mean, xerr=spread, color='#8fbfa0', ecolor='#444444', capsize=3)
        axes.plot(values, [place] * len(values), 'o', color='#2b5d3b', markersize=4)
        axes.text(0.01, place, f'{mean:.3f}', va='center', fontsize=8)
    axes.set_yticks(range(len(rows)), [row.title for row, _ in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel('top-1')
    axes.set_title(title)
    save_figure(figure, path, dpi=110)
