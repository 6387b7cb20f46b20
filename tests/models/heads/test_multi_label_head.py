import pytest
import torch
import torch.nn.functional as F

from mmav.errors import ConfigError
from mmav.models import ClsHead, MultiLabelHead
from mmav.registry import MODELS
from mmav.structures import AVDataSample

TARGET = torch.tensor([[1.0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
MASKS = dict(video=torch.tensor([True, True, False, False]), audio=torch.tensor([True, False, True, False]))


def make(streams=('fused',), **kwargs):
    torch.manual_seed(0)
    head = MultiLabelHead(5, dict.fromkeys(streams, 8), **kwargs)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head.eval(), {name: torch.randn(4, 8) for name in streams}


def test_one_stream_is_a_logistic_regression_of_each_class():
    head, streams = make()
    logits = head(streams)['fused']
    torch.testing.assert_close(head.predict(streams), dict(label=1 / (1 + (-logits).exp())))
    losses = head.loss(streams, dict(label=TARGET))
    torch.testing.assert_close(losses['loss_cls'], F.binary_cross_entropy_with_logits(logits, TARGET))
    assert losses.keys() == {'loss_cls', 'hit1'}


def test_streams_average_probabilities_and_losses_of_a_clip():
    head, streams = make(('video', 'audio'))
    probs = {name: value.sigmoid() for name, value in head(streams).items()}
    both = (probs['video'] + probs['audio']) / 2
    torch.testing.assert_close(head.predict(streams)['label'], both)
    expected = torch.stack([both[0], probs['video'][1], probs['audio'][2], both[3]])
    torch.testing.assert_close(head.predict(streams, MASKS)['label'], expected)
    clips = {
        name: F.binary_cross_entropy_with_logits(value, TARGET, reduction='none').mean(1)
        for name, value in head(streams).items()
    }
    mean = (clips['video'] + clips['audio']) / 2
    expected = torch.stack([mean[0], clips['video'][1], clips['audio'][2], mean[3]]).mean()
    torch.testing.assert_close(head.loss(streams, dict(label=TARGET), MASKS)['loss_cls'], expected)


def test_geometric_mean_of_yes_and_no():
    head, streams = make(('video', 'audio'), average='geometric')
    probs = torch.stack([value.sigmoid() for value in head(streams).values()])
    yes, no = probs.prod(0).sqrt(), (1 - probs).prod(0).sqrt()
    torch.testing.assert_close(head.predict(streams)['label'], yes / (yes + no))


@pytest.mark.parametrize(
    ('target', 'best', 'hit'),
    [
        ([1, 0, 1], 2, 1.0),
        ([1, 0, 1], 1, 0.0),
        ([0, 0, 0], 1, 0.0),  # nothing to hit
        ([0.7, 0.3, 0.7], 0, 1.0),  # mixed
        ([0.7, 0.3, 0.7], 1, 0.0),
    ],
)
def test_hit_of_the_training_log(target, best, hit):
    head = MultiLabelHead(3, dict(x=3))
    torch.nn.init.eye_(head.fcs['x'].weight)
    torch.nn.init.zeros_(head.fcs['x'].bias)
    streams = dict(x=torch.eye(3)[best : best + 1])
    assert head.loss(streams, dict(label=torch.tensor([target]).float()))['hit1'] == hit


def test_samples_and_predictions():
    head, streams = make(part='verb')
    samples = [AVDataSample().set_gt_labels(row.nonzero().flatten().tolist(), 5, 'verb') for row in TARGET]
    assert torch.equal(head.targets(samples)['verb'], TARGET)
    scores = head.predict(streams)
    head.write(samples, scores)
    for sample, score in zip(samples, scores['verb'], strict=True):
        assert torch.equal(sample.pred_verb_score, score) and sample.pred_verb == score.argmax()


def test_losses_and_heads_of_the_other_kind():
    with pytest.raises(ConfigError, match='CrossEntropyLoss is for one label a clip, MultiLabelHead for any number .*'):
        MultiLabelHead(5, dict(x=8), dict(type='CrossEntropyLoss'))
    with pytest.raises(ConfigError, match='BCELoss is for any number .*; use CrossEntropyLoss, or MultiLabelHead'):
        ClsHead(5, dict(x=8), dict(type='BCELoss'))
    assert MultiLabelHead.multi_label and not ClsHead.multi_label and not MODELS.get('VerbNounHead').multi_label


def test_clips_of_one_label_are_refused():
    head, streams = make()
    samples = [AVDataSample().set_gt_label(0) for _ in range(4)]
    with pytest.raises(ConfigError, match=r'needs a target \(B, C\) for each class.*multi_label=True'):
        head.loss(streams, head.targets(samples))
