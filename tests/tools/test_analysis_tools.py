import json

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, f1_score

from mmav.evaluation.predictions import load_predictions, save_predictions
from mmav.evaluation.thresholds import read_thresholds
from tests.evaluation.sets import NAMES, random_sets, write_sets
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


def test_average_of_label_sets_and_of_clips_without_labels(tmp_path, capsys):
    tool = 'analysis_tools/average_predictions.py'
    sets = [write_sets(tmp_path / f'{seed}.pkl', seed=seed) for seed in (1, 2)]
    assert run_tool(tool, *sets, '--out', tmp_path / 'm.json') == 0
    lines = capsys.readouterr().out.splitlines()
    scores = [float(line.partition('mAP ')[2][:6]) for line in lines]
    assert scores[2] > max(scores[:2]) and json.loads((tmp_path / 'm.json').read_text())['mAP'] > max(scores[:2])
    bare = []
    for path in sets:
        rows, classes = load_predictions(path)
        bare.append(tmp_path / f'bare_{path.name}')
        save_predictions(bare[-1], [dict(row, label={}) for row in rows], classes)
    assert run_tool(tool, *bare, '--dump', tmp_path / 'c.pkl') == 0
    assert load_predictions(tmp_path / 'c.pkl')[0][0]['label'] == {} and 'mAP' not in capsys.readouterr().out
    for options in ([], ['--dump', tmp_path / 'c.pkl', '--out', tmp_path / 'm.json']):
        assert run_tool(tool, *bare, *options) == 2
        assert 'is of clips without labels: give predictions of a labelled list' in capsys.readouterr().err
    assert run_tool(tool, sets[0], bare[0]) == 2 and 'differ in the label' in capsys.readouterr().err


def test_find_thresholds(tmp_path, capsys):
    path, out = write_sets(tmp_path / 'm.pkl', broken={3}), tmp_path / 't.json'
    tool = 'analysis_tools/find_thresholds.py'
    scores, truth = random_sets()
    kept = np.arange(80) != 3
    found = {}
    for options in ([], ['--average', 'micro'], ['--per-class']):
        assert run_tool(tool, path, *options, '--out', out) == 0
        told = capsys.readouterr().out
        assert 'scores that are not finite: 1 clips' in told and f'written: {out}' in told
        each = read_thresholds(str(out)).of(NAMES)
        predicted = scores[kept] >= each
        found[str(options)] = [f1_score(truth[kept], predicted, average=name) for name in ('macro', 'micro')]
        assert f'at {out}: macro {found[str(options)][0]:.4f}, micro {found[str(options)][1]:.4f}' in told
    macro, micro, per_class = found.values()
    assert per_class[0] >= macro[0] >= micro[0] and micro[1] >= macro[1]
    assert len(json.loads(out.read_text())['classes']) == 5
    assert run_tool(tool, path, '--per-class', '--average', 'micro', '--out', out) == 2
    assert 'it has no effect with --per-class' in capsys.readouterr().err
    one = write(tmp_path / 'a.pkl', [[0.9, 0.1]], [0])
    assert run_tool(tool, one, '--out', out) == 2 and 'has clips with one label each' in capsys.readouterr().err
    rows, _ = load_predictions(path)
    save_predictions(path, rows)
    assert run_tool(tool, path, '--per-class', '--out', out) == 2
    assert 'has no names of classes, which thresholds by class need' in capsys.readouterr().err
    save_predictions(path, [dict(row, broken='torn') for row in rows])
    assert run_tool(tool, path, '--out', out) == 2 and 'has no clip with an answer' in capsys.readouterr().err


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


def test_a_sheet_takes_thresholds_of_label_sets_alone(tmp_path, capsys):
    tool, config = 'analysis_tools/plot_predictions.py', 'small/small_folder.py'
    one = write(tmp_path / 'a.pkl', [[0.9, 0.1]], [0])
    assert run_tool(tool, config, one, tmp_path / 'a.png', '--thresholds', 0.3) == 2
    assert '--thresholds is for clips with any number of labels' in capsys.readouterr().err
    several = write_sets(tmp_path / 'b.pkl')
    for wrong, told in (('2', '2.0 is no threshold'), (str(tmp_path / 'no.json'), 'no file')):
        assert run_tool(tool, config, several, tmp_path / 'a.png', '--thresholds', wrong) == 2
        assert told in capsys.readouterr().err
    assert run_tool(tool, config, several, tmp_path / 'a.png', '--num', 0) == 2
    assert '--num 0: give a number from 1 on' in capsys.readouterr().err
