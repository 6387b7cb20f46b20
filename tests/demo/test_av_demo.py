import json
import runpy
import sys

import pytest

from tests.apis.models import CLASSES, config, write_model
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
    assert 'sound (the file has no picture)' in printed


def test_windows_without_video(model, flashes, tmp_path, capsys):
    options = ['--no-video', '--window', 1, '--stride', 0.5, '--drop', 'audio', '--out-dir', tmp_path]
    assert run_tool(TOOL, flashes, *model, *options) == 0
    (result,) = json.loads((tmp_path / 'predictions.json').read_text())['results']
    assert len(result['windows']) == 7 and result['withheld'] == ['audio'] and 'video' not in result
    assert '3.0 to 4.0' in capsys.readouterr().out and [path.name for path in tmp_path.iterdir()] == [
        'predictions.json'
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
