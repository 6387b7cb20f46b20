"""The sections of a folder's report."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmav.analysis.folder import html
from mmav.analysis.folder.plan import Plan
from mmav.analysis.folder.results import BOTH, Figure, Results
from mmav.analysis.folder.telling import infer_command
from mmav.preparation.checking import DEFECTS
from mmav.preparation.folder.survey import REMARKS, Problem, Survey

_COLOURS = dict(both='var(--blue)', video='var(--green)', audio='var(--orange)', guessing='#aab4be')
_FILES_SHOWN, _CLASSES_SHOWN = 12, 30


def hero(results: Results, figures: Sequence[Figure]) -> str:
    """The accuracy, with its interval, beside that of each modality alone.

    Args:
        results: Of the test.
        figures: Its accuracies, that of the whole model first.
    """
    whole = figures[0]
    rows: list[tuple[str, float, tuple[float, float] | None, str, str]] = []
    for figure in figures:
        name = 'the model' if figure.name == BOTH else f'{figure.name} alone'
        interval = (figure.low, figure.high)
        rows.append((name, figure.accuracy, interval, f'{figure.accuracy:.1%}', _COLOURS[figure.name]))
    rows.append(('guessing', results.guessing, None, f'{results.guessing:.1%}', _COLOURS['guessing']))
    files = '' if results.files == whole.clips else f' of {results.files:,} files'
    alone = 'Alone: the same model with the other one withheld. ' if len(figures) > 1 else ''
    return (
        '<section class="card hero"><div><div class="sub">accuracy on new clips</div>'
        f'<div class="big">{whole.accuracy:.1%}</div>'
        f'<p>The true accuracy lies between <b>{whole.low:.1%}</b> and <b>{whole.high:.1%}</b> with 95 % '
        'confidence.</p>'
        f'<p class="sub">{whole.right:,} of {whole.clips:,} held-out test clips{files} are right; clips that cannot be '
        f'read count as wrong.</p></div><div>{html.bars(rows)}'
        f'<p class="sub">{alone}Lines: 95 % intervals (Wilson). Guessing: always the most frequent class.</p></div>'
        '</section>'
    )


def next_steps(plan: Plan, best: Path, told: Sequence[str]) -> str:
    """Advice, and commands to copy.

    Args:
        plan: What was found and chosen.
        best: The checkpoint.
        told: Advice in sentences.
    """
    config, checkpoint = shlex.quote(str(plan.config)), shlex.quote(str(best))
    root = plan.survey.listing.root.resolve()
    again = f'{shlex.quote(str(root))} --name {shlex.quote(f"{root.name}_2")}'
    commands = {
        'Classify your own files or folders': infer_command(plan.config, best),
        'Try it in a browser': f'mmav web-demo {config} {checkpoint}',
        'See what it looks at and listens to': f'mmav grad-cam {config} {checkpoint} --clips 8 --out grad_cam',
        'Train longer, or anew once there are more clips': f'mmav train-folder {again} --minutes 60',
        'Change the config and train that': f'mmav train {config} --work-dir DIR{" --cache ram" * plan.cached}',
    }
    blocks = ''.join(f'<h3>{html.text(title)}</h3><pre>{html.text(line)}</pre>' for title, line in commands.items())
    hints = f'<ul>{"".join(f"<li>{html.text(line)}</li>" for line in told)}</ul>' if told else ''
    return (
        f'{hints}{blocks}<p class="sub">Paths are relative to {html.text(os.getcwd())}. To start from pretrained '
        'encoders in place of from scratch, give <code>--encoder</code> (<code>docs/encoders.md</code>).</p>'
    )


def classes(results: Results, training: Mapping[str, int]) -> str:
    """A table with the accuracy of each class.

    Args:
        results: Of the test.
        training: Class -> its training clips.
    """
    rows = []
    for row in results.classes():
        bar = html.track(row['accuracy'], (row['low'], row['high']), _COLOURS['both'])
        taken = ', '.join(f'{html.text(name)} ({count})' for name, count in row['taken_for'])
        rows.append(
            f'<tr><td class="mid">{html.text(row["name"])}</td><td class="mid wide">{bar}</td>'
            f'<td class="num">{row["accuracy"]:.0%}</td><td class="num">{row["right"]} of {row["clips"]}</td>'
            f'<td class="num">{training.get(row["name"], 0):,}</td><td>{taken}</td></tr>'
        )
    header = (
        '<tr><th>class, worst first</th><th>accuracy</th><th></th><th class="num">right</th>'
        '<th class="num">training clips</th><th>taken for</th></tr>'
    )
    rest = rows[_CLASSES_SHOWN:]
    more = f'<details><summary>{len(rest)} more classes</summary><table>{"".join(rest)}</table></details>'
    return f'<table>{header}{"".join(rows[:_CLASSES_SHOWN])}</table>{more if rest else ""}'


def found(survey: Survey, problems: Sequence[Problem], *, where: str) -> str:
    """The measures of the files, and the files that are broken or doubtful by name.

    Args:
        survey: The folder.
        problems: What is worth knowing of single files.
        where: File that lists all of them.
    """
    rows = [('files', f'{len(survey.probes):,}, {len(survey.readable):,} of which can be read'), *survey.ranges()]
    parts = [html.table([('', ''), *rows]), *(f'<p>{html.text(note)}</p>' for note in survey.listing.notes)]
    for kind, meaning in {**DEFECTS, **REMARKS}.items():
        own = [problem for problem in problems if problem.kind == kind]
        if not own:
            continue
        left_out = survey.is_left_out(kind)
        fate = f'<span class="tag{" bad" * left_out}">{"left out" if left_out else "used"}</span>'
        items = [f'<code>{html.text(each.path)}</code> {html.text(each.detail)}' for each in own[:_FILES_SHOWN]]
        if len(own) > _FILES_SHOWN:
            items.append(f'and {len(own) - _FILES_SHOWN:,} more: <code>{html.text(where)}</code>')
        title = f'{kind.replace("_", " ")}: {len(own):,} file{"s" * (len(own) != 1)}'
        names = ''.join(f'<li>{item}</li>' for item in items)
        parts.append(f'<h3>{html.text(title)} {fate}</h3><p class="sub">{html.text(meaning)}</p><ul>{names}</ul>')
    return ''.join(parts)


def lists(plan: Plan) -> str:
    """How many clips, files and recordings each list has, and how they were chosen."""
    division = plan.division
    rows = [['', *division.clips], ['clips'], ['files'], ['recordings']]
    for clips in division.clips.values():
        paths = {clip.path for clip in clips}
        sources = {division.sources.get(path, path) for path in paths}
        for row, number in zip(rows[1:], (len(clips), len(paths), len(sources)), strict=True):
            row.append(f'{number:,}')
    files = ''.join(f'<li><code>{html.text(str(path))}</code></li>' for path in division.files.values())
    told = ''.join(f'<li>{html.text(line)}</li>' for line in division.told)
    layout = html.text(plan.survey.listing.layout)
    return f'<p>The folder has {layout}.</p>{html.table(rows)}<ul>{told}</ul><h3>Lists</h3><ul>{files}</ul>'
