"""What is drawn, and that nothing is where there is nothing to draw."""

from __future__ import annotations

import shutil

import numpy as np

from mmav.analysis.folder.pictures import draw_pictures
from mmav.analysis.folder.results import BOTH, read_results
from mmav.evaluation.predictions import load_predictions, save_predictions


def drawn(trained, tmp_path, change):
    """The pictures of the run's predictions, changed."""
    rows, classes = load_predictions(trained.work_dir / 'test' / 'both.pkl')
    save_predictions(tmp_path / 'both.pkl', [change(row) for row in rows], classes)
    results = read_results({BOTH: tmp_path / 'both.pkl'})
    folder = tmp_path / 'pictures'
    shutil.rmtree(folder, ignore_errors=True)
    found = draw_pictures(folder, trained.work_dir / 'config.py', results, training=trained.work_dir / 'training')
    assert {path.name for path in folder.glob('[!.]*')} == {f'{name}.png' for name in found}
    return {*found}


def test_what_is_drawn(trained, tmp_path):
    def guess(row, shift):
        scores = np.eye(3, dtype=np.float32)[(row['label']['label'] + shift) % 3]
        return {**row, 'scores': dict(label=scores)}

    assert drawn(trained, tmp_path, lambda row: guess(row, 0)) == {'confusion', 'curves'}
    assert drawn(trained, tmp_path, lambda row: guess(row, 1)) == {'confusion', 'curves', 'mistakes'}
    # files that were moved away since are no reason to fail
    moved = drawn(trained, tmp_path, lambda row: {**guess(row, 1), 'path': 'gone.mp4'})
    assert moved == {'confusion', 'curves'}
