"""prepare_media as it is called, and killed."""

from __future__ import annotations

import shutil

import pytest

from mmav.datasets.media.probe import probe
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
