import numpy as np
import pytest
import torch

from mmav.inference.results import finish_result, merged_scores, new_result, note_window, predictions_of, top_labels
from mmav.structures import AVDataSample, action_scores


def test_order_names_and_ties():
    scores = np.array([0.2, 0.3, 0.3, 0.2])
    assert [each['index'] for each in top_labels(scores, None, None)] == [1, 2, 0, 3]
    assert top_labels(scores, ('a', 'b', 'c', 'd'), 1) == [dict(label='b', index=1, score=0.3)]
    assert top_labels(scores, None, 1)[0]['label'] == '1'


def test_pairs_are_the_outer_product():
    generator = np.random.default_rng(0)
    verb, noun = generator.dirichlet(np.ones(3)), generator.dirichlet(np.ones(4))
    found = predictions_of(dict(verb=verb, noun=noun), None, None)
    table = action_scores(torch.tensor(verb), torch.tensor(noun)).numpy()
    assert len(found['predictions']) == 12
    assert [each['score'] for each in found['predictions']] == pytest.approx(sorted(table.ravel(), reverse=True))
    for each in found['predictions']:
        assert each['score'] == pytest.approx(table[tuple(each['index'])])
    assert found['predictions'][0]['label'] == f'{verb.argmax()} {noun.argmax()}'


def test_mean_over_windows():
    windows = [dict(label=np.array([0.0, 1.0])), dict(label=np.array([1.0, 0.0]))]
    assert merged_scores(windows)['label'].tolist() == [0.5, 0.5]
    parts = [dict(verb=np.array([0.2]), noun=np.array([0.4])), dict(verb=np.array([0.6]), noun=np.array([0.0]))]
    assert merged_scores(parts) == {'verb': pytest.approx([0.4]), 'noun': pytest.approx([0.2])}


def test_labels_are_those_that_reach_their_thresholds():
    scores = dict(label=np.array([0.2, 0.6, 0.5, 0.9]))
    names = dict(label=('a', 'b', 'c', 'd'))
    found = predictions_of(scores, names, 1, dict(label=np.array([0.1, 0.7, 0.5, 0.5])))
    assert [each['label'] for each in found['predictions']] == ['d']
    assert [each['label'] for each in found['labels']] == ['d', 'c', 'a']
    assert predictions_of(scores, names, 1, dict(label=np.ones(4)))['labels'] == []


def test_an_event_of_one_window_is_one_of_the_clip_with_max():
    windows = [dict(label=np.array([0.0, 0.8])), dict(label=np.array([0.6, 0.0]))]
    assert merged_scores(windows, 'max')['label'].tolist() == [0.6, 0.8]


def test_a_result_grows_window_by_window():
    result = new_result('clip.mp4', ['audio'])
    for k, present in enumerate([False, True]):
        sample = AVDataSample(metainfo=dict(start=float(k), end=k + 1.0))
        item = dict(data_samples=sample, masks=dict(video=torch.tensor(present), audio=torch.tensor(False)))
        note_window(result, item, dict(predictions=[k]))
    scores = [dict(label=np.array([1.0, 0.0])), dict(label=np.array([0.0, 1.0]))]
    names = dict(label=('a', 'b'))
    finish_result(result, scores, ('video', 'audio'), lambda each: predictions_of(each, names, 1))
    assert result['present'] == ['video'] and result['missing'] == [] and result['error'] is None
    assert result['predictions'] == [dict(label='a', index=0, score=0.5)]
    assert result['windows'][1] == dict(start=1.0, end=2.0, predictions=[1])


def test_without_a_window_the_first_reason_is_the_error():
    result = new_result('clip.mp4', [])
    result['skipped'] = [dict(start=0, end=1, reason='torn'), dict(start=1, end=2, reason='other')]
    finish_result(result, [], ('video',), lambda each: {})
    assert result['error'] == 'torn' and result['predictions'] == []
