import json

import numpy as np
import pytest

from mmav.analysis.label_errors import FILES, analyze_label_errors, tell_label_errors, write_label_errors
from mmav.evaluation.predictions import accuracy_of, load_predictions, save_predictions
from mmav.outputs import RECORD
from tests.evaluation.sets import NAMES, random_sets, set_rows, write_sets


def test_figures_are_those_of_the_metric_and_the_text_tells_them(tmp_path):
    path = write_sets(tmp_path / 'm.pkl', broken={1, 2})
    errors = analyze_label_errors(str(path))
    expected = accuracy_of(load_predictions(path)[0])
    assert {name: errors.figures[name] for name in expected} == expected
    told = tell_label_errors(errors, num=2).splitlines()
    assert told[0].startswith(f'{path}: 80 clips with {random_sets()[1].sum()} labels of 5 classes')
    assert f"  mAP, AUC, d'                      {expected['mAP']:.4f}, {expected['AUC']:.4f}" in told[1]
    worst, best = (
        next(i for i, line in enumerate(told) if line.startswith(f'{end} classes')) for end in ('worst', 'best')
    )
    assert best - worst == 3 and told[best + 1].split()[0] == errors.figures['classes'][-1]['class']
    assert sum('loss' in line for line in told) == 2
    each = analyze_label_errors(str(path), thresholds=0.2).figures
    assert each['macro_f1'] != expected['macro_f1'] and each['mAP'] == expected['mAP']


def test_a_model_of_which_nothing_can_be_told(tmp_path):
    scores, truth = random_sets(clips=6)
    save_predictions(tmp_path / 'm.pkl', set_rows(scores, np.zeros_like(truth), set(range(6))), NAMES)
    errors = analyze_label_errors(str(tmp_path / 'm.pkl'))
    told = tell_label_errors(errors)
    assert "mAP, AUC, d'                      -, -, -" in told and '5, which no clip has, or every clip' in told
    written = write_label_errors(errors, tmp_path / 'out')
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {RECORD, *written}
    assert set(FILES) - set(written) == {'classes.png', 'confusion.png', 'reliability.png'}
    assert json.loads((tmp_path / 'out' / 'errors.json').read_text())['mAP'] is None


def test_modalities_and_significance_are_told(tmp_path):
    model, *others = (str(write_sets(tmp_path / f'{s}.pkl', seed=s, noise=0.5 + s)) for s in range(4))
    options = dict(other=others[0], modalities=others[1:], resamples=100)
    errors = analyze_label_errors(model, **options)
    told = tell_label_errors(errors)
    found = errors.figures['modalities']
    assert f'mAP: audio {found["audio"]["mAP"]:.4f}, video {found["video"]["mAP"]:.4f}' in told
    labels = sum(found['labels'][case] for case in ('both', 'audio_only', 'video_only', 'neither'))
    assert labels == random_sets()[1].sum()
    assert f'against {others[0]}: 80 clips' in told and '(paired bootstrap of the clips, 100 times)' in told
    assert write_label_errors(errors, tmp_path / 'out') == sorted([*FILES, 'modalities.csv', 'modalities.png'])
    assert errors.figures['comparison']['difference'] == pytest.approx(
        errors.figures['mAP'] - accuracy_of(load_predictions(others[0])[0])['mAP']
    )
