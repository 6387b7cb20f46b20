"""The paper's tables with a column of the paper beside a column of what was reached here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t as student

from mmav import tables
from mmav.analysis.paper.figures import PaperDataset, Reported

NOT_RUN = 'not yet run'
METRIC_NAMES = {
    'top1': 'top-1',
    'top5': 'top-5',
    'action_top1': 'action',
    'verb_top1': 'verb',
    'noun_top1': 'noun',
    'ari': 'ARI',
    'homogeneity': 'homogeneity',
}
_INDICES = ('ari', 'homogeneity')
_ONE_LABEL, _ACTION = ('top1', 'top5'), ('action_top1', 'verb_top1', 'noun_top1')
_STATE_OF_THE_ART = ('audio only, AST', 'audio only, MAT', 'MBT', '+AVC+IMC')
_ABLATION = ('video only, MViTv2-B', 'Avg', 'AVBottle w/o MAT', 'AVBottle', '+AL', '+AVC', '+AVC+IM-AL', '+AVC+IMC')
_CLUSTERS = ('video only, MViTv2-B', 'audio only, MAT', '+AVC+IMC')


@dataclass(frozen=True)
class Cell:
    """A figure: what the paper reports, if it does, and what was reached here by each run that has ended."""

    paper: float | None
    here: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """Mean over the runs that have ended; None if none has."""
        return statistics.fmean(self.here) if self.here else None

    @property
    def half_width(self) -> float | None:
        """Half of the 95 % interval of the mean over seeds, by Student's t; None for fewer than two runs.

        >>> round(Cell(None, (0.5, 0.6, 0.7)).half_width, 3)
        0.248
        """
        if len(self.here) < 2:
            return None
        return float(student.ppf(0.975, len(self.here) - 1)) * statistics.stdev(self.here) / len(self.here) ** 0.5


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        title: Its name in the ablation file.
        config: The config, or the names of the rows whose predictions it averages.
        reported: What the paper reports of it.
        cells: Metric -> figure.
    """

    title: str
    config: str
    reported: Reported
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper on one dataset.

    Attributes:
        name: Such as ``Table 3``.
        about: What it compares.
        metrics: Its columns.
        rows: Its rows, as far as this repository has them.
        costs: Whether it also tells parameters and operations.
    """

    name: str
    about: str
    metrics: tuple[str, ...]
    rows: tuple[TableRow, ...]
    costs: bool = False


@dataclass(frozen=True)
class Numbers:
    """What the figures are of.

    Attributes:
        dataset: The dataset.
        train: Clips trained on here; None if not known.
        test: Clips tested on here; None before the first test.
        seeds: Seeds of each row.
        notes: What a reader has to know before the figures.
    """

    dataset: PaperDataset
    train: int | None
    test: int | None
    seeds: tuple[int, ...]
    notes: tuple[str, ...] = ()


def layout(dataset: PaperDataset) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...], bool]]:
    """Name, subject, metrics and rows of each of the paper's tables on a dataset, and whether it tells costs."""
    action = 'verbs.txt' in dataset.classes
    metrics = _ACTION if action else _ONE_LABEL
    found: list[tuple[str, str, tuple[str, ...], tuple[str, ...], bool]] = [
        ('Table 2', 'the compared models', metrics, _STATE_OF_THE_ART, True),
        ('Table 4' if action else 'Table 3', 'ablation', metrics, _ABLATION, False),
    ]
    if dataset.key == 'vggsound':
        found.append(('Table 5', 'clusters of the features of the test clips', _INDICES, _CLUSTERS, False))
    return found


def paper_tables(
    dataset: PaperDataset,
    rows: Sequence[tuple[str, str, Reported]],
    results: Mapping[str, Sequence[Mapping[str, float] | None]],
) -> list[PaperTable]:
    """Puts the results into the paper's tables.

    Args:
        dataset: The dataset.
        rows: Title, config in words and what the paper reports of each row of the ablation.
        results: Title -> figures of each seed, None for a run that has not ended.

    Raises:
        KeyError: A table's row is not among the rows.
    """
    known = {title: (config, reported) for title, config, reported in rows}
    found = []
    for name, about, metrics, titles, costs in layout(dataset):
        of_table = []
        for title in titles:
            config, reported = known[title]
            runs = [run for run in results.get(title, ()) if run is not None]
            cells = {
                metric: Cell(reported.figures.get(metric), tuple(run[metric] for run in runs if metric in run))
                for metric in metrics
            }
            of_table.append(TableRow(title, config, reported, cells))
        found.append(PaperTable(name, about, metrics, tuple(of_table), costs))
    return found


def unfilled(found: Sequence[PaperTable]) -> list[tuple[str, str, str]]:
    """Table, row and metric of each figure that no run has given yet."""
    return [
        (table.name, row.title, metric)
        for table in found
        for row in table.rows
        for metric, cell in row.cells.items()
        if not cell.here
    ]


