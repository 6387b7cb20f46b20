import errno
import io
import json
import os
import runpy
import shutil
import sys

import pytest

from mmav.outputs import RECORD
from tests.inference.models import CLASSES, config, write_model
from tests.toys import ROOT, run_tool

TOOL = '../demo/av_demo.py'


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    path, checkpoint = write_model(tmp_path_factory.mktemp('model'), config())
    return ['--config', path, '--checkpoint', checkpoint]


def test_table_json_and_annotated_video(model, clip, blind, tmp_path, capsys):
    assert run_tool(TOOL, clip, blind, *model, '--out-dir', tmp_path / 'out', '--topk', 3) == 0
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / 'out' / 'predictions.json').read_text())
    assert [result['path'] for result in content['results']] == [str(clip), str(blind)]
    assert content['checkpoint'] == str(model[-1])
    for result in content['results']:
        assert len(result['predictions']) == 3 and result['predictions'][0]['label'] in CLASSES
        assert f'{result["predictions"][0]["score"]:.3f}' in printed
        assert (tmp_path / 'out' / f'{result["path"].split("/")[-1].split(".")[0]}.mp4').is_file()
        assert result['video'] in printed
    assert 'audio (the file has no video)' in printed


def test_windows_without_video(model, flashes, tmp_path, capsys):
    options = ['--no-video', '--window', 1, '--stride', 0.5, '--drop', 'audio', '--out-dir', tmp_path]
    assert run_tool(TOOL, flashes, *model, *options) == 0
    (result,) = json.loads((tmp_path / 'predictions.json').read_text())['results']
    assert len(result['windows']) == 7 and result['withheld'] == ['audio'] and 'video' not in result
    assert '3.0 to 4.0' in capsys.readouterr().out and sorted(path.name for path in tmp_path.iterdir()) == [
        RECORD,
        'predictions.json',
    ]


def test_bad_files_are_named_and_the_rest_is_classified(model, clip, tmp_path, capsys):
    (tmp_path / 'torn.mp4').write_text('no film')
    code = run_tool(TOOL, tmp_path / 'torn.mp4', clip, *model, '--no-video', '--out-dir', tmp_path)
    captured = capsys.readouterr()
    assert code == 2 and 'error: ' in captured.err and 'torn.mp4: cannot be opened' in captured.err
    first, second = json.loads((tmp_path / 'predictions.json').read_text())['results']
    assert first['error'].startswith('cannot be opened') and second['predictions']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--topk', 0], '--topk 0 must be above 0'),
        (['--window', 9], 'longer than the 2 s'),
        (['--stride', 3], 'stride=3.0 is longer than window=2.0'),
        (['--device', 'warp9'], "no device 'warp9' here"),
    ],
)
def test_mistakes_are_one_line(model, clip, tmp_path, capsys, options, message):
    assert run_tool(TOOL, clip, *model, '--no-video', '--out-dir', tmp_path, *options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('error: ') and message in error


def test_help_has_an_example(capsys, monkeypatch):
    for tool in sorted((ROOT / 'demo').glob('*.py')):
        monkeypatch.setattr(sys, 'argv', [tool.name, '--help'])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(tool), run_name='__main__')
        assert stopped.value.code == 0 and 'example' in capsys.readouterr().out, tool


def test_no_file_of_the_users_is_replaced(model, clip, tmp_path, capsys):
    """Copies are named after their files, whatever their suffixes."""
    folder, other = tmp_path / 'in', tmp_path / 'out'
    folder.mkdir()
    for name in ('mine.mp4', 'mine.mov', 'Mine.mkv'):
        shutil.copy(clip, folder / name)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for given in ([folder / 'mine.mp4'], [folder / 'mine.mov']):
        assert run_tool(TOOL, *given, *model, '--out-dir', folder) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith('error: ') and 'mine.mp4' in error.lower() and '\n' not in error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    # as often as one likes into a folder of its own
    for _ in range(2):
        assert run_tool(TOOL, folder, *model, '--out-dir', other) == 0
    results = json.loads((other / 'predictions.json').read_text())['results']
    assert sorted(path.name.lower() for path in other.glob('*.mp4')) == ['mine.mp4', 'mine_2.mp4', 'mine_3.mp4']
    assert len({result['video'].lower() for result in results}) == 3


def test_copies_are_no_clips_of_the_next_run(model, clip, tmp_path):
    shutil.copy(clip, tmp_path / 'a.mov')
    for _ in range(2):
        assert run_tool(TOOL, tmp_path, *model, '--out-dir', tmp_path) == 0
    (result,) = json.loads((tmp_path / 'predictions.json').read_text())['results']
    assert result['path'].endswith('a.mov') and result['video'].endswith('a.mp4')
    # by its name it is one
    assert run_tool(TOOL, tmp_path / 'a.mp4', *model, '--out-dir', tmp_path / 'b') == 0


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', 'cp1252'])
def test_any_console(model, clip, tmp_path, monkeypatch, encoding):
    path = shutil.copy(clip, f'{tmp_path}/' + os.fsdecode('狗 \xe9\u0142'.encode() + b'\xff.mp4'))
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, 'stdout', console)
    assert run_tool(TOOL, path, *model, '--out-dir', tmp_path / 'out', '--no-video', '--topk', 2) == 0
    console.flush()
    printed = console.buffer.getvalue().decode(encoding)
    assert '\\u72d7 ' in printed and '\\udcff.mp4' in printed
    # bars of what the console has
    assert f'{result_of(tmp_path)["predictions"][0]["score"]:.3f}  ####' in printed
    assert result_of(tmp_path)['path'] == path


def result_of(tmp_path):
    return json.loads((tmp_path / 'out' / 'predictions.json').read_text())['results'][0]


def test_results_are_shown_whatever_becomes_of_the_files(model, clip, tmp_path, capsys, monkeypatch):
    def full(fd):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    assert run_tool(TOOL, clip, *model, '--out-dir', tmp_path) == 2
    captured = capsys.readouterr()
    assert f'{clip}: ' in captured.out and any(name in captured.out for name in CLASSES)
    assert captured.err.endswith('No space left on device; earlier files are kept\n')
