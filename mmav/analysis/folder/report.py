"""The report of a folder's model: one HTML file that holds its pictures, and the numbers beside it as JSON."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path

from mmav.analysis.folder import html
from mmav.analysis.folder.pictures import draw_pictures
from mmav.analysis.folder.plan import LISTS, REPORT, TRAINING, Plan
from mmav.analysis.folder.results import BOTH, Figure, Results, advice
from mmav.analysis.logs import read_log
from mmav.outputs import write_json, write_output
from mmav.preparation.checking import DEFECTS
from mmav.preparation.folder.survey import REMARKS, Problem
from mmav.tables import write_csv

PICTURES, NUMBERS, PROBLEMS = 'pictures', 'report.json', 'problems.csv'
_COLOURS = dict(both='var(--blue)', video='var(--green)', audio='var(--orange)', guessing='#aab4be')
_FILES_SHOWN, _CLASSES_SHOWN = 12, 30


def write_report(path: Path, plan: Plan, results: Results, *, best: Path, minutes: float) -> None:
    """Writes the report, its pictures and ``report.json``.

    Args:
        path: The HTML file.
        plan: What was found and chosen.
        results: Of the test.
        best: The checkpoint that was tested.
        minutes: That everything took.
    """
    folder = path.parent
    pictures = draw_pictures(folder / PICTURES, plan.config, results, training=folder / TRAINING)
    problems = plan.survey.problems(plan.modalities)
    write_csv(folder / LISTS / PROBLEMS, [Problem._fields, *problems])
    found = re.search(r'_(\d+)\.pth$', best.name)
    best_epoch = int(found[1]) if found else 0
    epochs = max((row['epoch'] or 0 for row in read_log(folder / TRAINING).val), default=best_epoch)
    training = Counter(clip.label for clip in plan.division.clips['train'])
    counts = {name: training[name] for name in plan.survey.listing.classes}
    told = advice(results, counts, best_epoch=best_epoch, epochs=epochs)
    figures = results.figures()
    name = plan.survey.listing.root.resolve().name
    cards = [
        _hero(results, figures),
        html.tiles(
            [
                ('clips', f'{sum(map(len, plan.division.clips.values())):,}', f'in {len(plan.survey.probes):,} files'),
                ('classes', f'{len(counts)}', f'{min(counts.values()):,} to {max(counts.values()):,} training clips'),
                ('test clips', f'{figures[0].clips:,}', f'of {results.files:,} files, never trained on'),
                ('best epoch', f'{best_epoch} of {epochs}', 'by accuracy on validation'),
                ('took', f'{minutes:.0f} min' if minutes >= 1.5 else f'{60 * minutes:.0f} s', 'this run'),
            ]
        ),
        _next(plan, best, told),
        _classes(results, counts),
        html.card('What is taken for what', html.picture(pictures['confusion'], 'confusion matrix')),
        html.card(
            'The surest mistakes',
            '<p class="sub">Test clips of which the model was most convinced, and wrong: what it saw and heard, and what '
            'it said (red) in place of the class in the title (green).</p>'
            + html.picture(pictures['mistakes'], 'the surest mistakes')
            if 'mistakes' in pictures
            else '<p>Every test clip is right.</p>',
        ),
        html.card('How training went', html.picture(pictures['curves'], 'curves') if 'curves' in pictures else ''),
        _found(plan, problems),
        _lists(plan),
        html.card('What was chosen, and why', html.table([('choice', '', 'why'), *_choices(plan)])),
    ]
    subtitle = f'trained on the clips in {plan.survey.listing.root.resolve()}'
    write_output(path, html.page(name, subtitle, cards))
    write_json(
        folder / NUMBERS,
        dict(
            accuracy={figure.name: {**vars(figure), 'accuracy': figure.accuracy} for figure in figures},
            guessing=results.guessing,
            classes=results.classes(),
            checkpoint=str(best),
            best_epoch=best_epoch,
            epochs=epochs,
            clips={part: len(clips) for part, clips in plan.division.clips.items()},
            problems=Counter(problem.kind for problem in problems),
        ),
    )


def _hero(results: Results, figures: list[Figure]) -> str:
    whole = figures[0]
    rows = [
        (_title(figure.name), figure.accuracy, (figure.low, figure.high), f'{figure.accuracy:.1%}', _COLOURS[figure.name])
        for figure in figures
    ]
    rows.append(('guessing', results.guessing, None, f'{results.guessing:.1%}', _COLOURS['guessing']))
    files = '' if results.files == whole.clips else f' of {results.files:,} files'
    return (
        '<section class="card hero"><div><div class="sub">accuracy on new clips</div>'
        f'<div class="big">{whole.accuracy:.1%}</div>'
        f'<p><b>{whole.low:.1%} to {whole.high:.1%}</b> is where the true accuracy lies, with 95 % confidence'
        f'</p><p class="sub">{whole.right:,} of {whole.clips:,} held-out test clips{files} are right; '
        'unreadable ones count as wrong</p></div>'
        f'<div>{html.bars(rows)}<p class="sub">Alone: the same model with the other one withheld. Lines: 95 % intervals '
        '(Wilson).</p></div></section>'
    )


def _title(name: str) -> str:
    return 'the model' if name == BOTH else f'{name} alone'


def _next(plan: Plan, best: Path, told: list[str]) -> str:
    config, checkpoint = shlex.quote(str(plan.config)), shlex.quote(str(best))
    root = plan.survey.listing.root.resolve()
    commands = [
        ('Classify your own files or folders', f'mmav infer {config} {checkpoint} FILE'),
        ('Try it in a browser', f'mmav serve {config} {checkpoint}'),
        ('See what it looks at and listens to', f'mmav grad-cam {config} {checkpoint} --out grad_cam'),
        (
            'Train longer, or with more clips in the folder',
            f'mmav train-folder {shlex.quote(str(root))} --minutes 60 --name {shlex.quote(root.name + "_2")}',
        ),
        ('Change the config by hand and train that', f'mmav train {config} --work-dir DIR'),
    ]
    blocks = ''.join(f'<h3>{html.text(title)}</h3><pre>{html.text(command)}</pre>' for title, command in commands)
    hints = f'<ul>{"".join(f"<li>{html.text(line)}</li>" for line in told)}</ul>' if told else ''
    more = (
        '<p class="sub">To start from the encoders of others in place of from scratch, see the pages on public weights '
        'and fine-tuning (<code>docs/weights.md</code>, <code>docs/training.md</code>).</p>'
    )
    return html.card('What to do next', hints + blocks + more)


def _classes(results: Results, training: dict[str, int]) -> str:
    rows = []
    for row in results.classes():
        bar = html.track(row['accuracy'], (row['low'], row['high']), _COLOURS['both'])
        taken = ', '.join(f'{html.text(name)} ({count})' for name, count in row['taken_for'])
        rows.append(
            f'<tr><td class="mid">{html.text(row["name"])}</td><td class="mid" style="width:38%">{bar}</td>'
            f'<td class="num">{row["accuracy"]:.0%}</td><td class="num">{row["right"]} of {row["clips"]}</td>'
            f'<td class="num">{training.get(row["name"], 0):,}</td><td>{taken}</td></tr>'
        )
    header = (
        '<tr><th>class, worst first</th><th>accuracy</th><th></th><th class="num">right</th>'
        '<th class="num">training clips</th><th>taken for</th></tr>'
    )
    shown = f'<table>{header}{"".join(rows[:_CLASSES_SHOWN])}</table>'
    rest = rows[_CLASSES_SHOWN:]
    if rest:
        shown += f'<details><summary>{len(rest)} more classes</summary><table>{"".join(rest)}</table></details>'
    return html.card('Each class', shown)


def _found(plan: Plan, problems: list[Problem]) -> str:
    survey = plan.survey
    rows = [('files', f'{len(survey.probes):,}, {len(survey.readable):,} of which can be read'), *survey.ranges()]
    body = html.table([('', ''), *rows]) + ''.join(f'<p>{html.text(note)}</p>' for note in survey.listing.notes)
    for kind, meaning in {**DEFECTS, **REMARKS}.items():
        own = [problem for problem in problems if problem.kind == kind]
        if not own:
            continue
        fate = '<span class="tag bad">left out</span>' if survey.is_left_out(kind) else '<span class="tag">used</span>'
        names = ''.join(
            f'<li><code>{html.text(each.path)}</code>{f" {html.text(each.detail)}" if each.detail else ""}</li>'
            for each in own[:_FILES_SHOWN]
        )
        if len(own) > _FILES_SHOWN:
            names += f'<li>and {len(own) - _FILES_SHOWN:,} more: <code>{LISTS}/{PROBLEMS}</code></li>'
        title = html.text(f'{kind.replace("_", " ")}: {len(own):,} file{"s" * (len(own) != 1)}')
        body += f'<h3>{title} {fate}</h3><p class="sub">{html.text(meaning)}</p><ul>{names}</ul>'
    return html.card('What was found in the folder', body)


def _lists(plan: Plan) -> str:
    division = plan.division
    rows = [['', *division.clips]]
    for part in ('clips', 'files', 'recordings'):
        cells = []
        for clips in division.clips.values():
            paths = {clip.path for clip in clips}
            sources = {division.sources.get(path, path) for path in paths}
            cells.append(f'{dict(clips=len(clips), files=len(paths), recordings=len(sources))[part]:,}')
        rows.append([part, *cells])
    lists = ''.join(f'<li><code>{html.text(str(path))}</code></li>' for path in division.files.values())
    told = ''.join(f'<li>{html.text(line)}</li>' for line in division.told)
    how = f'<p>The folder has {html.text(plan.survey.listing.layout)}.</p>'
    return html.card('Training, validation and test', f'{how}{html.table(rows)}<ul>{told}</ul><h3>Lists</h3><ul>{lists}</ul>')


def _choices(plan: Plan) -> list[tuple[str, str, str]]:
    return [(choice.name, choice.value, choice.why) for choice in plan.chosen]
