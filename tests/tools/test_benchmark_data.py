import json
import re

import pytest

from benchmarks import clips
from tests.toys import ROOT, run_tool

TOOL = 'analysis_tools/benchmark_data.py'
CONFIG = ROOT / 'configs' / 'mmt' / 'mmt_tiny_folder.py'


def test_one_file_measured_again_and_again(clip, tmp_path, capsys):
    file = tmp_path / 'a.json'
    assert run_tool(TOOL, CONFIG, '--clip', clip, '--clips', 2, '--workers', 1, '--json', file) == 0
    output = capsys.readouterr().out
    assert f'train: {clip}' in output and 'ColorJitter' in output and 'data path / bare decoding' in output
    numbers = json.loads(file.read_text())
    assert numbers['clips'] == 2 and numbers['split'] == 'train' and numbers['versions']['av']
    total = sum(part['mean'] for part in numbers['parts_ms'].values())
    assert total == pytest.approx(numbers['total_ms']['mean'])
    first, *_, last = numbers['steps_ms']
    assert (first, last) == ('LoadClip', 'collate')
    assert (numbers['loader']['workers'], numbers['loader']['clips']) == (1, 8)


def test_workers_are_planned_and_threads_measured(clip, tmp_path, capsys):
    file = tmp_path / 'a.json'
    options = ['--clips', 2, '--threads', 1, '--gpus', 2, '--step-time', 3, '--batch-size', 6, '--json', file]
    assert run_tool(TOOL, CONFIG, '--clip', clip, *options) == 0
    output = capsys.readouterr().out
    assert 'clips/s with 1 threads' in output and '\nverdict: ' in output
    numbers = json.loads(file.read_text())
    assert numbers['threads']['clips'] == 8 and numbers['plan']['clips_per_second'] == 4
    assert numbers['plan']['verdict'] in output and numbers['plan']['not_measured']


def test_the_clips_of_a_manifest(clip, broken, tmp_path, capsys):
    (tmp_path / 'test.csv').write_text(f'path,label\n{clip},a\n{broken["text"]},a\n')
    (tmp_path / 'classes.txt').write_text('a\n')
    cache = ['--cfg-options', f'test_dataloader.dataset.cache=prepared:{tmp_path / "kept"}']
    assert run_tool(TOOL, CONFIG, '--data-root', tmp_path, '--split', 'test', '--clips', 4, '--cpu-time', *cache) == 0
    output = capsys.readouterr().out
    assert 'test.csv' in output and 'CenterCrop' in output and '2 measured, 2 broken' in output
    assert re.search(r'from prepared clips +\d+\.\d{3} ms, in batches of ', output)


def test_a_clip_is_made_where_there_is_no_data(monkeypatch, capsys):
    defaults = clips.write_sample_clip.__kwdefaults__
    monkeypatch.setattr(clips.write_sample_clip, '__kwdefaults__', {**defaults, 'seconds': 1})
    options = ['--cfg-options', 'train_dataloader.dataset.data_root=nowhere']
    assert run_tool(TOOL, CONFIG, '--clips', 1, *options) == 0
    output = capsys.readouterr().out
    assert "no manifest 'nowhere/train.csv': a clip is generated" in output and '340x256' in output


def test_mistakes_are_one_line(clip, tmp_path, capsys):
    for arguments, message in (
        (['nowhere.py'], "error: no config file 'nowhere.py' (`mmav configs` lists mmav's)\n"),
        ([CONFIG, '--clip', tmp_path / 'no.mp4'], 'no.mp4: no such file\n'),
        ([CONFIG, '--clip', CONFIG, '--clips', 1], 'error: none of 1 clips can be read; the last: '),
        ([CONFIG, '--clips', 0], 'error: --clips 0 --workers 0 --threads 0: give at least 1 clip'),
        ([CONFIG, '--data-root', tmp_path], 'error: '),
        ([CONFIG, '--gpus', 8], 'error: --gpus 8 needs --step-time'),
    ):
        assert run_tool(TOOL, *arguments) == 2
        captured = capsys.readouterr().err
        assert message in captured and 'Traceback' not in captured
