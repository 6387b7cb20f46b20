"""The command of tools/data/avsynth, run in this process."""

import json
import runpy
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / 'tools/data/avsynth/make_avsynth.py'
SMALL = ['--train', '16', '--val', '16', '--test', '16', '--size', '32', '--seconds', '1']


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOL), run_name='__main__')
    return int(stop.value.code or 0)


def test_writes_and_then_finds_it_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, sheet = tmp_path / 'data', tmp_path / 'sheet.png'
    assert run(monkeypatch, out, '--task', 'parity', '--sheet', sheet, *SMALL) == 0
    assert f'{out} written' in capsys.readouterr().out
    assert (out / 'meta.json').exists()
    assert sheet.exists()
    assert run(monkeypatch, out, '--task', 'parity', *SMALL) == 0
    assert 'is complete' in capsys.readouterr().out


def test_a_task_has_its_own_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ['--train', '32', '--val', '32', '--test', '32', '--seconds', '1']
    assert run(monkeypatch, tmp_path / 'data', '--task', 'natural', *small) == 0
    meta = json.loads((tmp_path / 'data' / 'meta.json').read_text())
    assert (meta['size'], meta['fps'], meta['train']) == (40, 8, 32)


def test_help_shows_an_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, '--help') == 0
    assert 'example: python tools/data/avsynth/make_avsynth.py' in ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--train', '100'], 'train is 100'),
        (['--size', '33'], 'needs an even size'),
        (['--jobs', '0'], 'jobs is 0'),
        (['--task', 'natural', '--num-events', '4'], "the task 'natural' has no num_events: leave it out"),
        (['--task', 'natural', '--test', '100'], 'test is 100'),
    ],
)
def test_bad_values_give_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert run(monkeypatch, tmp_path / 'data', *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
    assert error.count('\n') == 1
    assert not (tmp_path / 'data').exists()


def test_foreign_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'notes.txt').write_text('mine')
    assert run(monkeypatch, tmp_path, *SMALL) == 2
    assert 'not an AVSynth dataset' in capsys.readouterr().err
