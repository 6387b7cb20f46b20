import logging

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score

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
