"""The files of a report on rows: a page, the same as Markdown, the picture, and all figures as JSON."""

from __future__ import annotations

from pathlib import Path
from statistics import stdev

from mmav.analysis.evidence.judging import Evidence, JudgedRow
from mmav.analysis.evidence.picture import draw_evidence
from mmav.analysis.evidence.telling import Unit, p_text, tell
from mmav.analysis.folder import html
from mmav.evaluation.comparing import Judged
from mmav.outputs import write_json, write_output
from mmav.tables import markdown_table, text_table

PAGE, TEXT, PICTURE, NUMBERS = 'report.html', 'report.md', 'report.png', 'report.json'
FILES = (PAGE, TEXT, PICTURE, NUMBERS)
_EXPLAINED = (
    'How to read this: an interval holds, taken alone, the figure that other seeds and other test clips would give, '
    'with 95 % confidence; ± is half its width. A difference is that of two rows on the same seeds and clips. p is '
    'corrected for all comparisons of its list (Holm), so it may be above 0.05 where an interval does not hold 0. '
    '"smallest" is the difference that such a run sees in 80 % of cases. "McNemar" is of the trained models alone: it '
    'finds even two seeds of one row different, and decides nothing. "spread" is the standard deviation of the '
    'seeds, "spread used" the one that intervals are made from: without the part that the choice of test clips '
    'explains, and drawn towards that of all rows where these are judged together.'
)

Table = list[tuple[str, ...]]


def row_table(evidence: Evidence) -> Table:
    """The rows: figure, interval, seeds, difference to the baseline, seconds, and what intervals are over."""
    stated, unit = evidence.stated, Unit(evidence.stated.metric)
    based = stated.baseline is not None
    timed = any(row.seconds is not None for row in evidence.rows)
    mixed = len({row.interval.over for row in evidence.rows if row.interval is not None}) > 1
    against = (f'against {stated.baseline}', '95 % interval', 'p') if based else ()
    table: Table = [
        (
            *('row', stated.metric, '95 % interval', '±', *(('over',) if mixed else ()), 'seeds'),
            *(*against, *(('seconds of a run',) if timed else ())),
        )
    ]
    for row in evidence.rows:
        cells = (row.row.title, *_figure_cells(row, unit, mixed=mixed))
        if based:
            own = ('baseline', '', '') if row.row.title == stated.baseline else _gain_cells(row.gain, unit)
            cells = (*cells, *own)
        if timed:
            cells = (*cells, '-' if row.seconds is None else f'{row.seconds:,.0f}')
        table.append(cells)
    return table


def _figure_cells(row: JudgedRow, unit: Unit, *, mixed: bool) -> tuple[str, ...]:
    if row.interval is None:
        why = next(iter(row.row.lost.values()), 'not yet run')
        return (why, *('-' * (4 if mixed else 3)))
    number = f'{len(row.figures)}' if len(row.figures) == row.seeds else f'{len(row.figures)} of {row.seeds}'
    interval = unit.ends(row.interval.low, row.interval.high)
    half, over = unit.figure(row.interval.half_width), (row.interval.over,) if mixed else ()
    return (unit.figure(row.interval.mean), interval, half, *over, number)


def _gain_cells(gain: Judged | None, unit: Unit) -> tuple[str, str, str]:
    if gain is None or gain.difference is None:
        return ('-', '-', '-')
    found = gain.difference
    return (unit.gap(found.mean), unit.ends(found.low, found.high, signed=True), p_text(gain.corrected))


def comparison_table(evidence: Evidence) -> Table:
    """The stated comparisons and what became of them; only the header where there are none."""
    unit = Unit(evidence.stated.metric)
    header = ('stated', 'difference', '95 % interval', 'p', 'McNemar', 'smallest', 'verdict', 'source')
    table: Table = [header]
    for comparison, judged in evidence.comparisons:
        found, test = judged.difference, judged.mcnemar_all
        smallest = judged.smallest
        table.append(
            (
                f'{judged.better} > {judged.than}',
                '-' if found is None else unit.gap(found.mean),
                '-' if found is None else unit.ends(found.low, found.high, signed=True),
                p_text(judged.corrected),
                '-' if test is None else p_text(test.p_value),
                '-' if smallest is None or (smallest >= 1 and not unit.plain) else unit.figure(smallest),
                judged.verdict,
                comparison.source,
            )
        )
    return table


