from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

from mmav.errors import MmavError
from mmav.evaluation.error_analysis import calibration
from mmav.evaluation.label_set_errors import (
    class_table,
    false_alarms,
    label_calibration,
    label_confusion,
    modality_scores,
    worst_clips,
)
from mmav.evaluation.label_sets import read_label_sets
from mmav.evaluation.predictions import save_predictions
from tests.evaluation.sets import NAMES, random_sets, set_rows, write_sets


@pytest.fixture
def sets(tmp_path):
    return read_label_sets(write_sets(tmp_path / 'p.pkl', broken={3, 40}))


def made(tmp_path, scores, truth, broken=(), name='m.pkl', classes=NAMES[:3]):
    save_predictions(tmp_path / name, set_rows(scores, truth, broken), classes)
    return read_label_sets(tmp_path / name)


def test_table_of_classes_is_scikit_learns(tmp_path):
    scores, truth = random_sets()
    truth[:, 4] = False
    found = made(tmp_path, scores, truth, classes=NAMES)
    rows = class_table(found, 0.4)
    assert [row['class'] for row in rows][-1] == 'bell' and sorted(row['class'] for row in rows) == sorted(NAMES)
    precision, recall, f1, support = precision_recall_fscore_support(truth, scores >= 0.4, zero_division=0)
    for row in rows[:-1]:
        k = NAMES.index(row['class'])
        assert row['AP'] == pytest.approx(average_precision_score(truth[:, k], scores[:, k]))
        assert row['AUC'] == pytest.approx(roc_auc_score(truth[:, k], scores[:, k]))
        values = precision[k], recall[k], f1[k], support[k], support[k] / 80
        assert [row[name] for name in ('precision', 'recall', 'F1', 'support', 'share')] == pytest.approx(values)
        assert row['best_F1'] >= row['F1'] and row['predicted'] == (scores[:, k] >= 0.4).sum()
    assert [row['AP'] for row in rows[:-1]] == sorted(row['AP'] for row in rows[:-1])
    nothing = ('AP', 'AUC', 'F1', 'recall', 'best_threshold', 'best_F1')
    assert all(rows[-1][name] is None for name in nothing) and rows[-1]['support'] == 0
    # a threshold for each class
    each = np.array([0.1, 0.9, 0.4, 0.4, 0.4])
    assert {row['class']: row['predicted'] for row in class_table(found, each)}['dog'] == (scores[:, 0] >= 0.1).sum()


def test_confusion_and_false_alarms_are_those_of_a_loop(sets):
    counts = label_confusion(sets, 0.5)
    expected = np.zeros((5, 6), dtype=int)
    for true, score, read in zip(sets.labels, sets.scores, ~sets.broken, strict=True):
        for k in np.flatnonzero(true):
            if not read:
                expected[k, 5] += 1
                continue
            for guess in np.flatnonzero(score >= 0.5):
                expected[k, guess] += guess == k or not true[guess]
    assert np.array_equal(counts, expected) and counts[:, 5].any()
    pairs = false_alarms(sets, 0.5)
    assert pairs and [pair['excess'] for pair in pairs] == sorted((p['excess'] for p in pairs), reverse=True)
    for pair in pairs:
        a, b = NAMES.index(pair['true']), NAMES.index(pair['predicted'])
        clips = [i for i in np.flatnonzero(sets.answered) if sets.labels[i, a] and not sets.labels[i, b]]
        others = [i for i in np.flatnonzero(sets.answered) if not sets.labels[i, a] and not sets.labels[i, b]]
        hits = [i for i in clips if sets.scores[i, b] >= 0.5]
        elsewhere = np.mean([sets.scores[i, b] >= 0.5 for i in others])
        assert pair['count'] == len(hits) == expected[a, b] and pair['share'] == pytest.approx(len(hits) / len(clips))
        assert pair['elsewhere'] == pytest.approx(elsewhere)
        assert pair['excess'] == pytest.approx(len(hits) - len(clips) * elsewhere, abs=1e-5)
        assert pair['instead'] == sum(sets.scores[i, a] < 0.5 for i in hits)


def test_a_class_that_is_taken_for_another_comes_first(tmp_path):
    scores, truth = random_sets(clips=200, noise=0.8)
    dogs = truth[:, 0] & ~truth[:, 1]
    scores[dogs, 1] = 0.9
    assert (lambda pair: (pair['true'], pair['predicted']))(
        false_alarms(made(tmp_path, scores, truth, classes=NAMES), 0.5)[0]
    ) == ('dog', 'cat')


def test_calibration_of_pairs(sets):
    found = label_calibration(sets)
    kept = sets.answered
    scores, truth = sets.scores[kept].astype(float), sets.labels[kept]
    assert found['ece'] == pytest.approx(calibration(scores.ravel(), truth.ravel())['ece'], abs=1e-9)
    assert found['clips'] == scores.size
    each = [calibration(scores[:, k], truth[:, k])['ece'] for k in range(5)]
    assert found['ece_classes'] == pytest.approx(np.mean(each))
    # a share of 0.3 that is given 0.3 is calibrated
    flat = replace(sets, scores=np.full((80, 5), 0.3), labels=np.random.default_rng(0).random((80, 5)) < 0.3)
    assert label_calibration(flat)['ece'] < 0.05
    assert label_calibration(replace(flat, scores=np.full((80, 5), 0.8)))['ece'] == pytest.approx(0.5, abs=0.05)


def test_worst_clips_lose_most(tmp_path):
    scores = np.array([[0.9, 0.2, 0.1], [0.05, 0.95, 0.8], [0.6, 0.3, 0.3], [0, 1, 1]])
    truth = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    rows = worst_clips(made(tmp_path, scores, truth, broken={3}), 0.5)
    assert [row['sample_idx'] for row in rows] == [1, 2, 0]
    first = rows[0]
    assert first['loss'] == pytest.approx(-np.log(0.05 * 0.05 * 0.2), rel=1e-5)
    assert (first['labels'], first['missed'], first['false_alarms']) == ('dog', 'dog 0.05', 'cat 0.95|rain 0.80')
    assert rows[1]['missed'] == 'cat 0.30' and rows[2]['missed'] == rows[2]['false_alarms'] == ''


def test_modalities(tmp_path):
    truth = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    audio = made(tmp_path, np.where(truth * [1, 1, 0], 0.9, 0.1), truth, name='a.pkl')
    video = made(tmp_path, np.where(truth * [1, 0, 0], 0.9, 0.1), truth, name='v.pkl')
    model = made(tmp_path, np.where(truth * [1, 1, 1], 0.9, 0.1), truth, name='m.pkl')
    figures, rows = modality_scores(audio, video, model, 0.5)
    assert figures['labels'] == dict(
        both=2, audio_only=2, video_only=0, neither=2, found=dict(both=2, audio_only=2, video_only=0, neither=2)
    )
    assert figures['clips'] == 4 and figures['model']['mAP'] == 1 > figures['audio']['mAP'] > figures['video']['mAP']
    by_name = {row['class']: row for row in rows}
    assert by_name['dog']['gain'] == 0 and by_name['rain']['gain'] == 0.5 and rows[-1]['class'] == 'rain'
    assert (by_name['cat']['AP_audio'], by_name['cat']['AP_video'], by_name['cat']['support']) == (1, 0.5, 2)
    with pytest.raises(MmavError, match=r'differ in the label of 0\.mp4'):
        modality_scores(audio, made(tmp_path, np.ones((4, 3)), 1 - truth, name='x.pkl'), model, 0.5)
