"""audio_stats on a small dataset."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.toys import ROOT, run_tool

CONFIG = ROOT / 'configs' / 'mmt' / 'mmt_tiny_folder.py'


@pytest.fixture
def folder(tmp_path, clip, silent):
    shutil.copy(clip, tmp_path / 'a.mp4')
    shutil.copy(silent, tmp_path / 'b.mp4')
    for name in ('train', 'other'):
        (tmp_path / f'{name}.csv').write_text(f'path,label\na.mp4,x\nb.mp4,x\n{name}.mp4,x\n')
    (tmp_path / 'classes.txt').write_text('x\n')
    return tmp_path


def test_prints_what_the_config_takes(folder, capsys):
    options = ['--data-root', folder, '--jobs', 1, '--json', folder / 'stats.json']
    assert run_tool('data/audio_stats.py', CONFIG, *options, '--ann-file', 'other.csv') == 0
    printed = capsys.readouterr().out
    found = json.loads((folder / 'stats.json').read_text())
    assert (
        '1 clips of' in printed and '1 without audio, 1 unreadable' in printed and 'other.mp4: no such file' in printed
    )
    assert f'audio=dict(mean={found["mean"]:.4f}, std={found["std"]:.4f})' in printed
    # 2 s in 512 frames
    assert found['padding'] == pytest.approx(1 - 198 / 512)


def test_mistakes_are_one_line(folder, capsys):
    assert run_tool('data/audio_stats.py', CONFIG, '--data-root', folder / 'nowhere') == 2
    assert 'error: no class list at' in capsys.readouterr().err


def test_joined_lists_are_measured_together(folder, tmp_path, capsys):
    text = f"""_base_ = [{str(CONFIG)!r}]
one = _base_.train_dataloader.dataset
one.update(data_root={str(folder)!r})
train_dataloader = dict(
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[one, dict(one, ann_file='other.csv')])
)
"""
    path = tmp_path / 'joined.py'
    path.write_text(text)
    assert run_tool('data/audio_stats.py', path, '--jobs', 1) == 0
    printed = capsys.readouterr().out
    assert printed.startswith('2 clips of') and 'train.csv and' in printed and '2 without audio' in printed
    assert run_tool('data/audio_stats.py', path, '--jobs', 1, '--ann-file', 'other.csv') == 2
    assert 'the config joins 2 lists' in capsys.readouterr().err
