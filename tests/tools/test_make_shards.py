"""make_shards as it is called: what it prints, and one line where it cannot."""

from __future__ import annotations

import pytest

from mmav.datasets.shards.shard_set import open_shards
from tests.toys import run_tool

TOOL = 'data/make_shards.py'


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / 'root'
    folder.mkdir()
    for k in range(6):
        (folder / f'{k}.mp4').write_bytes(bytes([k]) * 3000)
    (folder / 'train.csv').write_text('path,label\n' + ''.join(f'{k}.mp4,{"ab"[k % 2]}\n' for k in range(7)))
    (folder / 'classes.txt').write_text('a\nb\n')
    return folder


def error_of(capsys) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    return line


def test_pack_verify_and_index_again(root, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run_tool(TOOL, root, out, '--size', '0.011MB', '--jobs', 1, '--shuffle', 3, '--verify') == 0
    printed = capsys.readouterr().out
    assert f'6 clips in 3 shards, 0.0 MB: {out / "shards"}\n' in printed
    assert f'1 files cannot be read and are broken clips of the dataset: {out / "shards_failed.csv"}' in printed
    assert 'all 6 clips are as they were packed' in printed
    # the shards as if others had written them
    again = tmp_path / 'again'
    assert run_tool(TOOL, '--index', out / 'shards/train-{000000..000002}.tar', again, '--jobs', 1, '--verify') == 0
    printed = capsys.readouterr().out
    assert f'3 shards, 6 clips: {again / "train.csv"}' in printed and 'shards=shards/train' in printed
    assert (again / 'classes.txt').read_text() == 'a\nb\n'
    first = (again / 'train.csv').read_text().splitlines()[1].split(',')[0]
    assert open_shards('shards/train', str(again)).member(first).read() == bytes([int(first[-5])]) * 3000
    path = out / 'shards/train-000001.tar'
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    assert run_tool(TOOL, '--index', out / 'shards', again, '--jobs', 1, '--label-field', 'nothing') == 2
    assert "has no label in 'nothing'" in error_of(capsys)
    assert run_tool(TOOL, root, out, '--size', '0.011MB', '--jobs', 1, '--shuffle', 3, '--verify') == 2
    assert 'train-000001.tar' in error_of(capsys)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--size', '512'], "'512' is no size of shards: give a number and one of GB"),
        (['--size', '100KB'], "'100KB' is no size of shards"),
        (['--media', 'mp4'], '--media is for --index'),
        (['--name', 'val'], '--name is for --index'),
        (['--index', '--force'], '--force has no effect with --index'),
        (['--index', '--shuffle', 1], '--shuffle has no effect with --index'),
        (['--index'], 'no shard, *.tar, in'),
        (['--manifest', 'other.csv'], 'no manifest at'),
    ],
)
def test_mistakes_are_one_line(root, tmp_path, capsys, options, message):
    assert run_tool(TOOL, root, tmp_path / 'out', *options) == 2
    assert message in error_of(capsys)
    assert not (tmp_path / 'out').exists()