def markdown(found: Sequence[PaperTable], numbers: Numbers, *, report: str = '') -> str:
    """The page of all tables of a dataset.

    Args:
        found: The tables.
        numbers: What the figures are of.
        report: Text on which differences stand, put at the end.
    """
    lines = [f"# {numbers.dataset.name}: the paper's tables, and what was reached here", '']
    lines += [_lists(numbers), '', *(f'**{note}**\n' for note in numbers.notes)]
    lines.append(_how(numbers))
    for table in found:
        lines += ['', f'## {table.name}: {table.about}', '', _table(table, numbers)]
        notes = _source_notes(table)
        lines += ['', *notes] if notes else []
    if report:
        lines += ['', '## Which differences stand', '', report.strip()]
    return '\n'.join(lines) + '\n'


def records(found: Sequence[PaperTable], numbers: Numbers) -> list[dict[str, Any]]:
    """One record for each figure, for CSV and JSON; shares are in [0, 1]."""
    clips = dict(paper_test_clips=numbers.dataset.test, here_test_clips=numbers.test)
    return [
        dict(
            dataset=numbers.dataset.name,
            table=table.name,
            row=row.title,
            metric=metric,
            paper=cell.paper,
            paper_source=row.reported.sources.get(metric, ''),
            here=cell.mean,
            here_half_width=cell.half_width,
            seeds_ended=len(cell.here),
            seeds=len(numbers.seeds),
            **clips,
        )
        for table in found
        for row in table.rows
        for metric, cell in row.cells.items()
    ]


def _lists(numbers: Numbers) -> str:
    dataset = numbers.dataset
    rows = [['list', 'clips, paper', 'clips, here'], ['train', _count(dataset.train), _count(numbers.train)]]
    rows.append(['test', _count(dataset.test), _count(numbers.test)])
    return f'{tables.markdown_table(rows)}\n\n{dataset.about}'


def _how(numbers: Numbers) -> str:
    same = numbers.test is not None and numbers.test == numbers.dataset.test
    told = 'The test lists have as many clips' if same else 'The test lists differ'
    seeds = 'one run a row, as in the paper'
    if len(numbers.seeds) > 1:
        seeds = (
            f'the mean over {len(numbers.seeds)} seeds ± half of its 95 % interval (Student), and one run in the paper'
        )
    return f'{told}, so each column says of how many clips it is. Accuracies are in %, of 5 views a clip; {seeds}.'


def _table(table: PaperTable, numbers: Numbers) -> str:
    # the row of the paper's MBT, say, is of another test list: its figures carry the number of a note
    notes = _odd_sources(table)
    header = ['row', 'config']
    for metric in table.metrics:
        name = METRIC_NAMES[metric]
        header += [f'{name}, paper{_of(numbers.dataset.test)}', f'{name}, here{_of(numbers.test)}']
    header += ['parameters of the config', 'MACs of a view', 'parameters, FLOPs, paper'] if table.costs else []
    rows = [header]
    for row in table.rows:
        line = [row.title, row.config]
        for metric, cell in row.cells.items():
            source = row.reported.sources.get(metric, '')
            mark = f' [{notes.index(source) + 1}]' if source in notes else ''
            line += [_shown(cell.paper, metric) + mark, _reached(cell, metric, len(numbers.seeds))]
        if table.costs:
            line += [f'{row.reported.parameters / 1e6:.1f} M', f'{row.reported.macs / 1e9:.1f} G']
            line.append(row.reported.paper_cost or '-')
        rows.append(line)
    return tables.markdown_table(rows)


def _odd_sources(table: PaperTable) -> list[str]:
    """Sources that are not a table of the paper, in the order of the rows."""
    sources = [source for row in table.rows for source in row.reported.sources.values()]
    return list(dict.fromkeys(source for source in sources if not source.startswith('Table ')))


def _source_notes(table: PaperTable) -> list[str]:
    return [f'[{number}] {source}' for number, source in enumerate(_odd_sources(table), start=1)]


def _of(clips: int | None) -> str:
    return '' if clips is None else f' ({clips:,} clips)'


def _count(number: int | None) -> str:
    return '-' if number is None else f'{number:,}'


def _shown(value: float | None, metric: str) -> str:
    if value is None:
        return '-'
    return f'{value:.3f}' if metric in _INDICES else f'{100 * value:.1f}'


def _reached(cell: Cell, metric: str, seeds: int) -> str:
    if cell.mean is None:
        return NOT_RUN
    text = _shown(cell.mean, metric)
    if cell.half_width is not None:
        text += f' ± {_shown(cell.half_width, metric)}'
    return text if len(cell.here) == seeds else f'{text} ({len(cell.here)} of {seeds} seeds)'
