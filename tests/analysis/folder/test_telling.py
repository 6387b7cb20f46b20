"""What stands on the console: everything that a user should know before the training begins, in few lines."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from mmav.analysis.folder.choices import Choice
from mmav.analysis.folder.results import Figure
from mmav.analysis.folder.telling import tell_choices, tell_end, tell_files, tell_lists
from mmav.preparation.folder.listing import ListedClip, Listing
from tests.analysis.folder.conftest import BROKEN, LONG, SILENT, VERTICAL
from tests.preparation.folder.test_survey import BROKEN as UNREADABLE
from tests.preparation.folder.test_survey import several, survey_of


def test_the_folder_is_told_before_the_training(trained):
    text = trained.printed[: trained.printed.index('training (Ctrl-C')]
    assert '60 files, 58 of which can be read; clips: bell 20, door 20, siren 20' in text
    for kind, names in dict(unreadable=BROKEN, vertical=[VERTICAL], long=[LONG]).items():
        assert any(line.startswith(f'  {kind} (') and all(name in line for name in names) for line in text.splitlines())
    assert f'used): {SILENT}' in text


def test_long_lists_are_cut(capsys):
    tell_files(survey_of({f'x/{k}': UNREADABLE for k in range(9)} | several(whole=1).probes), ('video', 'audio'))
    assert 'left out): x/0, x/1, x/2, x/3, ...\n' in capsys.readouterr().out
    listing = Listing(Path(), '', [], tuple(f'c{k}' for k in range(40)))
    clips = [ListedClip('a', f'c{k}', 'train') for k in range(40)]
    tell_lists(listing, SimpleNamespace(clips=dict(train=clips, test=clips[:3]), told=['so it is']))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15 and '... 30 more classes' in lines[-3] and lines[-1] == '  so it is'
    assert lines[-2].split() == ['all', '40', '3']


def test_choices_and_the_end(capsys):
    tell_choices([Choice('window', '2 s', 'clips are short'), Choice('batch', '8', '')])
    assert 'window  2 s  clips are short' in capsys.readouterr().out
    figures = [Figure('both', 3, 4, 0.3, 0.95), Figure('audio', 2, 4, 0.2, 0.8)]
    results = SimpleNamespace(figures=lambda: figures, guessing=0.25)
    tell_end(Path('w/config.py'), results, Path('w/best.pth'), Path('w/report.html'))
    text = capsys.readouterr().out
    assert 'the model    75.0% (95 % interval 30.0% to 95.0%), 3 of 4 clips' in text and 'audio alone  50.0%' in text
    assert 'report:  w/report.html' in text and 'mmav infer FILE --config w/config.py --checkpoint w/best.pth' in text
