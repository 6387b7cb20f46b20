"""What the tool refuses, each in one line; what it does: tests/analysis/folder."""

from __future__ import annotations

import pytest

from tests import clips
from tests.toys import run_tool


@pytest.fixture
def refused(capsys):
    def run(*words: object) -> str:
        assert run_tool('train_folder.py', *words) == 2
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if line and '/s]' not in line and 'file/s' not in line]
        assert len(lines) == 1 and 'Traceback' not in captured.out, lines
        return lines[0].rpartition('error: ')[2]

    return run


@pytest.fixture
def folder(tmp_path):
    """A folder of two classes; its files are as named."""

    def make(**kinds):
        for label in ('a', 'b'):
            for kind, number in kinds.items():
                for k in range(number):
                    path = tmp_path / 'clips' / label / f'{kind}_{k}.mp4'
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if kind == 'broken':
                        path.write_text(f'no clip {label} {k}')
                    else:
                        clips.make_clip(path, seconds=0.5, fps=4, size=(16, 16 + 2 * k))
        return tmp_path / 'clips'

    return make


def test_options_that_make_no_sense(refused, tmp_path):
    assert refused(tmp_path, '--minutes', 0) == '--minutes 0 must be above 0'
    assert refused(tmp_path, '--workers', -1) == '--workers -1 must be 0 or more'
    assert refused(tmp_path, '--name', 'x', '--work-dir', 'y') == (
        '--name x has no effect with --work-dir: give one of them'
    )


def test_folders_that_cannot_be_trained_on(refused, folder, tmp_path):
    work = ['--work-dir', tmp_path / 'w', '--jobs', 1]
    assert refused(tmp_path / 'none', *work).endswith("none' does not exist: give a folder of clips")
    root = folder(broken=3)
    assert 'none of the 6 media files in' in refused(root, *work)
    folder(fine=2)
    assert "class 'a' has 2 usable clips" in refused(root, *work)
    assert 'is inside the folder of clips' in refused(root, '--work-dir', root / 'w')


def test_all_silent(refused, folder, tmp_path, monkeypatch):
    """What counts as audible is out of reach of the clips' noise."""
    monkeypatch.setattr('mmav.preparation.folder.survey.SILENT_DB', 0.0)
    said = refused(folder(fine=1), '--work-dir', tmp_path / 'w', '--jobs', 1)
    assert 'are silent' in said and said.endswith('train on video alone with --modalities video')
