import torch

from mmav.structures import AVDataSample, Tokens


def test_sample_carries_truth_prediction_and_origin():
    sample = AVDataSample(metainfo=dict(path='a.mp4', start=1.0, end=3.0)).set_gt_label(2)
    sample.set_pred_score(torch.tensor([0.1, 0.7, 0.2])).set_gt_score(torch.tensor([0.5, 0.5, 0.0]))
    assert sample.gt_label.dtype == torch.int64
    assert int(sample.pred_label) == 1
    assert (sample.path, sample.start, sample.end) == ('a.mp4', 1.0, 3.0)
    assert set(sample.to_dict()) == {'gt_label', 'gt_score', 'pred_score', 'pred_label'} | {'path', 'start', 'end'}


def test_tokens_unpack():
    cls, patches, grid = Tokens(torch.zeros(2, 4), torch.zeros(2, 6, 4), (2, 3))
    assert cls.shape == (2, 4) and patches.shape == (2, 6, 4) and grid == (2, 3)
