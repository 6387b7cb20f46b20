import pytest
import torch
import torch.nn.functional as F

from mmav.models import ClsHead


def make(streams=('fused',), **kwargs):
    torch.manual_seed(0)
    head = ClsHead(5, dict.fromkeys(streams, 8), **kwargs)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head.eval(), {name: torch.randn(4, 8) for name in streams}


def test_one_stream_is_softmax_regression():
    head, streams = make()
    logits = head(streams)['fused']
    torch.testing.assert_close(head.predict(streams), dict(label=logits.softmax(-1)))
    target = torch.tensor([0, 4, 2, 2])
    losses = head.loss(streams, dict(label=target))
    torch.testing.assert_close(losses['loss_cls'], F.cross_entropy(logits, target))
    assert losses['top1'] == (logits.argmax(-1) == target).float().mean()


def test_streams_average_probabilities_not_logits():
    head, streams = make(('video', 'audio'))
    logits = head(streams)
    expected = (logits['video'].softmax(-1) + logits['audio'].softmax(-1)) / 2
    torch.testing.assert_close(head.predict(streams)['label'], expected)
    target = torch.tensor([0, 4, 2, 2])
    expected = (F.cross_entropy(logits['video'], target) + F.cross_entropy(logits['audio'], target)) / 2
    torch.testing.assert_close(head.loss(streams, dict(label=target))['loss_cls'], expected)


def test_absent_stream_is_left_out_of_its_clip():
    head, streams = make(('video', 'audio'))
    masks = dict(video=torch.tensor([True, True, False, False]), audio=torch.tensor([True, False, True, False]))
    probs = {name: value.softmax(-1) for name, value in head(streams).items()}
    both = (probs['video'] + probs['audio']) / 2
    expected = torch.stack([both[0], probs['video'][1], probs['audio'][2], both[3]])
    torch.testing.assert_close(head.predict(streams, masks)['label'], expected)


def test_masks_do_not_touch_a_fused_stream():
    head, streams = make()
    masks = dict(video=torch.tensor([False] * 4), audio=torch.tensor([True] * 4))
    torch.testing.assert_close(head.predict(streams, masks), head.predict(streams))


def test_soft_labels():
    head, streams = make(loss=dict(type='CrossEntropyLoss', label_smoothing=0.1))
    target = torch.rand(4, 5).softmax(-1)
    log_p = head(streams)['fused'].log_softmax(-1)
    expected = -((0.9 * target + 0.1 / 5) * log_p).sum(-1).mean()
    losses = head.loss(streams, dict(label=target))
    torch.testing.assert_close(losses['loss_cls'], expected)
    assert losses['top1'] == (log_p.argmax(-1) == target.argmax(-1)).float().mean()


def test_logits_of_half_precision_features_are_float32():
    head, streams = make()
    with torch.autocast('cpu', torch.bfloat16):
        assert head(streams)['fused'].dtype == torch.float32


def test_init_weights():
    head, _ = make()
    head.init_weights()
    assert (head.fcs['fused'].bias == 0).all()
    assert 0.005 < head.fcs['fused'].weight.std() < 0.04


def test_bad_arguments():
    with pytest.raises(ValueError, match="num_classes='auto' must be a whole number above 0"):
        ClsHead('auto', dict(fused=8))
    with pytest.raises(ValueError, match='needs the width of at least one stream'):
        ClsHead(5)


def test_dropout_is_before_the_last_layer_and_in_training_only():
    """As in facebookresearch/SlowFast, slowfast/models/head_helper.py (TransformerBasicHead)."""
    head = ClsHead(num_classes=3, in_dims=dict(a=64, b=64), dropout=0.5)
    streams = dict(a=torch.randn(2, 64), b=torch.randn(2, 64))
    torch.manual_seed(0)
    logits = head.train()(streams)
    torch.manual_seed(0)
    for name, fc in head.fcs.items():
        dropped = torch.nn.functional.dropout(streams[name], 0.5)
        assert 0.2 < (dropped == 0).float().mean() < 0.8
        torch.testing.assert_close(logits[name], fc(dropped))
        torch.testing.assert_close(head.eval()(streams)[name], fc(streams[name]))


def test_the_geometric_mean_is_the_root_of_the_product_scaled():
    head, streams = make(('video', 'audio'), average='geometric')
    probs = {name: logits.softmax(-1) for name, logits in head(streams).items()}
    root = (probs['video'] * probs['audio']).sqrt()
    torch.testing.assert_close(head.predict(streams)['label'], root / root.sum(-1, keepdim=True))
    masks = dict(video=torch.tensor([True, True, False, True]), audio=torch.tensor([True, False, True, True]))
    scores = head.predict(streams, masks)['label']
    torch.testing.assert_close(scores[1], probs['video'][1])
    torch.testing.assert_close(scores[2], probs['audio'][2])
    target = dict(label=torch.tensor([0, 4, 2, 2]))
    plain, _ = make(('video', 'audio'))
    losses = head.loss(streams, target)
    torch.testing.assert_close(losses['loss_cls'], plain.loss(streams, target)['loss_cls'])
    assert losses['top1'] == (head.predict(streams)['label'].argmax(-1) == target['label']).float().mean()


def test_an_unknown_mean_is_refused():
    with pytest.raises(
        ValueError, match="average='geometrical' is unknown: choose arithmetic or geometric, did you mean"
    ):
        make(average='geometrical')
