import pickle

import numpy as np
import pytest
import torch

from mmav.errors import MmavError
from mmav.evaluation import Accuracy, ActionAccuracy, DumpPredictions, MultiLabelMetric
from mmav.evaluation.actions import as_actions
from mmav.evaluation.predictions import accuracy_of, load_predictions
from mmav.structures import AVDataSample


def test_dump_says_what_the_metric_says(tmp_path):
    path = tmp_path / 'p.pkl'
    dump, metric = DumpPredictions(str(path)), Accuracy(topk=(1, 2))
    dump.dataset_meta = dict(classes=('a', 'b', 'c'))
    generator = torch.Generator().manual_seed(0)
    samples = []
    for i in range(20):
        meta = dict(path=f'{i}.mp4', start=0.5, end=2.5, sample_idx=i, broken='torn' if i == 3 else None)
        made = AVDataSample(metainfo=meta).set_gt_label(i % 3)
        samples.append(made.set_pred_score(torch.rand(3, generator=generator)).to_dict())
    for one in (dump, metric):
        one.process(None, samples)
    expected = metric.evaluate(20)
    assert dump.evaluate(20) == {}
    loaded, classes = load_predictions(path)
    assert classes == dict(label=['a', 'b', 'c']) and loaded[3]['broken'] == 'torn' and loaded[5]['end'] == 2.5
    assert loaded[7]['scores']['label'].dtype == np.float32
    # the file is as it always was: of one label no dict
    content = pickle.loads(path.read_bytes())
    assert content['classes'] == ['a', 'b', 'c'] and content['rows'][7]['label'] == 1
    assert isinstance(content['rows'][7]['scores'], np.ndarray)
    assert accuracy_of(loaded, topk=(1, 2)) == {k: v for k, v in expected.items() if k != 'broken'}


def test_dump_of_verbs_and_nouns_with_features(tmp_path):
    path = str(tmp_path / 'p.pkl')
    dump, metric = DumpPredictions(path), ActionAccuracy(topk=(1, 2))
    dump.dataset_meta = dict(classes=dict(verb=('cut', 'wash'), noun=('onion', 'cup', 'pan')))
    generator = torch.Generator().manual_seed(0)
    samples = []
    for i in range(20):
        meta = dict(path=f'{i}.mp4', start=None, end=None, sample_idx=i, broken='torn' if i == 3 else None)
        made = AVDataSample(metainfo=meta).set_gt_label(i % 2, 'verb').set_gt_label(i % 3, 'noun')
        made.set_pred_score(torch.rand(2, generator=generator), 'verb').set_feature(torch.full((4,), float(i)))
        made.set_features(dict(video=torch.full((2,), -i)) if i else {})
        samples.append(made.set_pred_score(torch.rand(3, generator=generator), 'noun').to_dict())
    for one in (dump, metric):
        one.process(None, samples)
    dump.evaluate(20)
    loaded, classes = load_predictions(path)
    assert classes == dict(verb=['cut', 'wash'], noun=['onion', 'cup', 'pan'])
    assert loaded[5]['label'] == dict(verb=1, noun=2) and loaded[5]['feature'].tolist() == [5] * 4
    assert loaded[0]['features'] == {} and loaded[5]['features']['video'].tolist() == [-5, -5]
    assert loaded[5]['features']['video'].dtype == np.float32
    expected = metric.evaluate(20)
    assert accuracy_of(loaded, topk=(1, 2)) == {k: v for k, v in expected.items() if k != 'broken'}
    actions, names = as_actions(loaded, classes)
    assert names[actions[5]['label']['label']] == 'wash pan' and len(names) == len(actions[5]['scores']['label']) == 6
    assert accuracy_of(actions, topk=(1, 2)) == {f'top{k}': expected[f'action_top{k}'] for k in (1, 2)}


def scored(index, multi_label=False):
    meta = dict(path=f'{index}.mp4', start=0.0, end=1.0, sample_idx=index, broken='torn' if index == 3 else None)
    generator = torch.Generator().manual_seed(index)
    return AVDataSample(metainfo=meta | dict(multi_label=multi_label)).set_pred_score(
        torch.rand(4, generator=generator)
    )


def test_dump_of_label_sets(tmp_path):
    dump, metric = DumpPredictions(str(tmp_path / 'p.pkl')), MultiLabelMetric()
    sets = [tuple(k for k in range(4) if (i * 7 + k) % 3 == 0) if i else () for i in range(12)]
    samples = []
    for index, labels in enumerate(sets):
        target = torch.zeros(4)
        target[list(labels)] = 1
        samples.append(scored(index, True).set_gt_score(target).to_dict())
    for one in (dump, metric):
        one.process(None, samples)
    dump.evaluate(12)
    expected = metric.evaluate(12)
    loaded, _ = load_predictions(tmp_path / 'p.pkl')
    assert [row['label']['label'] for row in loaded] == sets
    assert accuracy_of(loaded) == {name: value for name, value in expected.items() if name != 'broken'}


def test_dump_of_clips_without_labels(tmp_path):
    dump = DumpPredictions(str(tmp_path / 'p.pkl'))
    dump.process(None, [scored(index).to_dict() for index in range(3)])
    dump.evaluate(3)
    loaded, _ = load_predictions(tmp_path / 'p.pkl')
    assert [row['label'] for row in loaded] == [{}] * 3 and loaded[1]['scores']['label'].shape == (4,)
    half = scored(0).set_gt_label(1, 'verb').set_pred_score(torch.ones(2), 'verb')
    half.set_pred_score(torch.ones(2), 'noun')
    with pytest.raises(MmavError, match=r'0\.mp4 has no label and noun: label all parts'):
        dump.process(None, [half.to_dict()])
