"""The files of a modality report: a page, the same as Markdown, the picture, tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmav.analysis.folder import html
from mmav.analysis.modality_report.encoding import BOTH, SAME, SHUFFLED
from mmav.analysis.modality_report.figures import CASES, Conditions, clip_cases, modality_figures
from mmav.analysis.modality_report.telling import conclusions, points, title_of
from mmav.evaluation.error_analysis import csv_rows
from mmav.evaluation.predictions import Classes, save_predictions
from mmav.outputs import write_json, write_output
from mmav.structures import ACTION
from mmav.tables import markdown_table, text_table, write_csv
from mmav.visualization.modality_plot import draw_modalities

PAGE, TEXT, PICTURE, NUMBERS = 'report.html', 'report.md', 'modalities.png', 'report.json'
SCORES, CLASSES, CLIPS = 'conditions.csv', 'classes.csv', 'clips.csv'
_SHOWN = 40  # classes of the page; the csv has all


def condition_names(names: tuple[str, str], *, several: bool = False) -> dict[str, str]:
    """Condition -> what to call it, where clips have several labels or one."""
    return {
        BOTH: 'both',
        **{name: f'{name} alone' for name in names},
        SHUFFLED: f'{names[1]} of\nanother clip',
        SAME: f'{names[1]} of another\nclip, same {"labels" if several else "class"}',
    }


def case_names(names: tuple[str, str]) -> dict[str, str]:
    """Case -> what to call it."""
    told = (
        'either alone (redundancy)',
        f'{names[0]}',
        f'{names[1]}',
        'both together (synergy)',
        'one alone, not both (confusion)',
        'never right',
    )
    return dict(zip(CASES, told, strict=True))


def file_names(names: Sequence[str], *, dumped: bool) -> list[str]:
    """The files of a report, as :meth:`ModalityReport.write` writes them."""
    dumps = [f'{name}.pkl' for name in (BOTH, *names)] if dumped else []
    return [PAGE, TEXT, PICTURE, NUMBERS, SCORES, CLASSES, CLIPS, *dumps]


class ModalityReport:
    """What there is to say of a model.

    Args:
        rows: Condition -> predictions of the same clips, see
            :func:`~mmav.analysis.modality_report.figures.modality_figures`.
        classes: Part of the label -> names of the classes.
        names: The two modalities; the second is the one that was exchanged.
        title: What was tested.
        notes: What else a reader should know.
        given: For the JSON file: what the report was made from.
    """

    def __init__(
        self,
        rows: Conditions,
        classes: Classes | None,
        names: tuple[str, str],
        *,
        title: str,
        notes: Sequence[str] = (),
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self.rows, self.class_names, self.names, self.title = rows, classes, names, title
        self.notes, self.given = list(notes), dict(given or {})
        self.parts = modality_figures(rows, classes, names)
        self.told = {each['part']: conclusions(each, names) for each in self.parts}

    def text(self) -> str:
        """The scores and conclusions for a terminal."""
        lines = [self.title]
        for each in self.parts:
            title = title_of(each['part'])
            lines += ['', *([title] if title else []), text_table(self.score_table(each)), '']
            lines += self.told[each['part']]
        return '\n'.join([*lines, *self.notes])

    def score_table(self, figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
        """The scores of each condition."""
        several = figures['multi_label']
        header = ('condition', 'clips', 'hit@1' if several else 'top-1', '95 % interval', 'less than both')
        table: list[tuple[str, ...]] = [(*header, 'mAP', 'less than both') if several else header]
        for name, title in condition_names(self.names, several=several).items():
            if name not in figures['scores']:
                continue
            found, gain = figures['scores'][name], figures['gains'].get(name)
            low, high = found['interval']
            if not found['clips']:
                table.append((title.replace('\n', ' '), '0', *['-'] * (len(table[0]) - 2)))
                continue
            cells: tuple[str, ...] = (
                title.replace('\n', ' '),
                f'{found["clips"]:,}',
                f'{found["score"]:.4f}',
                f'{low:.3f} to {high:.3f}',
                points(gain) if gain else '-',
            )
            average = found.get('mAP')
            lost = gain.get('mAP') if gain else None
            if several:
                cells = (*cells, '-' if average is None else f'{average:.4f}', points(lost) if lost else '-')
            table.append(cells)
        return table

    def case_table(self, figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
        """How the clips divide, and what confuses."""
        table: list[tuple[str, ...]] = [('what a clip needs to be right', 'clips', 'share', '95 % interval')]
        shares = {title: figures['cases'][name] for name, title in case_names(self.names).items()}
        for name in self.names:
            shares[f'confusion: {name} alone is right'] = figures['confusion'][name]
        for title, found in shares.items():
            low, high = found['interval']
            table.append((title, f'{found["clips"]:,}', f'{found["share"]:.4f}', f'{low:.3f} to {high:.3f}'))
        return table

    def class_table(self, figures: Mapping[str, Any], most: int | None = None) -> list[tuple[str, ...]]:
        """The classes, those first that gain most from a modality."""
        gains = [f'gain_{name}' for name in self.names]
        table: list[tuple[str, ...]] = [
            ('class', 'clips', 'both', *(f'{name} alone' for name in self.names), *(f'{n} adds' for n in self.names))
        ]
        for row in figures['classes'][:most]:
            scores = (f'{row[name]:.3f}' for name in (BOTH, *self.names))
            table.append((row['class'], f'{row["clips"]:,}', *scores, *(f'{row[gain]:+.3f}' for gain in gains)))
        return table

    def write(self, folder: Path, *, dumped: bool) -> list[str]:
        """Writes the files, see :func:`file_names`.

        Args:
            folder: Where to.
            dumped: Whether predictions are written, too.

        Returns:
            Their names.
        """
        draw_modalities(
            self.parts,
            folder / PICTURE,
            names=self.names,
            conditions=condition_names(self.names, several=self.parts[0]['multi_label']),
            cases=case_names(self.names),
            title=self.title,
        )
        write_output(folder / PAGE, self.page(folder / PICTURE))
        write_output(folder / TEXT, self.markdown())
        write_json(folder / NUMBERS, dict(given=self.given, modalities=self.names, parts=self.parts, told=self.told))
        write_csv(folder / SCORES, self._score_rows())
        conditions = (BOTH, *self.names)
        columns = ['part', 'class', 'clips', *conditions, *(f'gain_{name}' for name in self.names)]
        classes = [dict(row, part=each['part']) for each in self.parts for row in each['classes']]
        write_csv(folder / CLASSES, csv_rows(classes, columns))
        write_csv(folder / CLIPS, self._clip_rows())
        if dumped:
            for name in conditions:
                save_predictions(folder / f'{name}.pkl', [row for row in self.rows[name] if row], self.class_names)
        return file_names(self.names, dumped=dumped)

    def _score_rows(self) -> list[list[object]]:
        columns = ['clips', 'right', 'score', 'low', 'high', 'mAP', 'difference', 'difference_low', 'difference_high']
        table: list[list[object]] = [['part', 'condition', *columns]]
        for each in self.parts:
            for name, found in each['scores'].items():
                gain = each['gains'].get(name, dict(difference=0.0, interval=[0.0, 0.0]))
                values = [found['score'], *found['interval'], found.get('mAP'), gain['difference'], *gain['interval']]
                cells = ['' if value is None or not found['clips'] else f'{value:.6f}' for value in values]
                table.append([each['part'], name, found['clips'], found['right'], *cells])
        return table

    def _clip_rows(self) -> list[list[object]]:
        # of several parts, all together, unless clips have sets of labels
        part = self.parts[-1]['part']
        rows = clip_cases(self.rows, part, self.names)
        return [list(rows[0]), *([row[name] for name in rows[0]] for row in rows)]

    def markdown(self) -> str:
        """The report as Markdown."""
        lines = [f'# What the model uses: {self.title}', '', f'![scores, cases and classes]({PICTURE})']
        for each in self.parts:
            title = title_of(each['part'])
            lines += ['', *([f'## {title}', ''] if title else [])]
            lines += [f'- {line}' for line in self.told[each['part']]]
            tables = [self.score_table(each), self.case_table(each)]
            if each['part'] != ACTION and each['classes']:
                tables.append(self.class_table(each, _SHOWN))
            for table in tables:
                lines += ['', markdown_table(table)]
        if self.notes:
            lines += ['', *self.notes]
        return '\n'.join([*lines, ''])

    def page(self, picture: Path) -> str:
        """The report as a page that holds its picture."""
        cards = [html.card('The picture', html.picture(picture, 'scores, cases and classes', scale=0.72))]
        for each in self.parts:
            title = title_of(each['part'])
            after = f': {title}' if title else ''
            told = ''.join(f'<li>{html.text(line)}</li>' for line in self.told[each['part']])
            cards.append(html.card(f'In words{after}', f'<ul>{told}</ul>'))
            cards.append(html.card(f'Scores{after}', html.table(self.score_table(each))))
            cards.append(html.card(f'How the clips divide{after}', html.table(self.case_table(each))))
            if each['classes']:
                more = len(each['classes']) - _SHOWN
                rest = f'<p class="sub">{more:,} more are in {CLASSES}.</p>' if more > 0 else ''
                cards.append(html.card(f'Each class{after}', html.table(self.class_table(each, _SHOWN)) + rest))
        notes = ''.join(f'<li>{html.text(line)}</li>' for line in self.notes)
        cards.append(html.card('Also', f'<ul>{notes}</ul>' if notes else ''))
        return html.page('What the model uses', self.title, cards)
