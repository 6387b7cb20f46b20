"""check_media over a small dataset with every defect."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.datasets.media.test_probe import still
from tests.toys import run_tool


@pytest.fixture
def folder(tmp_path, clip, silent, blind, broken):
    names = dict(
        good=clip, mute=silent, blind=blind, text=broken['text'], empty=broken['empty'], torn=broken['cut_off']
    )
    for name, source in names.items():
        shutil.copy(source, tmp_path / f'{name}.mp4')
    still(tmp_path / 'still.mp4', muted=True)
    rows = [*names, 'still', 'gone']
    (tmp_path / 'train.csv').write_text('path,label\n' + ''.join(f'{row}.mp4,{row[0]}\n' for row in rows))
    (tmp_path / 'test.csv').write_text('path,label\ngood.mp4,g\n')
    return tmp_path


def test_report_and_clean_manifest(folder, capsys):
    assert run_tool('data/check_media.py', folder, '--jobs', 2) == 0
    printed = capsys.readouterr().out
    assert 'train.csv: 8 clips' in printed and 'classes that lose clips: 3 of 6' in printed
    report = json.loads((folder / 'check_report.json').read_text())['manifests']
    assert {k: v for k, v in report['train.csv']['defects'].items() if v} == dict(
        missing=1, unreadable=3, no_picture=1, frozen=1, no_sound=1, silent=1
    )
    assert report['train.csv']['classes']['g'] == dict(dropped=1, clips=2, share=0.5)
    assert report['test.csv']['dropped'] == 0
    assert (folder / 'train_clean.csv').read_text() == 'path,label\ngood.mp4,g\nmute.mp4,m\nblind.mp4,b\nstill.mp4,s\n'


def test_what_is_dropped_can_be_chosen(folder):
    drop = ['--drop', 'missing', 'unreadable', 'silent', 'no_sound', 'no_picture', 'frozen']
    assert run_tool('data/check_media.py', folder, '--jobs', 1, '--manifest', 'train.csv', *drop) == 0
    assert (folder / 'train_clean.csv').read_text() == 'path,label\ngood.mp4,g\n'
    assert not (folder / 'test_clean.csv').exists()


def test_mistakes_are_one_line(folder, tmp_path, capsys):
    (tmp_path / 'nothing').mkdir()
    assert run_tool('data/check_media.py', tmp_path / 'nothing') == 2
    assert run_tool('data/check_media.py', folder, '--manifest', 'trian.csv') == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith('error: no manifest in') and errors[1].startswith('error: no manifest at')
    assert run_tool('data/check_media.py', folder, '--drop', 'frosen') == 2


def test_clips_in_shards_are_checked_as_files_are(folder, tmp_path, capsys):
    out = tmp_path / 'packed'
    assert run_tool('data/make_shards.py', folder, out, '--jobs', 1) == 0
    assert run_tool('data/check_media.py', folder, '--jobs', 1) == 0
    assert run_tool('data/check_media.py', out, '--shards', 'shards', '--jobs', 1) == 0
    ours, theirs = (json.loads((root / 'check_report.json').read_text()) for root in (out, folder))
    assert ours == theirs and (out / 'train_clean.csv').read_text() == (folder / 'train_clean.csv').read_text()
    assert run_tool('data/check_media.py', out, '--shards', 'nowhere') == 2
    assert 'no index of shards at' in capsys.readouterr().err