def seed_table(evidence: Evidence) -> Table:
    """The figure of each seed, their standard deviation, and the spread over seeds that intervals are made from."""
    unit = Unit(evidence.stated.metric)
    table: Table = [('row', *(f'seed {seed}' for seed in evidence.seeds), 'spread', 'spread used')]
    for row in evidence.rows:
        cells = [unit.figure(row.figures[seed]) if seed in row.figures else '-' for seed in evidence.seeds]
        spreads = ['-', '-']
        if row.interval is not None and len(row.figures) > 1:
            spreads = [unit.figure(stdev(row.figures.values())), unit.figure(row.interval.components.seed_spread)]
        table.append((row.row.title, *cells, *spreads))
    return table


def split_table(evidence: Evidence) -> Table:
    """Each row on each part of the test clips; only the header where there are none."""
    unit, splits = Unit(evidence.stated.metric), evidence.stated.splits
    table: Table = [('row', *(f'{name} ({len(places):,})' for name, places in splits.items()))]
    for row in evidence.rows if splits else ():
        cells = []
        for name in splits:
            found = row.splits.get(name)
            ends = '' if found is None else f' ({unit.ends(found.low, found.high)})'
            cells.append('-' if found is None else f'{unit.figure(found.mean)}{ends}')
        table.append((row.row.title, *cells))
    return table


def tables_of(evidence: Evidence) -> dict[str, Table]:
    """Heading -> table, of those that have rows."""
    tables = {
        'Rows': row_table(evidence),
        'Stated comparisons': comparison_table(evidence),
        'Parts of the test clips': split_table(evidence),
        'Seeds': seed_table(evidence),
    }
    return {heading: table for heading, table in tables.items() if len(table) > 1}


def report_text(evidence: Evidence) -> str:
    """The conclusions and tables for a terminal."""
    parts = ['\n'.join(tell(evidence))]
    for heading, table in tables_of(evidence).items():
        # sources, which are long, are told in the sentences
        narrow = [row[:-1] for row in table] if table[0][-1] == 'source' else table
        parts.append(f'{heading}\n{text_table(narrow)}')
    return '\n\n'.join(parts)


def report_markdown(evidence: Evidence, picture: str | None = PICTURE) -> str:
    """The report as Markdown.

    Args:
        evidence: What was found.
        picture: Path of the picture, from where the text will stand; None for none.
    """
    lines = [f'- {line}' for line in tell(evidence)]
    if picture:
        lines += ['', f'![Rows and differences with their intervals]({picture})']
    for heading, table in tables_of(evidence).items():
        safe = [tuple(cell.replace('|', '\\|') for cell in row) for row in table]
        lines += ['', f'**{heading}**', '', markdown_table(safe)]
    return '\n'.join([*lines, '', _EXPLAINED])


def report_page(evidence: Evidence, picture: Path) -> str:
    """The report as a page that holds its picture."""
    told = ''.join(f'<li>{html.text(line)}</li>' for line in tell(evidence))
    cards = [html.card('In words', f'<ul>{told}</ul>')]
    cards.append(html.card('The picture', html.picture(picture, 'rows and differences with intervals', scale=0.72)))
    cards += [html.card(heading, html.table(table)) for heading, table in tables_of(evidence).items()]
    cards.append(f'<p class="sub">{html.text(_EXPLAINED)}</p>')
    return html.page('Which differences stand', evidence.stated.dataset, cards)


def write_report(evidence: Evidence, folder: Path) -> list[str]:
    """Writes the files.

    Args:
        evidence: What was found.
        folder: Where to.

    Returns:
        Their names.

    Raises:
        OutputError: A file is there that this program did not write.
    """
    draw_evidence(evidence, folder / PICTURE)
    write_output(folder / PAGE, report_page(evidence, folder / PICTURE))
    write_output(
        folder / TEXT, f'# Which differences stand: {evidence.stated.dataset}\n\n{report_markdown(evidence)}\n'
    )
    write_json(folder / NUMBERS, dict(evidence.content(), told=tell(evidence)))
    return list(FILES)
