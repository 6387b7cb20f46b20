"""A table of experiments over several seeds: what is still to be run, mean and spread, Markdown and a picture."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmav import tables

RESULT = 'result.json'
# metric -> heading of its column
METRICS = {'top1': 'top-1', 'ari': 'ARI', 'homogeneity': 'homogeneity'}

Results = Mapping['Row', Sequence[Mapping[str, float] | None]]


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        title: What the reader sees.
        config: Path of the config, from the repository's root; of a row that is not trained, its name.
        parts: The configs whose predictions this row averages, in place of a training of its own.
    """

    title: str
    config: str
    parts: tuple[str, ...] = ()

    def folder(self, work_dir: Path, seed: int) -> Path:
        """Where a run of this row writes."""
        return work_dir / f'{Path(self.config).stem}_seed{seed}'


def read_results(rows: Sequence[Row], seeds: Sequence[int], work_dir: Path) -> dict[Row, list[dict[str, Any] | None]]:
    """Returns, for each row, the figures of each seed; None for a run that has not ended.

    A run has ended when its folder holds :data:`RESULT`, which is written last, whole or not at all.
    """
    results: dict[Row, list[dict[str, Any] | None]] = {}
    for row in rows:
        files = [row.folder(work_dir, seed) / RESULT for seed in seeds]
        results[row] = [json.loads(file.read_text(encoding='utf-8')) if file.is_file() else None for file in files]
    return results


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the sample standard deviation, which is 0 for one value.

    >>> mean_and_spread([1.0, 2.0, 3.0])
    (2.0, 1.0)
    """
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def markdown_table(results: Results, seeds: Sequence[int], heading: str) -> str:
    """Returns the table; a row of which no run has ended says so."""
    rows = [[heading, 'config', *METRICS.values(), *(f'top-1, seed {seed}' for seed in seeds)]]
    for row, runs in results.items():
        cells = [_summary(_values(runs, metric)) for metric in METRICS]
        cells[0] = cells[0] or 'not yet run'
        cells += ['' if run is None else f'{run["top1"]:.3f}' for run in runs]
        config = 'the two above' if row.parts else f'`{row.config}`'
        rows.append([row.title, config, *cells])
    return tables.markdown_table(rows)


def _values(runs: Sequence[Mapping[str, float] | None], metric: str) -> list[float]:
    return [run[metric] for run in runs if run is not None and metric in run]


def _summary(values: Sequence[float]) -> str:
    if not values:
        return ''
    mean, spread = mean_and_spread(values)
    return f'{mean:.3f} ± {spread:.3f}' if len(values) > 1 else f'{mean:.3f}'


def draw(results: Results, path: str | Path, title: str) -> None:
    """Draws the mean top-1 of each row as a bar, its standard deviation as a line, the seeds as dots; writes a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from mmav.visualization.figures import save_figure

    rows = [(row, values) for row, runs in results.items() if (values := _values(runs, 'top1'))]
    figure = Figure(figsize=(8, 0.36 * len(rows) + 1.2), layout='constrained')
    FigureCanvasAgg(figure)
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
