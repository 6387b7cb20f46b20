import math

import pytest
import torch
from torch import nn

from mmav.errors import ConfigError
from mmav.models import ClsHead, TrainingBatch, UnimodalHeads
from mmav.registry import MODELS
from mmav.structures import Tokens

WIDTHS = dict(video=6, audio=4)
CLS = dict(type='ClsHead', num_classes=3)


def make(head=CLS, **kwargs):
    torch.manual_seed(0)
    part = UnimodalHeads(WIDTHS, head, **kwargs)
    for parameter in part.parameters():
        nn.init.normal_(parameter, std=0.5)
    return part


def make_batch(target, masks=None, grad=False):
    generator = torch.Generator().manual_seed(1)
    tokens = {}
    for m, width in WIDTHS.items():
        cls, patches = torch.randn(4, width, generator=generator), torch.randn(4, 5, width, generator=generator)
        tokens[m] = Tokens(cls.requires_grad_(grad), patches.requires_grad_(grad), (5,))
    targets = target if isinstance(target, dict) else dict(label=target)
    return TrainingBatch({}, tokens, {}, targets, masks, 1, None)


def cross_entropy(logits, target):
    """-sum_c y(c) log p(c), clip by clip."""
    total = 0.0
    for row, y in zip(logits.tolist(), target.tolist(), strict=True):
        biggest = max(row)
        norm = biggest + math.log(sum(math.exp(x - biggest) for x in row))
        y = [float(c == y) for c in range(len(row))] if isinstance(y, int) else y
        total += -sum(weight * (x - norm) for weight, x in zip(y, row, strict=True))
    return total / len(logits)


@pytest.mark.parametrize('pool', ['class', 'patches'])
@pytest.mark.parametrize('soft', [False, True])
def test_each_modality_has_its_loss_and_its_share_of_hits(pool, soft):
    part = make(pool=pool, loss_weight=dict(audio=0.5))
    target = torch.tensor([0, 2, 1, 1])
    if soft:
        target = nn.functional.one_hot(target, 3).float().lerp(nn.functional.one_hot(target.flip(0), 3).float(), 0.3)
    batch = make_batch(target)
    found = part.loss(batch)
    assert set(found) == {'loss_video', 'loss_audio', 'top1_video', 'top1_audio'}
    for m, weight in dict(video=1.0, audio=0.5).items():
        x = batch.tokens[m].cls if pool == 'class' else batch.tokens[m].patches.mean(1)
        fc = part.heads[m].fcs[m]
        logits = x @ fc.weight.T + fc.bias
        assert found[f'loss_{m}'].item() == pytest.approx(weight * cross_entropy(logits, target), abs=1e-5)
        label = target.argmax(-1) if soft else target
        assert float(found[f'top1_{m}']) == float((logits.argmax(-1) == label).float().mean())


def test_clips_without_a_modality_are_left_out():
    part, target = make(), torch.tensor([0, 2, 1, 1])
    masks = dict(video=torch.ones(4).bool(), audio=torch.tensor([True, False, True, False]))
    batch = make_batch(target, masks, grad=True)
    batch.tokens['audio'].cls.data[1] = float('nan')
    found = part.loss(batch)
    there = make_batch(target)
    logits = part.logits(there.tokens)['label']['audio'][masks['audio']]
    assert found['loss_audio'].item() == pytest.approx(cross_entropy(logits, target[masks['audio']]), abs=1e-5)
    assert float(found['top1_audio']) == float((logits.argmax(-1) == target[masks['audio']]).float().mean())
    found['loss_audio'].backward()
    gradient = batch.tokens['audio'].cls.grad
    assert gradient[[1, 3]].abs().sum() == 0 and (gradient[[0, 2]].abs().sum(1) > 0).all()
    nowhere = part.loss(make_batch(target, dict(masks, audio=torch.zeros(4).bool())))
    assert nowhere['loss_audio'] == 0 and nowhere['top1_audio'] == 0


def test_verbs_and_nouns_and_any_number_of_labels():
    part = make(dict(type='VerbNounHead', num_verbs=2, num_nouns=3))
    target = dict(verb=torch.tensor([0, 1, 1, 0]), noun=torch.tensor([0, 2, 1, 1]))
    batch = make_batch(target)
    found, logits = part.loss(batch), part.logits(batch.tokens)
    losses = [cross_entropy(logits[name]['audio'], target[name]) for name in target]
    assert found['loss_audio'].item() == pytest.approx(sum(losses) / 2, abs=1e-5)
    assert {'top1_verb_video', 'top1_noun_audio'} <= set(found)
    part = make(dict(type='MultiLabelHead', num_classes=3))
    found = part.loss(make_batch(torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0.3, 0.7]])))
    assert set(found) == {'loss_video', 'loss_audio', 'hit1_video', 'hit1_audio'} and found['loss_video'] > 0


def test_detached_heads_only_measure():
    part, batch = make(detach=True), make_batch(torch.tensor([0, 2, 1, 1]), grad=True)
    sum(value for name, value in part.loss(batch).items() if 'loss' in name).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in part.parameters())
    assert all(tokens.cls.grad is None for tokens in batch.tokens.values())


@pytest.mark.parametrize(
    ('options', 'error', 'text'),
    [
        (dict(loss_weight=dict(vidio=1)), ConfigError, "loss_weight has 'vidio', .* did you mean 'video'"),
        (dict(loss_weight=-1.0), ValueError, 'loss_weight=-1.0 of video: give a number from 0'),
        (dict(loss_weight=0), ConfigError, 'gives no modality a loss'),
        (dict(pool='mean'), ValueError, "pool='mean' is unknown: choose class or patches"),
        (dict(head=None), ValueError, 'needs widths and a head, got .* head=None'),
    ],
)
def test_what_makes_no_sense(options, error, text):
    with pytest.raises(error, match=text):
        make(**options)


def test_features_without_patch_tokens():
    tokens = {m: Tokens(torch.zeros(2, width), torch.zeros(2, 0, width), (0,)) for m, width in WIDTHS.items()}
    assert make().logits(tokens)['label']['video'].isfinite().all()
    with pytest.raises(ConfigError, match="pool='patches', but video has no patch tokens here"):
        make(pool='patches').logits(tokens)


def test_a_head_of_another_kind():
    @MODELS.register_module(name='HeadWithoutLogits', force=True)
    class HeadWithoutLogits(nn.Module):
        def __init__(self, in_dims=None):
            super().__init__()
            self.parts = dict(label=self)

    try:
        with pytest.raises(ConfigError, match='HeadWithoutLogits has no loss of logits for each clip: give the model'):
            make(dict(type='HeadWithoutLogits'))
    finally:
        del MODELS.module_dict['HeadWithoutLogits']


def test_heads_are_the_models_own_kind():
    part = make(
        dict(type='ClsHead', num_classes=7, dropout=0.25, loss=dict(type='CrossEntropyLoss', label_smoothing=0.1))
    )
    for m, head in part.heads.items():
        assert isinstance(head, ClsHead) and list(head.fcs) == [m] and head.fcs[m].in_features == WIDTHS[m]
        assert head.num_classes == 7 and head.dropout.p == 0.25 and head.loss_module.label_smoothing == 0.1
