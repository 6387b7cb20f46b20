"""A table of experiments over several seeds: what is still to be run, mean and spread, Markdown and a picture."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmav.errors import MmavError

START, END = '<!-- {name}: start, written by {tool} -->', '<!-- {name}: end -->'


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        title: What the reader sees.
        config: Path of the config, from the repository's root.
    """

    title: str
    config: str

    def folder(self, work_dir: Path, seed: int) -> Path:
        """Where a run of this row writes."""
        return work_dir / f'{Path(self.config).stem}_seed{seed}'


def read_results(rows: Sequence[Row], seeds: Sequence[int], work_dir: Path, metric: str = 'top1') -> dict[Row, list]:
    """Returns, for each row, the metric of each seed; None for a run that has not ended.

    A run has ended when its folder holds ``metrics.json``, which ``tools/test.py --out`` writes whole or not at all.
    """
    results: dict[Row, list] = {}
    for row in rows:
        files = [row.folder(work_dir, seed) / 'metrics.json' for seed in seeds]
        results[row] = [json.loads(file.read_text())[metric] if file.is_file() else None for file in files]
    return results


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the sample standard deviation, which is 0 for one value.

    >>> mean_and_spread([1.0, 2.0, 3.0])
    (2.0, 1.0)
    """
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def markdown_table(results: Mapping[Row, Sequence[float | None]], seeds: Sequence[int], heading: str) -> str:
    """Returns the table; a row of which no run has ended says so."""
    lines = [
        f'| {heading} | config | top-1, mean ± standard deviation | {" | ".join(f"seed {s}" for s in seeds)} |',
        '|---|---|---|' + '---|' * len(seeds),
    ]
    for row, values in results.items():
        done = [value for value in values if value is not None]
        summary = 'not yet run'
        if done:
            mean, spread = mean_and_spread(done)
            summary = f'{mean:.3f} ± {spread:.3f}' if len(done) > 1 else f'{mean:.3f}'
        cells = ['' if value is None else f'{value:.3f}' for value in values]
        lines.append(f'| {row.title} | `{row.config}` | {summary} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def replace_block(text: str, name: str, tool: str, content: str) -> str:
    """Puts ``content`` between the two comments that mark a generated block of a page, which must be there.

    Raises:
        MmavError: The page has no such block.
    """
    start, end = START.format(name=name, tool=tool), END.format(name=name)
    before, found_start, rest = text.partition(start)
    _, found_end, after = rest.partition(end)
    if not found_start or not found_end:
        raise MmavError(f'the page has no block to fill in: it needs the lines {start} and {end}')
    return f'{before}{start}\n\n{content}\n\n{end}{after}'


def draw(results: Mapping[Row, Sequence[float | None]], path: str | Path, title: str) -> None:
    """Draws the means as bars, the seeds as dots, and writes the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [(row, [v for v in values if v is not None]) for row, values in results.items()]
    rows = [(row, values) for row, values in rows if values]
    figure = Figure(figsize=(8, 0.4 * len(rows) + 1.2), layout='constrained')
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
    figure.savefig(path, dpi=110)
