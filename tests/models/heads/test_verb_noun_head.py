import pytest
import torch
import torch.nn.functional as F

from mmav.models import VerbNounHead
from mmav.structures import AVDataSample


def make(streams=('fused',), **kwargs):
    torch.manual_seed(0)
    head = VerbNounHead(4, 6, dict.fromkeys(streams, 8), **kwargs)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head.eval(), {name: torch.randn(3, 8) for name in streams}


def make_samples():
    return [AVDataSample().set_gt_label(i, 'verb').set_gt_label(5 - i, 'noun') for i in range(3)]


def test_loss_is_the_mean_of_both():
    head, streams = make()
    logits = head(streams)
    verb, noun = torch.tensor([0, 1, 2]), torch.tensor([5, 4, 3])
    losses = head.loss(streams, head.targets(make_samples()))
    expected = (F.cross_entropy(logits['verb']['fused'], verb) + F.cross_entropy(logits['noun']['fused'], noun)) / 2
    torch.testing.assert_close(losses['loss_cls'], expected)
    assert [key for key in losses if 'loss' in key] == ['loss_cls']  # MMEngine adds up what is named a loss
    assert losses['top1_noun'] == (logits['noun']['fused'].argmax(-1) == noun).float().mean()


def test_soft_labels_of_both():
    head, streams = make()
    verb, noun = torch.rand(3, 4).softmax(-1), torch.rand(3, 6).softmax(-1)
    samples = make_samples()
    for i, sample in enumerate(samples):
        sample.set_gt_score(verb[i], 'verb').set_gt_score(noun[i], 'noun')
    logits = head(streams)
    expected = (F.cross_entropy(logits['verb']['fused'], verb) + F.cross_entropy(logits['noun']['fused'], noun)) / 2
    torch.testing.assert_close(head.loss(streams, head.targets(samples))['loss_cls'], expected)


def test_predictions_are_written_apart_and_absent_streams_left_out():
    head, streams = make(('video', 'audio'))
    masks = dict(video=torch.tensor([True, True, False]), audio=torch.tensor([True, False, True]))
    logits, scores, samples = head(streams), head.predict(streams, masks), make_samples()
    head.write(samples, scores)
    torch.testing.assert_close(samples[1].pred_noun_score, logits['noun']['video'][1].softmax(-1))
    torch.testing.assert_close(samples[2].pred_verb_score, logits['verb']['audio'][2].softmax(-1))
    assert samples[0].pred_verb == scores['verb'][0].argmax()


def test_loss_config_and_dropout_reach_both():
    head, streams = make(loss=dict(type='CrossEntropyLoss', label_smoothing=0.1), dropout=0.5)
    logits = head(streams)
    parts = [
        F.cross_entropy(logits[part]['fused'], target, label_smoothing=0.1)
        for part, target in head.targets(make_samples()).items()
    ]
    torch.testing.assert_close(head.loss(streams, head.targets(make_samples()))['loss_cls'], sum(parts) / 2)
    assert not torch.equal(head.train()(streams)['noun']['fused'], logits['noun']['fused'])


def test_bad_arguments():
    with pytest.raises(ValueError, match='num_classes=0 must be a whole number above 0'):
        VerbNounHead(0, 6, dict(fused=8))
    with pytest.raises(ValueError, match='needs the width of at least one stream'):
        VerbNounHead(4, 6)
    with pytest.raises(TypeError, match="'num_verbs' and 'num_nouns'"):  # no dataset's numbers by default
        VerbNounHead(in_dims=dict(fused=8))
    with pytest.raises(ValueError, match="no verb, only .*give the manifest a column 'verb'"):
        make()[0].targets([AVDataSample().set_gt_label(1)])
