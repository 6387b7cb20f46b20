import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from mmav.errors import MmavError
from mmav.evaluation import MultiLabelMetric
from mmav.evaluation.class_scores import answers_of
from mmav.evaluation.multi_label import d_prime, hits_of, multi_label_scores
from mmav.structures import AVDataSample
from tests.evaluation.test_class_scores import draw


def sample(scores, truth, index=0, broken=None, part='label'):
    made = AVDataSample(metainfo=dict(path=f'{index}.mp4', sample_idx=index, broken=broken, multi_label=True))
    made.set_gt_score(torch.as_tensor(truth, dtype=torch.float32), part)
    return made.set_pred_score(torch.as_tensor(scores, dtype=torch.float32), part).to_dict()


def evaluate(metric, scores, truth, broken=()):
    for first in range(0, len(scores), 16):  # batches
        rows = range(first, min(first + 16, len(scores)))
        metric.process(None, [sample(scores[i], truth[i], i, 'torn' if i in broken else None) for i in rows])
    return metric.evaluate(len(scores))


def slow_statistics(scores, truth):
    """mAP, AUC and d' as YuanGongND/ast has them (src/utilities/stats.py, src/traintest.py): of each class the mean
    precision at the clips that have it, going down through the ranking, and the share of pairs in the right order; the
    means of the classes; and d' of the mean AUC. Without ties.
    """
    precisions, areas = [], []
    for k in range(truth.shape[1]):
        found, at_hits = 0, []
        for place, clip in enumerate(sorted(range(len(scores)), key=lambda i: -scores[i, k]), start=1):
            if truth[clip, k]:
                found += 1
                at_hits.append(found / place)
        precisions.append(sum(at_hits) / len(at_hits))
        pairs = [scores[i, k] > scores[j, k] for i in np.flatnonzero(truth[:, k]) for j in np.flatnonzero(~truth[:, k])]
        areas.append(sum(pairs) / len(pairs))
    area = sum(areas) / len(areas)
    return sum(precisions) / len(precisions), area, math.sqrt(2) * norm.ppf(area)


@pytest.mark.parametrize('seed', range(10))
def test_equals_scikit_learn_and_ast(seed):
    scores, truth = draw(seed)
    result = evaluate(MultiLabelMetric(threshold=0.4), scores, truth)
    assert [result[name] for name in ('mAP', 'AUC', 'd_prime')] == pytest.approx(
        slow_statistics(scores, truth), abs=1e-9
    )
    assert result['mAP'] == pytest.approx(average_precision_score(truth, scores), abs=1e-9)
    assert result['AUC'] == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    for average in ('macro', 'micro'):
        expected = f1_score(truth, scores >= np.float32(0.4), average=average, zero_division=0)
        assert result[f'{average}_f1'] == pytest.approx(expected, abs=1e-9)
    # google/youtube-8m, eval_util.py: the mean truth of the first guesses
    hit = np.mean([truth[i][np.argmax(scores[i])] for i in range(len(scores))])
    assert result['hit1'] == pytest.approx(hit, abs=1e-9) and result['broken'] == 0
    assert result.keys() == {'mAP', 'AUC', 'd_prime', 'hit1', 'macro_f1', 'micro_f1', 'broken'}


def test_broken_clips_are_named_and_raise_nothing(capsys):
    scores, truth = draw(3)
    sure = np.where(truth, 0.9, 0.1)  # would be right, if it counted
    broken = (4, 9, 30)
    scores[list(broken)] = sure[list(broken)]
    kept = [i for i in range(len(scores)) if i not in broken]
    result = evaluate(MultiLabelMetric(), scores, truth, broken)
    told = capsys.readouterr().out
    of_others = evaluate(MultiLabelMetric(), scores[kept], truth[kept])
    assert result.pop('broken') == 3 and of_others.pop('broken') == 0
    assert all(result[name] < of_others[name] for name in result)
    assert result['hit1'] == pytest.approx(of_others['hit1'] * len(kept) / len(scores))
    assert all(f'cannot be read: {i}.mp4: torn' in told for i in broken)


