import copy

import pytest
import torch

from mmav.errors import ConfigError
from mmav.models import TokenMixup
from mmav.registry import MODELS
from mmav.structures import AVDataSample, Tokens

CLASSES = dict(label=4)
CONV = dict(type='ConvEncoder', widths=(4, 6), pool='mean')
BACKBONES = dict(
    video=dict(**CONV, input_size=(2, 8, 8)), audio=dict(**CONV, input_size=(8, 12), in_channels=1, span=False)
)
CONTRAST = dict(type='ContrastiveHead', embed_dims=4, losses=[dict(type='AVCLoss')])


def make_tokens(batch, views=1):
    generator = torch.Generator().manual_seed(0)

    def of(number, width, grid):
        rows = batch * views
        cls, patches = (torch.randn(*size, generator=generator) for size in ((rows, width), (rows, number, width)))
        return Tokens(cls, patches, grid)

    return dict(video=of(6, 5, (1, 2, 3)), audio=of(2, 3, (1, 2)))


def slow(tokens, targets, masks, lam, views):
    """Clip by clip and view by view, as the docstrings say it."""
    rows = next(iter(tokens.values())).cls.shape[0]
    clips = rows // views
    mixed = {name: [] for name in tokens}
    labels = {part: [] for part in targets}
    present = {name: [] for name in tokens}
    for row in range(rows):
        clip, view = divmod(row, views)
        other = (clips - 1 - clip) * views + view
        for name, (cls, patches, _) in tokens.items():
            mine, yours = (masks is None or bool(masks[name][k]) for k in (row, other))
            a, b = row if mine else other, other if yours else row
            mixed[name].append([lam * value[a] + (1 - lam) * value[b] for value in (cls, patches)])
            present[name].append(mine or yours)
        for part, target in targets.items():
            label = torch.zeros(CLASSES[part])
            for k, weight in ((row, lam), (other, 1 - lam)):
                label += weight * (target[k] if target.dim() == 2 else torch.eye(CLASSES[part])[target[k]])
            labels[part].append(label)
    return mixed, labels, present


@pytest.mark.parametrize('views', [1, 2])
@pytest.mark.parametrize('absent', [False, True])
@pytest.mark.parametrize('several', [False, True])
def test_equals_a_loop_over_clips(views, absent, several):
    tokens, lam = make_tokens(5, views), torch.tensor(0.3)
    label = torch.tensor([3, 0, 1, 1, 2])
    target = torch.eye(4)[label] + torch.eye(4)[(label + 1) % 4] if several else label
    targets = dict(label=target.repeat_interleave(views, dim=0))
    audio = torch.tensor([True, False, True, False, False]).repeat_interleave(views)  # clips 1 and 3 are a pair
    masks = dict(video=torch.ones_like(audio), audio=audio) if absent else None
    before = copy.deepcopy((tokens, targets, masks))
    mixed, labels, present = TokenMixup(1.0)(tokens, targets, masks, lam, num_classes=CLASSES, views=views)
    expected, expected_labels, expected_present = slow(tokens, targets, masks, lam, views)
    for name, rows in expected.items():
        assert mixed[name].grid == tokens[name].grid
        # what neither of two clips has is masked, whatever it is
        there = torch.tensor(expected_present[name])
        for value, each in zip(mixed[name][:2], zip(*rows, strict=True), strict=True):
            torch.testing.assert_close(value[there], torch.stack(each)[there])
        assert present is None or present[name].tolist() == expected_present[name]
    assert (present is None) == (masks is None)
    torch.testing.assert_close(labels['label'], torch.stack(expected_labels['label']))
    torch.testing.assert_close((tokens, targets, masks), before)  # the arguments are left alone


def test_nothing_of_an_absent_clip_is_mixed_in():
    tokens, mask = make_tokens(2), torch.tensor([True, False])
    tokens['audio'].patches[1] = torch.nan
    mixed, _, masks = TokenMixup()(
        tokens, {}, dict(video=~mask | mask, audio=mask), torch.tensor(0.6), num_classes=CLASSES
    )
    torch.testing.assert_close(mixed['audio'].patches, tokens['audio'].patches[:1].expand(2, -1, -1))
    assert masks['audio'].all()


def test_shares_are_drawn_from_the_beta_distribution():
    """Its mean is 1/2, its variance 1 / (4 (2 alpha + 1)); a batch is mixed with probability ``prob``."""
    torch.manual_seed(0)
    mixup = TokenMixup(0.4, prob=0.75)
    drawn = [mixup.draw(torch.device('cpu')) for _ in range(2000)]
    shares = torch.stack([share for share in drawn if share is not None])
    assert len(shares) / len(drawn) == pytest.approx(0.75, abs=0.03)
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / (4 * 1.8), abs=0.01)


def make_model(head=None, **kwargs):
    torch.manual_seed(0)
    head = head or dict(type='ClsHead', num_classes=4)
    model = dict(type='AVClassifier', backbones=BACKBONES, neck=dict(type='Avg'), head=head)
    return MODELS.build({**model, **kwargs}).train()


