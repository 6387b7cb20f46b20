"""The table of an ablation: mean and spread, Markdown, and the section of a metafile."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmav import tables
from mmav.analysis.ablation.rows import Results
from mmav.files import atomic_write

# metric beside top-1 -> heading of its column
METRICS = {'ari': 'ARI', 'homogeneity': 'homogeneity'}


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the sample standard deviation, which is 0 for one value.

    >>> mean_and_spread([1.0, 2.0, 3.0])
    (2.0, 1.0)
    """
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def entries(results: Results) -> list[dict[str, Any]]:
    """Returns what a metafile says of each row: top-1 seed by seed, of the other metrics mean and spread."""
    found = []
    for row, runs in results.items():
        entry: dict[str, Any] = {'Row': row.title, 'Config': row.config}
        if row.parts:
            entry['Parts'] = list(row.parts)
        entry['top-1'] = [None if run is None else round(run['top1'], 5) for run in runs]
        for key, name in METRICS.items():
            if values := values_of(runs, key):
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


def values_of(runs: Sequence[Mapping[str, float] | None], metric: str) -> list[float]:
    """The figures of the runs that have ended and have this metric."""
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
