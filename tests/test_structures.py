import pytest
import torch
from mmengine.structures import BaseDataElement

from mmav.errors import ConfigError
from mmav.structures import AVDataSample, Tokens, action_scores, as_given, as_parts, predicted_parts


def test_sample_carries_truth_prediction_and_origin():
    sample = AVDataSample(metainfo=dict(path='a.mp4', start=1.0, end=3.0)).set_gt_label(2)
    sample.set_pred_score(torch.tensor([0.1, 0.7, 0.2])).set_gt_score(torch.tensor([0.5, 0.5, 0.0]))
    assert sample.gt_label.dtype == torch.int64
    assert int(sample.pred_label) == 1
    assert (sample.path, sample.start, sample.end) == ('a.mp4', 1.0, 3.0)
    assert set(sample.to_dict()) == {'gt_label', 'gt_score', 'pred_score', 'pred_label'} | {'path', 'start', 'end'}


def test_notes_that_can_change_are_copied():
    notes = dict(path='a.mp4', broken=None, times=[1.0])
    sample = AVDataSample(metainfo=notes)
    notes['times'].append(2.0)
    assert (sample.path, sample.broken, sample.times) == ('a.mp4', None, [1.0])
    assert sample.to('cpu').times is not sample.times and sorted(sample.metainfo_keys()) == ['broken', 'path', 'times']


def test_a_moved_sample_is_what_mmengine_makes_of_it():
    sample = AVDataSample(metainfo=dict(path='a.mp4', times=[1.0])).set_gt_label(2).set_pred_score(torch.ones(2))
    sample.set_features(dict(video=torch.ones(3)))
    moved, theirs = sample.to(torch.float64), BaseDataElement.to(sample, torch.float64)
    assert type(moved) is AVDataSample and sorted(moved.all_keys()) == sorted(theirs.all_keys())
    assert sorted(moved.metainfo_keys()) == ['path', 'times'] and moved.times == [1.0]
    assert moved.times is not sample.times and moved.pred_score.dtype == theirs.pred_score.dtype == torch.float64
    moved.set_gt_label(1).set_field(3, 'other')
    assert int(sample.gt_label) == 2 and 'other' not in sample and 'features' in moved


def test_target_is_the_soft_one_where_there_is_one():
    sample = AVDataSample().set_gt_label(2).set_gt_label(3, 'verb')
    assert sample.target() == 2 and sample.target('verb') == 3
    sample.set_gt_score(torch.tensor([0.5, 0.5]), 'verb')
    assert sample.target('verb').tolist() == [0.5, 0.5] and sample.target() == 2
    with pytest.raises(ValueError, match=r"no noun, only \['gt_label', .*: give the manifest a column 'noun'"):
        sample.target('noun')


def test_verb_and_noun_are_predicted_apart():
    sample = AVDataSample().set_pred_score(torch.tensor([0.1, 0.9]), 'verb')
    sample.set_pred_score(torch.tensor([0.2, 0.3, 0.5]), 'noun')
    assert (int(sample.pred_verb), int(sample.pred_noun)) == (1, 2)
    assert 'pred_label' not in sample and 'pred_score' not in sample
    assert predicted_parts(sample) == predicted_parts(sample.to_dict()) == ('verb', 'noun')


def test_action_scores_equal_a_loop():
    verb, noun = torch.rand(2, 3), torch.rand(2, 4)
    expected = [[[verb[b, v] * noun[b, n] for n in range(4)] for v in range(3)] for b in range(2)]
    torch.testing.assert_close(action_scores(verb, noun), torch.tensor(expected))


def test_tokens_unpack():
    cls, patches, grid = Tokens(torch.zeros(2, 4), torch.zeros(2, 6, 4), (2, 3))
    assert cls.shape == (2, 4) and patches.shape == (2, 6, 4) and grid == (2, 3)


def test_parts_keep_the_order_in_which_they_were_predicted():
    names = [f'part{k}' for k in range(20)]  # as a set they would be in any order
    sample = AVDataSample()
    for name in (*names, *names):
        sample.set_pred_score(torch.tensor([0.1, 0.9]), name)
    assert predicted_parts(sample) == tuple(names)
    both = AVDataSample().set_pred_score(torch.tensor([1.0])).set_pred_score(torch.tensor([1.0]), 'scene')
    assert predicted_parts(both) == ('label', 'scene')
    assert predicted_parts(AVDataSample().set_pred_score(torch.tensor([1.0]))) == ('label',)


def test_one_label_is_a_dict_inside_and_none_in_files():
    for given in (3, ['a', 'b'], dict(verb=1, noun=2), None):
        assert as_given(as_parts(given)) == given
    parts = dict(verb=1)
    assert as_parts(parts) == parts and as_parts(parts) is not parts and as_given(parts) == parts


def test_any_number_of_labels():
    sample = AVDataSample(metainfo=dict(path='a.mp4')).set_gt(dict(verb=(2, 0), noun=()), dict(verb=3, noun=2))
    assert sample.target('verb').tolist() == [1, 0, 1] and sample.target('noun').tolist() == [0, 0]
    assert sample.multi_label and sorted(sample.keys()) == ['gt_noun_score', 'gt_verb_score']
    assert 'multi_label' not in AVDataSample().set_gt(dict(label=2))
    with pytest.raises(ConfigError, match=r'a.mp4 has several labels, \(1,\), of an unknown number of classes'):
        AVDataSample(metainfo=dict(path='a.mp4')).set_gt((1,))
