"""prepare_media as it is called, and killed."""

from __future__ import annotations

import shutil

import pytest

from mmav.datasets.media.probe import probe
from mmav.datasets.shards.shard_set import open_shards
from tests.toys import run_tool


@pytest.fixture
def folder(tmp_path, clip, broken):
    root = tmp_path / 'old'
    root.mkdir()
    for k in range(3):
        shutil.copy(clip, root / f'{k}.mp4')
    shutil.copy(broken['text'], root / 'text.mp4')
    (root / 'train.csv').write_text('path,label\n' + ''.join(f'{name}.mp4,dog\n' for name in (0, 1, 2, 'text')))
    (root / 'classes.txt').write_text('dog\n')
    return root


def test_summary(folder, tmp_path, capsys):
    out = tmp_path / 'new'
    assert run_tool('data/prepare_media.py', folder, out, '--short-side', 32, '--jobs', 1, '--audio-codec', 'aac') == 0
    printed = capsys.readouterr().out
    assert '3 of 4 files' in printed and f'{out / "train.csv"}: 3 clips, 1 left out' in printed
    found = probe(str(out / '0.mp4'))
    assert (found.height, found.audio_codec) == (32, 'aac')


def test_mistakes_are_one_line(folder, tmp_path, capsys):
    for options, message in (
        ([folder, folder], 'need a folder of their own'),
        ([folder, tmp_path / 'new', '--short-side', 0], 'short_side must be above 0'),
        ([tmp_path, tmp_path / 'new'], 'no manifest in'),
    ):
        assert run_tool('data/prepare_media.py', *options) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
        assert message in line
    (folder / 'train.csv').write_text('path,label\ntext.mp4,dog\n')
    assert run_tool('data/prepare_media.py', folder, tmp_path / 'new', '--jobs', 1) == 2
    assert 'none of the 1 files can be read' in capsys.readouterr().err


def test_packed_in_one_go(folder, tmp_path, capsys):
    out = tmp_path / 'new'
    command = ['data/prepare_media.py', folder, out, '--short-side', 32, '--jobs', 1, '--preset', 'ultrafast']
    assert run_tool(*command, '--shards', '1MB', '--shuffle', 0) == 0
    assert f'{out / "shards"}: 1 shards, ' in capsys.readouterr().out
    assert not list(out.glob('*.mp4'))
    assert probe(open_shards('shards', str(out)).member('0.mp4')).height == 32
    before = (out / 'shards/train-000000.tar').stat()
    assert run_tool(*command, '--shards', '1MB', '--shuffle', 0) == 0
    assert f'{out / "shards"}: packed before' in capsys.readouterr().out
    assert (out / 'shards/train-000000.tar').stat() == before and not list(out.glob('*.mp4'))
    for options, message in (
        ([], 'are packed in shards: give --shards'),
        (['--shuffle', 0], '--shuffle 0 has no effect without --shards'),
        (['--shards', '7'], "'7' is no size of shards"),
    ):
        assert run_tool(*command, *options) == 2
        assert message in capsys.readouterr().err
