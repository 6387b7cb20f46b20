import json

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from mmav.evaluation.predictions import load_predictions, save_predictions
from tests.toys import run_tool


def write(path, scores, labels):
    rows = [
        dict(path=f'{i}.mp4', start=0.0, end=1.0, label=label, scores=np.float32(s), broken=None, sample_idx=i)
        for i, (s, label) in enumerate(zip(scores, labels, strict=True))
    ]
    save_predictions(path, rows, ['a', 'b'])
    return path


def test_average_predictions(tmp_path, capsys):
    labels = [0, 1, 1]
    one = write(tmp_path / 'a.pkl', [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], labels)
    two = write(tmp_path / 'b.pkl', [[0.4, 0.6], [0.1, 0.9], [0.3, 0.7]], labels)
    tool = 'analysis_tools/average_predictions.py'
    assert run_tool(tool, one, two, '--out', tmp_path / 'm.json', '--dump', tmp_path / 'c.pkl') == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(': ')[2][:11] for line in lines] == ['top1 0.6667', 'top1 0.6667', 'top1 1.0000']
    assert json.loads((tmp_path / 'm.json').read_text())['top1'] == 1
    rows, classes = load_predictions(tmp_path / 'c.pkl')
    assert classes == dict(label=['a', 'b']) and rows[0]['scores']['label'].tolist() == pytest.approx([0.65, 0.35])
    assert run_tool(tool, one, two, '--weights', 1) == 2
    assert capsys.readouterr().err == 'error: need 2 weights, none negative and not all zero, got [1.0]\n'
    assert run_tool(tool, one, tmp_path / 'none.pkl') == 2
    assert "error: no file '" in capsys.readouterr().err


def test_cluster_features(tmp_path, capsys):
    path = write(tmp_path / 'a.pkl', [[1, 0]] * 9, [0, 1, 2] * 3)
    tool = 'analysis_tools/cluster_features.py'
    assert run_tool(tool, path) == 2
    assert 'has no features: dump it with --cfg-options model.keep_features=True' in capsys.readouterr().err
    rows, classes = load_predictions(path)
    for i, row in enumerate(rows):
        row['feature'] = np.float32([10 * (i // 3), i])  # three heaps, one for every three clips
        row['broken'] = 'torn' if i == 8 else None
    save_predictions(path, rows, classes)
    assert run_tool(tool, path, '--num-clusters', 3, '--out', tmp_path / 'm.json') == 0
    (figures,) = json.loads((tmp_path / 'm.json').read_text()).values()
    assert figures['ari'] == pytest.approx(adjusted_rand_score([0, 1, 2, 0, 1, 2, 0, 1], [0, 0, 0, 1, 1, 1, 2, 2]))
    assert 'ari -0.' in capsys.readouterr().out
    assert run_tool(tool, path, '--part', 'verb') == 2
    assert 'needs no --part' in capsys.readouterr().err
    for row in rows:
        row['label'] = dict(verb=int(row['sample_idx']) // 3, noun=0)
    save_predictions(path, rows)
    assert run_tool(tool, path, '--part', 'verb') == 0
    assert 'ari 1.0000  homogeneity 1.0000' in capsys.readouterr().out
