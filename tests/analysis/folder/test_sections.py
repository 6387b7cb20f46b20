"""Sections of the report where a folder has more, or less, than one page should show."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mmav.analysis.folder import sections
from mmav.analysis.folder.results import Figure
from tests.preparation.folder.test_survey import BROKEN, several, survey_of


def results(names):
    rows = [
        dict(name=name, right=k, clips=9, accuracy=k / 9, low=0.0, high=1.0, taken_for=[('<other>', 2)])
        for k, name in enumerate(names)
    ]
    return SimpleNamespace(files=4, guessing=0.5, classes=lambda: rows)


def test_one_modality_has_nothing_beside_it():
    text = sections.hero(results('a'), [Figure('both', 3, 9, 0.1, 0.6)])
    assert '33.3%' in text and 'alone' not in text and 'clips of 4 files' in text


def test_many_classes_are_folded():
    text = sections.classes(results([f'<c{k}>' for k in range(40)]), {})
    assert '10 more classes' in text and '&lt;c39&gt;' in text and '<c0>' not in text and '<other>' not in text
    assert 'more classes' not in sections.classes(results('abc'), dict(a=5))


def test_many_broken_files_are_counted():
    survey = survey_of({f'x/{k:02d}': BROKEN for k in range(20)} | {'y/good': several(whole=1).probes['x/whole0']})
    text = sections.found(survey, survey.problems(), where='lists/problems.csv')
    assert 'unreadable: 20 files' in text and 'x/11' in text and 'x/12' not in text
    assert 'and 8 more: <code>lists/problems.csv</code>' in text and 'left out' in text


@pytest.mark.parametrize('folder', ['clips', 'my "odd" clips'])
def test_commands_can_be_copied(folder):
    import html
    import re
    import shlex

    plan = SimpleNamespace(config=Path('w d/config.py'), survey=several(whole=1), cached=True)
    plan.survey.listing.root = Path('/x') / folder
    text = sections.next_steps(plan, Path('w d/best.pth'), ['Try < this.'])
    commands = [shlex.split(html.unescape(line)) for line in re.findall('<pre>(.*?)</pre>', text)]
    assert ['mmav', 'web-demo', 'w d/config.py', 'w d/best.pth'] in commands
    assert ['mmav', 'train-folder', f'/x/{folder}', '--name', f'{folder}_2', '--minutes', '60'] in commands
    assert ['mmav', 'train', 'w d/config.py', '--work-dir', 'DIR', '--cache', 'ram'] in commands
    assert 'Try &lt; this.' in text


def test_lists_count_recordings(trained):
    page = (trained.work_dir / 'report.html').read_text()
    assert '<td>recordings</td>' in page and str(trained.work_dir / 'lists' / 'val.csv') in page
