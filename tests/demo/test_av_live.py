import json

import pytest

from mmav.apis import AVInferencer
from tests.inference.models import config, write_model
from tests.toys import run_tool

TOOL = '../demo/av_live.py'


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    path, checkpoint = write_model(tmp_path_factory.mktemp('model'), config())
    return ['--config', path, '--checkpoint', checkpoint]


def test_a_line_a_window_and_a_summary(model, clip, tmp_path, capsys):
    out = tmp_path / 'new' / 'windows.jsonl'
    for _ in range(2):  # its own file is replaced
        assert run_tool(TOOL, clip, *model, '--window', 1, '--every-window', '--json-lines', out) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if ' - INFO - ' not in line]
        assert [line.split(' s  ')[0].strip() for line in lines[:2]] == ['1.0', '2.0']
        assert lines[-1].startswith('2 windows, latency ') and lines[-1].endswith('0 windows skipped, 0 frames dropped')
    assert [json.loads(line)['end'] for line in out.read_text().splitlines()] == [1.0, 2.0]
    (tmp_path / 'mine.jsonl').write_text('mine')
    assert run_tool(TOOL, clip, *model, '--json-lines', tmp_path / 'mine.jsonl') == 2
    assert (tmp_path / 'mine.jsonl').read_text() == 'mine'


def test_ctrl_c_ends_it_with_the_summary(model, clip, tmp_path, monkeypatch, capsys):
    stream = AVInferencer.stream

    def interrupted(self, source, **options):
        yield next(stream(self, source, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(AVInferencer, 'stream', interrupted)
    assert run_tool(TOOL, 'test:', *model, '--window', 0.5, '--json-lines', tmp_path / 'a.jsonl') == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith('1 windows, latency ')
    assert len((tmp_path / 'a.jsonl').read_text().splitlines()) == 1


def test_it_ends_after_so_many_seconds(model, capsys):
    assert run_tool(TOOL, 'test:', *model, '--window', 0.5, '--seconds', 1) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith('2 windows')


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['nothing.mp4'], 'nothing.mp4: no such file'),
        (['test:', '--stride', 0], '--stride 0 must be above 0'),
        (['camera:0', '--every-window'], "'camera:0' does not wait for a model"),
        (['camera:97'], 'camera:97: cannot be opened'),
    ],
)
def test_mistakes_are_one_line(model, capsys, words, message):
    assert run_tool(TOOL, *words, *model) == 2
    assert capsys.readouterr().err.startswith(f'error: {message}')