def make_inputs(batch=3, views=1):
    generator = torch.Generator().manual_seed(1)
    video = torch.randn(batch, views, 3, 2, 8, 8, generator=generator)
    return dict(video=video, audio=torch.randn(batch, 1, 1, 8, 12, generator=generator))


def test_a_model_learns_from_mixed_tokens_and_labels():
    """By hand: encoders, slow mixing, neck and head; two views of video share one of sound."""
    model, inputs = make_model(token_mixup=dict(type='TokenMixup', alpha=1.0)), make_inputs(views=2)
    samples = [AVDataSample().set_gt_label(label) for label in (2, 0, 3)]
    torch.manual_seed(3)
    loss = model(inputs, samples, mode='loss')['loss_cls']
    torch.manual_seed(3)
    lam = model.token_mixup.draw(torch.device('cpu'))
    tokens, _ = model.encode(inputs)
    targets = dict(label=torch.tensor([2, 2, 0, 0, 3, 3]))
    mixed, labels, _ = slow(tokens, targets, None, lam, 2)
    streams = {name: torch.stack([cls for cls, _ in rows]) for name, rows in mixed.items()}
    torch.testing.assert_close(loss, model.head.loss(streams, dict(label=torch.stack(labels['label'])))['loss_cls'])


def test_neither_a_test_nor_the_contrastive_losses_see_mixed_clips():
    mixing = make_model(token_mixup=dict(type='TokenMixup'), contrast=CONTRAST)
    plain = make_model(contrast=CONTRAST)
    plain.load_state_dict(mixing.state_dict())
    inputs, samples = make_inputs(), [AVDataSample().set_gt_label(label) for label in (2, 0, 2)]
    losses = [model(inputs, samples, mode='loss') for model in (mixing, plain)]
    assert not torch.equal(losses[0]['loss_cls'], losses[1]['loss_cls'])
    assert torch.equal(losses[0]['loss_avc'], losses[1]['loss_avc'])
    losses = [model.eval()(inputs, samples, mode='loss') for model in (mixing, plain)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(model(inputs)['label'] for model in (mixing, plain)))


class Spy(torch.nn.Module):
    """An auxiliary part that keeps what it is given."""

    def loss(self, batch):
        self.batch = batch
        return {}


@pytest.mark.parametrize('mixing', [False, True])
def test_auxiliary_parts_learn_from_mixed_clips_and_know_the_whole_ones(monkeypatch, mixing):
    monkeypatch.setitem(MODELS.module_dict, 'Spy', Spy)
    mixup = dict(type='TokenMixup') if mixing else None
    model, inputs = make_model(token_mixup=mixup, auxiliary=dict(spy=dict(type='Spy'))), make_inputs()
    model(inputs, [AVDataSample().set_gt_label(label) for label in (2, 0, 3)], mode='loss')
    batch, encoded = model.auxiliary['spy'].batch, model.encode(inputs)[0]
    assert batch.targets['label'].shape == ((3, 4) if mixing else (3,))
    for name, tokens in encoded.items():
        torch.testing.assert_close(batch.whole[0][name].cls, tokens.cls)
        assert torch.equal(batch.tokens[name].cls, batch.whole[0][name].cls) != mixing


def test_verb_and_noun_and_any_number_of_labels_are_learned():
    mixup, inputs = dict(type='TokenMixup'), make_inputs()
    action = make_model(dict(type='VerbNounHead', num_verbs=3, num_nouns=5), token_mixup=mixup)
    samples = [AVDataSample().set_gt_label(i, 'verb').set_gt_label(i + 1, 'noun') for i in range(3)]
    action(inputs, samples, mode='loss')['loss_cls'].backward()
    several = make_model(dict(type='MultiLabelHead', num_classes=4), token_mixup=mixup)
    samples = [AVDataSample().set_gt_labels(labels, 4) for labels in ((0, 2), (), (3,))]
    several(inputs, samples, mode='loss')['loss_cls'].backward()
    for model in (action, several):
        assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [(dict(alpha=0), r'^alpha=0 must be above 0'), (dict(prob=0), r'^prob=0 must lie in \(0, 1\]; leave token_mixup')],
)
def test_settings_without_effect_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        TokenMixup(**kwargs)


def test_clips_are_not_mixed_twice():
    preprocessor = dict(type='AVDataPreprocessor', batch_augment=dict(type='MixupCutmix', num_classes=4))
    with pytest.raises(ConfigError, match=r'^token_mixup and data_preprocessor.batch_augment=MixupCutmix would mix'):
        make_model(token_mixup=dict(type='TokenMixup'), data_preprocessor=preprocessor)


def test_a_head_has_to_say_how_many_classes_it_has(monkeypatch):
    class Vague(torch.nn.Module):
        def __init__(self, in_dims):
            super().__init__()
            self.parts = dict(label=self)

    monkeypatch.setitem(MODELS.module_dict, 'Vague', Vague)
    with pytest.raises(ConfigError, match=r'^token_mixup makes labels soft .* Vague for label has no num_classes'):
        make_model(dict(type='Vague'), token_mixup=dict(type='TokenMixup'))
