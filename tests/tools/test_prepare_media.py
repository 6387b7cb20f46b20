"""prepare_media as it is called, and killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from mmav.datasets.media.probe import probe
from tests.toys import ROOT, run_tool


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


def test_a_killed_run_leaves_no_half_file_and_goes_on(make_clip, tmp_path):
    root, out = tmp_path / 'old', tmp_path / 'new'
    root.mkdir()
    source = make_clip('to_be_killed.mp4', seconds=20.0, fps=25, size=(192, 256))
    names = [f'{k}.mp4' for k in range(6)]
    for name in names:
        shutil.copy(source, root / name)
    (root / 'train.csv').write_text('path,label\n' + ''.join(f'{name},dog\n' for name in names))
    command = [sys.executable, 'tools/data/prepare_media.py', str(root), str(out), '--jobs', '2', '--preset', 'slow']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not list(out.glob('*.mp4')) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    whole = sorted(path.name for path in out.glob('*.mp4'))
    assert 0 < len(whole) < 6
    assert all(probe(str(out / name)).frames == 500 for name in whole)
    stamps = {name: (out / name).stat().st_mtime_ns for name in whole}
    assert subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert sorted(path.name for path in out.glob('*.mp4')) == names
    assert all(probe(str(out / name)).frames == 500 for name in names)
    # The last one may have appeared just before the kill, so that the journal does not know it yet.
    kept = [name for name in whole if (out / name).stat().st_mtime_ns == stamps[name]]
    assert len(kept) >= len(whole) - 2
