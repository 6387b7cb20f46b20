"""The report of a folder's model: one HTML file that holds its pictures, and the numbers beside it as JSON."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mmav.analysis.folder import html, sections
from mmav.analysis.folder.pictures import draw_pictures
from mmav.analysis.folder.plan import LISTS, TRAINING, Plan
from mmav.analysis.folder.results import Results, advice
from mmav.analysis.logs import read_log
from mmav.outputs import write_json, write_output
from mmav.preparation.folder.survey import Problem
from mmav.tables import write_csv

PICTURES, NUMBERS, PROBLEMS = 'pictures', 'report.json', 'problems.csv'
_MISTAKES = (
    '<p class="sub">Test clips of which the model was most convinced, and wrong: the class and the file, what the '
    'model saw and heard, and what it took it for (red; the right class is green).</p>'
)


def write_report(path: Path, plan: Plan, results: Results, *, best: Path, minutes: float) -> None:
    """Writes the report, its pictures, ``report.json`` and the list of doubtful files.

    Args:
        path: The HTML file.
        plan: What was found and chosen.
        results: Of the test.
        best: The checkpoint that was tested.
        minutes: That everything took.
    """
    folder, survey = path.parent, plan.survey
    pictures = draw_pictures(folder / PICTURES, plan.config, results, training=folder / TRAINING)
    problems = survey.problems(plan.modalities)
    write_csv(folder / LISTS / PROBLEMS, [Problem._fields, *problems])
    best_epoch, epochs, reached = _epochs(best, folder / TRAINING)
    counts = Counter(clip.label for clip in plan.division.clips['train'])
    training = {name: counts[name] for name in survey.listing.classes}
    told = advice(results, training, reached=reached, epochs=epochs)
    figures = results.figures()
    took = f'{minutes:.0f} min' if minutes >= 1.5 else f'{60 * minutes:.0f} s'
    tiles = [
        ('clips', f'{sum(map(len, plan.division.clips.values())):,}', f'in {len(survey.probes):,} files'),
        ('classes', f'{len(training)}', f'{_range(training.values())} training clips'),
        ('test clips', f'{figures[0].clips:,}', f'held out, in {results.files:,} files'),
        ('best epoch', f'{best_epoch} of {epochs}', 'by accuracy on validation'),
        ('took', took, 'this run, all in all'),
    ]
    mistakes = '<p>Every test clip is right.</p>'
    if 'mistakes' in pictures:
        mistakes = _MISTAKES + html.picture(pictures['mistakes'], 'the surest mistakes')
    confusion = html.picture(pictures['confusion'], 'confusion matrix', scale=0.64)
    curves = html.picture(pictures['curves'], 'curves of training') if 'curves' in pictures else ''
    cards = [
        sections.hero(results, figures),
        html.tiles(tiles),
        html.card('What to do next', sections.next_steps(plan, best, told)),
        html.card('Each class', sections.classes(results, training)),
        html.card('What is taken for what', confusion),
        html.card('The surest mistakes', mistakes),
        html.card('How training went', curves),
        html.card('What was found in the folder', sections.found(survey, problems, where=f'{LISTS}/{PROBLEMS}')),
        html.card('Training, validation and test', sections.lists(plan)),
        html.card(
            'What was chosen, and why',
            html.table([('choice', '', 'why'), *((each.name, each.value, each.why) for each in plan.chosen)]),
        ),
    ]
    root = survey.listing.root.resolve()
    write_output(path, html.page(root.name, f'a model trained on the clips in {root}', cards))
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


def _range(numbers: Iterable[int]) -> str:
    low, *_, high = sorted(numbers)
    return f'{low:,} to {high:,}' if low < high else f'{low:,}'


def _epochs(best: Path, training: Path) -> tuple[int, int, int]:
    """The epoch of the best checkpoint, how many were trained, and the first that was as good."""
    found = re.search(r'_(\d+)\.pth$', best.name)
    best_epoch = int(found[1]) if found else 0
    rows = read_log(training).val
    epochs = [int(row['epoch'] or 0) for row in rows]
    top = max((row.get('top1') or 0.0 for row in rows), default=0.0)
    equal = [epoch for epoch, row in zip(epochs, rows, strict=True) if (row.get('top1') or 0.0) == top]
    return best_epoch, max(epochs, default=best_epoch), min(equal, default=best_epoch)
