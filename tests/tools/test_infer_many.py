import json

import pytest

from tests.inference.models import config, write_model
from tests.toys import run_tool


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    path, checkpoint = write_model(tmp_path_factory.mktemp('model'), config())
    return ['--config', path, '--checkpoint', checkpoint]


def test_the_command_counts_and_goes_on(model, clip, tmp_path, capsys):
    out = tmp_path / 'rows.jsonl'
    (tmp_path / 'list.txt').write_text(f'{clip.name}\ngone.mp4\n')
    for before in (0, 2):
        assert run_tool('infer_many.py', tmp_path / 'list.txt', '--root', clip.parent, *model, '--out', out) == 0
        text = capsys.readouterr().out
        assert f'2 clips (0 remote), {before} of them from a run before: 1 classified, 1 failed' in text
    assert [json.loads(line)['error'] for line in out.read_text().splitlines()] == [None, 'no such file']
    assert (
        run_tool('infer_many.py', tmp_path / 'list.txt', '--root', clip.parent, *model, '--out', out, '--topk', 2) == 2
    )
    assert 'topk was 5, now 2' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['a.mp4', '--out', 'a.csv'], "'a.csv': the name has to end in .jsonl or .parquet"),
        (['a.mp4', '--out', 'a.jsonl', '--tries', 0], '--tries 0 must be above 0'),
        (['a.mp4', '--out', 'a.jsonl', '--root', 'no/folder'], "--root 'no/folder' is no folder"),
        (['https://host/films/', '--out', 'a.jsonl'], 'https://host/films/: a web server lists no files'),
    ],
)
def test_mistakes_are_one_line(model, capsys, words, message):
    assert run_tool('infer_many.py', *words, *model) == 2
    assert capsys.readouterr().err.startswith(f'error: {message}')


def test_where_all_fail_the_command_fails(model, tmp_path, capsys):
    assert run_tool('infer_many.py', tmp_path / 'gone.mp4', *model, '--out', tmp_path / 'a.jsonl') == 2
    said = capsys.readouterr().err
    assert 'no clip could be classified' in said and '--root gives the folder' in said