def test_all_broken_or_not_finite_is_nothing_right():
    scores, truth = draw(0)
    for result in (
        evaluate(MultiLabelMetric(), scores, truth, range(len(scores))),
        evaluate(MultiLabelMetric(), np.full_like(scores, np.nan), truth),
    ):
        assert all(result[name] == 0 for name in ('mAP', 'AUC', 'hit1', 'macro_f1', 'micro_f1'))
        assert result['d_prime'] == -math.inf


def test_ties_of_the_first_guess_count_against_it():
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=bool)
    scores = np.array([[0.5, 0.5, 0.1], [0.5, 0.5, 0.1], [0.9, 0.1, 0.1], [np.nan] * 3])
    assert hits_of(answers_of(scores, truth)).tolist() == [False, True, False, False]


def test_classes_left_out_are_told_once(capsys):
    scores, truth = draw(0)
    truth[:, 2], truth[:, 5] = False, True
    metric = MultiLabelMetric()
    metric.dataset_meta = dict(classes=list('abcdefg'))
    results = [evaluate(metric, scores, truth) for _ in range(2)]
    told = [line.partition(' WARNING - ')[2] for line in capsys.readouterr().out.splitlines() if 'left out' in line]
    expected = "mAP, AUC and macro F1 are means of 5 of 7 classes: left out are 1 that no clip has ('c') and "
    assert told == [expected + "1 that every clip has ('f')"]
    kept = [0, 1, 3, 4, 6]
    assert results[0] == results[1]
    assert results[0]['mAP'] == pytest.approx(average_precision_score(truth[:, kept], scores[:, kept]), abs=1e-9)
    expected = f1_score(truth[:, kept], scores[:, kept] >= 0.5, average='macro', zero_division=0)
    assert results[0]['macro_f1'] == pytest.approx(expected, abs=1e-9)
    assert results[0]['micro_f1'] == pytest.approx(f1_score(truth, scores >= 0.5, average='micro'), abs=1e-9)


def test_clips_without_a_label_are_missed_and_told(capsys):
    result = evaluate(MultiLabelMetric(), np.array([[0.9, 0.1], [0.9, 0.2]]), np.array([[1, 0], [0, 0]]))
    assert result['hit1'] == 0.5 and 'hit1 counts 1 clips without a label as missed' in capsys.readouterr().out


def test_thresholds_of_a_file(tmp_path):
    scores, truth = draw(1)
    names = [f'class {k}' for k in range(7)]
    each = {name: 0.3 + 0.05 * k for k, name in enumerate(names)}
    (tmp_path / 't.json').write_text(json.dumps(dict(classes=dict(reversed(each.items())))))
    metric = MultiLabelMetric(str(tmp_path / 't.json'))
    metric.dataset_meta = dict(classes=names)
    metric.check_classes(names)
    expected = f1_score(truth, scores >= np.array(list(each.values())), average='macro')
    assert evaluate(metric, scores, truth)['macro_f1'] == pytest.approx(expected, abs=1e-9)
    with pytest.raises(MmavError, match="has thresholds of other classes: it has none of 'dog'"):
        metric.check_classes(['dog'])


def test_part_and_prefix():
    metric = MultiLabelMetric(part='verb', prefix='val')
    metric.process(None, [sample([0.9, 0.1], [1, 0], 0, part='verb'), sample([0.2, 0.8], [0, 1], 1, part='verb')])
    result = metric.evaluate(2)
    assert result['val/mAP'] == 1 and result['val/d_prime'] == math.inf and metric.parts == ('verb',)


def test_clips_with_one_label_are_refused():
    made = AVDataSample(metainfo=dict(path='a.mp4')).set_gt_label(0).set_pred_score(torch.tensor([0.9, 0.1]))
    with pytest.raises(MmavError, match=r'sets of labels, a\.mp4 has none: give the dataset multi_label=True'):
        MultiLabelMetric().process(None, [made.to_dict()])


@pytest.mark.parametrize('threshold', [-0.1, 1.5, True, 'none.json'])
def test_bad_thresholds(threshold):
    with pytest.raises(MmavError, match='give a number from 0 to 1'):
        MultiLabelMetric(threshold)


def test_d_prime_is_scipys():
    assert d_prime(0.93) == pytest.approx(math.sqrt(2) * norm.ppf(0.93), abs=1e-12)
    assert multi_label_scores(answers_of(*draw(2)))['d_prime'] > 0
