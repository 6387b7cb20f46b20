import logging

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score, top_k_accuracy_score

from mmav.errors import MmavError
from mmav.evaluation import Accuracy
from mmav.structures import AVDataSample


def sample(scores, label, broken=None):
    made = AVDataSample(metainfo=dict(path=f'{label}.mp4', start=0.0, end=1.0, sample_idx=0, broken=broken))
    return made.set_gt_label(label).set_pred_score(torch.as_tensor(scores, dtype=torch.float32)).to_dict()


def test_equals_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels = rng.dirichlet(np.ones(10), size=200).astype(np.float32), rng.integers(10, size=200)
    metric = Accuracy(topk=(1, 3, 5))
    for part in np.split(np.arange(200), 4):  # four batches
        metric.process(None, [sample(scores[i], int(labels[i])) for i in part])
    result = metric.evaluate(200)
    for k in (1, 3, 5):
        assert result[f'top{k}'] == pytest.approx(
            top_k_accuracy_score(labels, scores, k=k, labels=range(10)), abs=1e-12
        )
    assert result['broken'] == 0


def test_broken_clips_count_as_wrong_and_are_named(caplog):
    metric = Accuracy()
    metric.process(None, [sample([0.9, 0.1], 0), sample([0.9, 0.1], 0, broken='no such file')])
    with caplog.at_level(logging.WARNING):
        result = metric.evaluate(2)
    assert result == dict(top1=0.5, top5=0.5, broken=1)


@pytest.mark.parametrize('scores', [[0.5, 0.5], [float('nan'), float('nan')]])
def test_saying_nothing_is_never_right(scores):
    metric = Accuracy(topk=1)
    metric.process(None, [sample(scores, 0), sample(scores, 1)])
    assert metric.evaluate(2)['top1'] == 0


def test_results_of_one_epoch_do_not_reach_the_next():
    metric = Accuracy(prefix='val')
    for scores, expected in (([0.9, 0.1], 1.0), ([0.1, 0.9], 0.0)):
        metric.process(None, [sample(scores, 0)])
        assert metric.evaluate(1)['val/top1'] == expected


def test_bad_k():
    with pytest.raises(ValueError, match=r'topk must be positive numbers, got \(0,\)'):
        Accuracy(topk=(0,))


@pytest.mark.parametrize('label', [2, -1])
def test_a_label_beyond_the_scores_is_one_line(label):
    with pytest.raises(MmavError, match=f'label {label}, but the model tells 2 classes apart'):
        Accuracy().process(None, [sample([0.9, 0.1], label)])


@pytest.mark.filterwarnings('ignore:y_pred contains classes not in y_true')
@pytest.mark.parametrize('seed', range(10))
def test_mean_class_and_macro_f1_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 4], p=[0.7, 0.2, 0.05, 0.05], size=80)  # no clip is of class 3
    labels[:4] = 0, 1, 2, 4
    scores = rng.dirichlet(np.ones(5), size=80).astype(np.float32)
    metric = Accuracy(mean_class=True, macro_f1=True)
    metric.process(None, [sample(scores[i], int(labels[i])) for i in range(80)])
    result, predicted = metric.evaluate(80), scores.argmax(axis=1)
    assert result['mean_class'] == pytest.approx(recall_score(labels, predicted, labels=[0, 1, 2, 4], average='macro'))
    assert result['mean_class'] == pytest.approx(balanced_accuracy_score(labels, predicted), abs=1e-9)
    assert result['macro_f1'] == pytest.approx(f1_score(labels, predicted, average='macro'), abs=1e-9)
    assert (3 in predicted) and result['macro_f1'] != result['mean_class']


def test_no_answer_is_an_error_of_its_class():
    metric = Accuracy(topk=1, mean_class=True, macro_f1=True)
    tie, silent = sample([0.5, 0.5], 1), sample([float('nan')] * 2, 1)
    metric.process(None, [sample([0.9, 0.1], 0), sample([0.1, 0.9], 1, broken='torn'), tie, silent])
    # of class 1 none is right; the tie is taken for class 0
    assert metric.evaluate(4) == dict(top1=0.25, mean_class=0.5, macro_f1=pytest.approx((2 / 3 + 0) / 2), broken=1)


def test_sets_of_labels_and_no_label_are_one_line():
    made = AVDataSample(metainfo=dict(path='a.mp4', multi_label=True)).set_gt_score(torch.tensor([1.0, 0]))
    with pytest.raises(MmavError, match=r'Accuracy is for clips with one label each, a\.mp4 has a set of them'):
        Accuracy().process(None, [made.set_pred_score(torch.tensor([0.9, 0.1])).to_dict()])
    bare = AVDataSample(metainfo=dict(path='a.mp4')).set_pred_score(torch.tensor([0.9, 0.1]))
    with pytest.raises(MmavError, match=r'needs a label of each clip, a\.mp4 has none: leave the metric out'):
        Accuracy().process(None, [bare.to_dict()])
