"""What the command says on the console: the folder, the lists, the choices, the accuracy."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmav.analysis.folder.choices import Choice
from mmav.analysis.folder.results import BOTH, Results
from mmav.preparation.checking import DEFECTS
from mmav.preparation.folder.listing import Listing
from mmav.preparation.folder.lists import Division
from mmav.preparation.folder.survey import REMARKS, Survey
from mmav.tables import text_table

# names and classes that are shown
_NAMES, _CLASSES = 4, 10


def tell_files(survey: Survey, modalities: tuple[str, ...]) -> None:
    """What the files hold, and which of them are broken or doubtful."""
    counts = Counter(clip.label for clip in survey.listing.clips)
    shown = ', '.join(f'{name} {counts[name]:,}' for name in survey.listing.classes[:8])
    more = f' and {len(counts) - 8} more' if len(counts) > 8 else ''
    print(f'{len(survey.probes):,} files, {len(survey.readable):,} of which can be read; clips: {shown}{more}')
    print('\n'.join(f'  {name}: {words}' for name, words in survey.ranges()))
    for note in survey.listing.notes:
        print(f'  {note}')
    problems = survey.problems(modalities)
    for kind, meaning in {**DEFECTS, **REMARKS}.items():
        found = [problem for problem in problems if problem.kind == kind]
        if found:
            names = ', '.join(problem.path for problem in found[:_NAMES]) + ', ...' * (len(found) > _NAMES)
            fate = 'left out' if survey.is_left_out(kind) else 'used'
            print(f'  {kind.replace("_", " ")} ({meaning}; {fate}): {names}')


def tell_lists(listing: Listing, division: Division) -> None:
    """How many clips of each class each list has, and how they were chosen."""
    rows = [['clips', *division.clips]]
    for name in listing.classes[:_CLASSES]:
        rows.append([name, *(f'{sum(clip.label == name for clip in clips):,}' for clips in division.clips.values())])
    if len(listing.classes) > _CLASSES:
        rows.append([f'... {len(listing.classes) - _CLASSES} more classes', *[''] * len(division.clips)])
    rows.append(['all', *(f'{len(clips):,}' for clips in division.clips.values())])
    print('\n' + text_table(rows))
    for line in division.told:
        print(f'  {line}')


def tell_choices(choices: Sequence[Choice]) -> None:
    """What was chosen, and why."""
    rows = [['choice', '', 'why'], *([choice.name, choice.value, choice.why] for choice in choices)]
    print('\n' + text_table(rows, left=3))


def tell_end(config: Path, results: Results, best: Path, report: Path) -> None:
    """The accuracy, where the report is, and how to use the model."""
    print('\naccuracy on the held-out test clips')
    for figure in results.figures():
        name = 'the model' if figure.name == BOTH else f'{figure.name} alone'
        print(f'  {name:12} {figure}, {figure.right:,} of {figure.clips:,} clips')
    print(f'  {"guessing":12} {results.guessing:.1%}')
    print(f'\nreport:  {report}\nuse it:  {infer_command(config, best)}')


def infer_command(config: Path, checkpoint: Path) -> str:
    """The command that classifies files with a model.

    >>> infer_command(Path('a b.py'), Path('best.pth'))
    "mmav infer FILE --config 'a b.py' --checkpoint best.pth"
    """
    return f'mmav infer FILE --config {shlex.quote(str(config))} --checkpoint {shlex.quote(str(checkpoint))}'
