"""One command from a folder to a report, on clips with everything wrong that a user's folder has."""

from __future__ import annotations

import csv
import json
import re
import shutil

import pytest
import torch

from mmav.analysis.folder import plan, run
from mmav.analysis.folder.plan import Options
from mmav.analysis.folder.run import dry_run, train_folder
from mmav.analysis.folder.timing import EpochTime
from mmav.analysis.logs import read_log
from mmav.datasets.cache_folder import Room
from mmav.errors import TrainingStopped
from mmav.evaluation.predictions import load_predictions
from mmav.inference import AVInferencer
from mmav.outputs import write_json
from tests.analysis.folder.conftest import BROKEN, CLASSES, LONG, SILENT, VERTICAL


def test_one_command_leaves_a_report(trained):
    assert trained.status == 0, trained.printed
    assert 'Traceback' not in trained.printed and 'mmengine - INFO' not in trained.printed
    lines = [line for line in trained.printed.splitlines() if ' accuracy ' in line and 'epoch' in line]
    assert len(lines) == 2
    assert re.search(r'\ncache +(in memory|none) ', trained.printed) and re.search(
        r'\nencoders +from scratch ', trained.printed
    )
    for name in (*BROKEN, SILENT, VERTICAL, LONG):
        assert name in trained.printed
    page = (trained.work_dir / 'report.html').read_text()
    for name in (*BROKEN, SILENT, VERTICAL, LONG, *CLASSES):
        assert name in page
    # nothing is loaded from elsewhere
    assert page.count('src="data:image/png;base64,') >= 2 and 'src="http' not in page and '<link' not in page
    assert not [path for path in trained.folder.rglob('*') if path.suffix != '.mp4' and path.is_file()]


@pytest.fixture
def cached(trained, monkeypatch):
    """Whether a run that goes on may keep clips in memory; gives what its datasets then say."""
    asked = []

    def train(arguments, **_):
        asked.append(arguments.cache)
        raise KeyboardInterrupt

    monkeypatch.setattr(run.launch, 'train', train)

    def go_on(options, usable):
        monkeypatch.setattr('mmav.datasets.cache_folder.CacheFolder.room', lambda _: Room(10**9, usable, 'memory'))
        with pytest.raises(TrainingStopped):
            train_folder(options)
        return asked[-1]

    return go_on


def test_a_run_that_goes_on_keeps_clips_in_memory_if_they_still_fit(cached, options, monkeypatch, capsys):
    monkeypatch.setattr('mmav.outputs._program', 'train_folder.py')
    plan_file = options.work_dir / 'plan.json'
    held = json.loads(plan_file.read_text())
    row = next(choice for choice in held['choices'] if choice['name'] == 'cache')
    row.update(value='in memory', why='as it was')
    write_json(plan_file, held)
    assert cached(options, 10**9) == 'ram'
    assert ' MB of 1.0 GB free memory' in capsys.readouterr().out
    assert cached(options, 1000) is None
    assert 'do not fit into 1.0 GB of free memory' in capsys.readouterr().out


def test_the_held_out_clips_are_of_other_files(trained):
    rows = {}
    for part in ('train', 'val', 'test'):
        with open(trained.work_dir / 'lists' / f'{part}.csv', newline='') as file:
            rows[part] = list(csv.DictReader(file))
    paths = {part: {row['path'] for row in each} for part, each in rows.items()}
    assert not paths['train'] & paths['val'] and not (paths['train'] | paths['val']) & paths['test']
    assert len(set.union(*paths.values())) == 58 and not {*BROKEN} & set.union(*paths.values())
    assert all({row['label'] for row in each} == {*CLASSES} for each in rows.values())
    (sides,) = [
        [row for row in each if row['path'] == LONG] for each in rows.values() if LONG in {r['path'] for r in each}
    ]
    assert len(sides) > 5


def test_the_numbers_are_those_of_the_predictions(trained):
    numbers = json.loads((trained.work_dir / 'report.json').read_text())
    for name, found in numbers['accuracy'].items():
        rows, _ = load_predictions(trained.work_dir / 'test' / f'{name}.pkl')
        right = sum(int(row['scores']['label'].argmax()) == row['label']['label'] for row in rows)
        assert (found['right'], found['clips']) == (right, len(rows))
    assert {*numbers['accuracy']} == {'both', 'video', 'audio'}
    assert numbers['problems'] == dict(unreadable=2, no_sound=1, vertical=1, long=1)


def test_the_best_checkpoint_is_the_validations(trained):
    best = torch.load(next((trained.work_dir / 'training').glob('best_*.pth')), weights_only=True)
    history = [row['top1'] for row in read_log(trained.work_dir / 'training').val]
    assert history[best['meta']['epoch'] - 1] == max(history) and len(history) == 2
    assert [*best['meta']['dataset_meta']['classes']] == [*CLASSES]


def test_the_config_and_checkpoint_classify(trained):
    checkpoint = next((trained.work_dir / 'training').glob('best_*.pth'))
    inferencer = AVInferencer(trained.work_dir / 'config.py', checkpoint, show_progress=False)
    result = inferencer(str(trained.folder / 'bell/bell_00.mp4'), num_workers=0)[0]
    assert {each['label'] for each in result['predictions']} == {*CLASSES}
    assert inferencer.window == 1.0


@pytest.fixture
def options(trained, tmp_path):
    """Those of the finished run, in a copy of its work dir."""
    shutil.copytree(trained.work_dir, tmp_path / 'copy')
    return Options(trained.folder, tmp_path / 'copy', epochs=2, workers=0, jobs=1, show=False)


def test_the_same_command_goes_on(options, monkeypatch, capsys):
    """Nothing is looked at, measured or trained twice."""

    def never(*_, **__):
        raise AssertionError('measured again')

    monkeypatch.setattr(plan, 'seconds_of_epoch', never)
    monkeypatch.setattr('mmav.preparation.checking._probe', never)
    monkeypatch.setattr(run, '_test', lambda *_: None)
    monkeypatch.setattr(run, 'write_report', lambda *_, **__: None)
    monkeypatch.setattr(run, 'tell_end', lambda *_: None)
    train_folder(options)
    printed = capsys.readouterr().out
    assert 'training goes on from epoch_2.pth' in printed and 'accuracy' not in printed


def test_a_stop_is_told_in_a_line(options, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run.launch, 'train', stop)
    with pytest.raises(TrainingStopped, match='stopped; the same command goes on where it was'):
        train_folder(options)


def test_a_dry_run_writes_nothing(folder, tmp_path, tiny_config, monkeypatch, capsys):
    monkeypatch.setattr(plan, 'CONFIG', str(tiny_config))
    monkeypatch.setattr(plan, 'seconds_of_epoch', lambda *_: EpochTime(30.0, 30.0))
    monkeypatch.chdir(tmp_path)
    dry_run(Options(folder, tmp_path / 'result', minutes=2.0, workers=0, jobs=1, show=False))
    printed = capsys.readouterr().out
    assert 'epochs       4' in printed and '--minutes is 2' in printed and 'Nothing was written' in printed
    assert not list(tmp_path.iterdir())
