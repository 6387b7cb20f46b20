import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mmav.errors import MmavError
from mmav.evaluation import Accuracy, ActionAccuracy, DumpPredictions
from mmav.evaluation.predictions import (
    accuracy_of,
    as_actions,
    average_predictions,
    load_predictions,
    save_predictions,
)
from mmav.structures import AVDataSample


def rows(scores, labels=None, broken=None):
    labels = labels or [0] * len(scores)
    return [
        dict(
            path=f'data/{i}.mp4',
            start=0.0,
            end=1.0,
            label=dict(label=labels[i]),
            scores=dict(label=np.array(s, dtype=np.float32)),
            broken=(broken or {}).get(i),
            sample_idx=i,
        )
        for i, s in enumerate(scores)
    ]


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
    assert as_actions(rows([[0.5, 0.5]]), dict(label=['a', 'b']))[1] == ['a', 'b']


def test_average_of_verbs_and_nouns():
    def row(verb, noun):
        scores = dict(verb=np.float32(verb), noun=np.float32(noun))
        return dict(rows([[0]])[0], label=dict(verb=0, noun=1), scores=scores, feature=np.zeros(2), features={})

    (one,) = average_predictions([[row([1, 0], [0.2, 0.8])], [row([0, 1], [0.6, 0.4])]], [3, 1])
    assert one['scores']['verb'].tolist() == [0.75, 0.25] and not {'feature', 'features'} & set(one)
    assert one['scores']['noun'].tolist() == pytest.approx([0.3, 0.7])
    with pytest.raises(MmavError, match='number of classes'):
        average_predictions([[row([1, 0], [0.2, 0.8])], [row([1, 0], [1.0])]])


class Evil:
    def __reduce__(self):
        return Path.touch, (Path('ran'),)


def test_a_pickle_with_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'p.pkl').write_bytes(pickle.dumps(dict(rows=[Evil()], classes=None)))
    with pytest.raises(MmavError, match=r'not a file of predictions: .* is not allowed'):
        load_predictions('p.pkl')
    assert not (tmp_path / 'ran').exists()


def test_missing_or_foreign_file(tmp_path):
    with pytest.raises(MmavError, match=r"no file 'p\.pkl': write one with mmav test"):
        load_predictions('p.pkl')
    save_predictions(tmp_path / 'p.pkl', [dict(path='a')])
    with pytest.raises(MmavError, match='it has no rows with path, start'):
        load_predictions(tmp_path / 'p.pkl')


def test_average_in_any_order_and_folder():
    first = rows([[0.8, 0.2], [0.6, 0.4]])
    second = [dict(row, path=f'moved/{Path(row["path"]).name}') for row in reversed(rows([[0.4, 0.6], [0.0, 1.0]]))]
    averaged = average_predictions([first, second])
    assert [row['scores']['label'].tolist() for row in averaged] == [
        pytest.approx([0.6, 0.4]),
        pytest.approx([0.3, 0.7]),
    ]
    weighted = average_predictions([first, second], [3, 1])
    assert weighted[1]['scores']['label'].tolist() == pytest.approx([0.45, 0.55])


def test_a_model_that_could_not_read_a_clip_has_no_say():
    first, second = rows([[0.5, 0.5]], broken={0: 'torn'}), rows([[0.9, 0.1]])
    (one,) = average_predictions([first, second])
    assert one['broken'] is None and one['scores']['label'].tolist() == pytest.approx([0.9, 0.1])
    (both,) = average_predictions([first, first])
    assert both['broken'] == 'torn' and accuracy_of([both])['top1'] == 0


@pytest.mark.parametrize(
    ('second', 'weights', 'message'),
    [
        (rows([[0.5, 0.5]]), None, 'of different clips: only one has 1.mp4 in row 1'),
        (rows([[0.5, 0.5]] * 2, [0, 1]), None, 'differ in the label'),
        (rows([[0.5, 0.3, 0.2]] * 2), None, 'number of classes'),
        (rows([[0.5, 0.5]]) * 2, None, 'a clip twice'),
        (rows([[0.5, 0.5]] * 2), [1], 'need 2 weights'),
        (rows([[0.5, 0.5]] * 2), [1, -1], 'need 2 weights'),
    ],
)
def test_what_cannot_be_averaged(second, weights, message):
    with pytest.raises(MmavError, match=message):
        average_predictions([rows([[0.5, 0.5]] * 2), second], weights)
