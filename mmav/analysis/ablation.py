"""A table of experiments over several seeds: which have to run, mean and spread, Markdown and a picture."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mmav import tables
from mmav.files import atomic_write

RESULT = 'result.json'
# metric beside top-1 -> heading of its column
METRICS = {'ari': 'ARI', 'homogeneity': 'homogeneity'}

Results = Mapping['Row', Sequence[Mapping[str, float] | None]]


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        title: Its name in the table.
        config: Path of the config, from the repository's root; the name of a row that is not trained.
        parts: The configs whose predictions this row averages, instead of a training of its own.
    """

    title: str
    config: str
    parts: tuple[str, ...] = ()

    def folder(self, work_dir: Path, seed: int) -> Path:
        """Where a run of this row writes."""
        return work_dir / f'{Path(self.config).stem}_seed{seed}'


def read_results(rows: Sequence[Row], seeds: Sequence[int], work_dir: Path) -> dict[Row, list[dict[str, Any] | None]]:
    """Returns the figures of each row and seed; None for a run that has not ended.

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


def read_rows(metafile: str | Path) -> list[Row]:
    """Returns the rows that the section ``Ablation`` of a metafile lists."""
    listed = yaml.safe_load(Path(metafile).read_text(encoding='utf-8'))['Ablation']['Rows']
    return [Row(entry['Row'], entry['Config'], tuple(entry.get('Parts', ()))) for entry in listed]


def entries(results: Results) -> list[dict[str, Any]]:
    """Returns what a metafile says of each row: top-1 seed by seed, of the other metrics mean and spread."""
    found = []
    for row, runs in results.items():
        entry: dict[str, Any] = {'Row': row.title, 'Config': row.config}
        if row.parts:
            entry['Parts'] = list(row.parts)
        entry['top-1'] = [None if run is None else round(run['top1'], 5) for run in runs]
        for key, name in METRICS.items():
            if values := _values(runs, key):
                entry[name] = summary(values)
        found.append(entry)
    return found


def markdown_table(rows: Sequence[Mapping[str, Any]], seeds: Sequence[int], heading: str) -> str:
    """Returns the table of a metafile's entries; a row without results says "not yet run"."""
    lines = [[heading, 'config', 'top-1', *METRICS.values(), *(f'top-1, seed {seed}' for seed in seeds)]]
    for row in rows:
        config = 'the two above' if 'Parts' in row else f'`{row["Config"]}`'
        others = [row.get(name, '') for name in METRICS.values()]
        by_seed = ['' if value is None else f'{value:.3f}' for value in row['top-1']]
        lines.append([row['Row'], config, summary(row['top-1']) or 'not yet run', *others, *by_seed])
    return tables.markdown_table(lines)


def section(results: Results, *, dataset: str, epochs: int, batch_size: int, seeds: Sequence[int]) -> dict[str, Any]:
    """Returns what a metafile says of an ablation: the recipe of its runs, and its rows."""
    recipe = {'Dataset': dataset, 'Epochs': epochs, 'Batch Size': batch_size, 'Seeds': list(seeds)}
    return {**recipe, 'Rows': entries(results)}


def markdown_block(ablation: Mapping[str, Any], picture: str) -> str:
    """Returns what a page shows of an ablation: the table of its section in a metafile, and the picture."""
    heading = f'{ablation["Dataset"]}, {ablation["Epochs"]} epochs'
    table = markdown_table(ablation['Rows'], ablation['Seeds'], heading)
    return f'{table}\n\n![Top-1 of each row: mean, standard deviation, seeds]({picture})'


def store(metafile: str | Path, ablation: Mapping[str, Any]) -> None:
    """Puts an ablation into its section of a metafile, line by line; all other lines, and the order, stay."""
    before, mark, text = Path(metafile).read_text(encoding='utf-8').partition('\nAblation:\n')
    entry_of = {entry['Config']: entry for entry in ablation['Rows']}
    lines = text.split('\n')
    for place, line in enumerate(lines):
        key = line.strip().partition(':')[0]
        if line.startswith('    - {Row: '):
            entry = entry_of[yaml.safe_load(line)[0]['Config']]
            written = yaml.safe_dump(entry, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
            lines[place] = f'    - {written.strip()}'
        elif line.startswith(f'  {key}: ') and key in ('Epochs', 'Batch Size', 'Seeds'):
            lines[place] = f'  {key}: {ablation[key]}'
    atomic_write(metafile, (before + mark + '\n'.join(lines)).encode())


def _values(runs: Sequence[Mapping[str, float] | None], metric: str) -> list[float]:
    return [run[metric] for run in runs if run is not None and metric in run]


def summary(values: Sequence[float | None]) -> str:
    """Mean and spread of the runs that have ended; empty if none has.

    >>> summary([0.5, None, 0.7])
    '0.600 ± 0.141'
    """
    ended = [value for value in values if value is not None]
    if not ended:
        return ''
    mean, spread = mean_and_spread(ended)
    return f'{mean:.3f} ± {spread:.3f}' if len(ended) > 1 else f'{mean:.3f}'


def draw(results: Results, path: str | Path, title: str) -> None:
    """Draws the mean top-1 of each row as a bar, its standard deviation as a line, the seeds as dots; writes a PNG."""
    from matplotlib.figure import Figure

    from mmav.visualization.figures import save_figure

    rows = [(row, values) for row, runs in results.items() if (values := _values(runs, 'top1'))]
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
