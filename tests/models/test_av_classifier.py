import pytest
import torch

from mmav.errors import ConfigError
from mmav.registry import MODELS
from mmav.structures import AVDataSample

ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
VIDEO = dict(type='MViTv2', arch=ARCH, input_size=(4, 16, 16))
AUDIO = dict(type='MAT', arch=ARCH, input_size=(16, 32), q_strides=[(1, 2)])


def make_config(modalities=('video', 'audio'), neck=None):
    backbones = {m: dict(video=VIDEO, audio=AUDIO)[m] for m in modalities}
    neck = neck or dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_heads=2)
    return dict(type='AVClassifier', backbones=backbones, neck=neck, head=dict(type='ClsHead', num_classes=5))


def make(modalities=('video', 'audio'), neck=None):
    torch.manual_seed(0)
    model = MODELS.build(make_config(modalities, neck))
    model.init_weights()
    return model.eval()


def make_inputs(batch=3, video_views=1, audio_views=1):
    generator = torch.Generator().manual_seed(0)
    return dict(
        video=torch.randn(batch, video_views, 3, 4, 16, 16, generator=generator),
        audio=torch.randn(batch, audio_views, 1, 16, 32, generator=generator),
    )


def make_samples(batch=3):
    return [AVDataSample().set_gt_label(i) for i in range(batch)]


@pytest.mark.parametrize(
    ('modalities', 'neck'),
    [
        (('video', 'audio'), None),
        (('video', 'audio'), dict(type='Avg')),
        (('video',), dict(type='Avg')),
        (('audio',), dict(type='Avg')),
    ],
)
def test_modes(modalities, neck):
    model, inputs = make(modalities, neck), make_inputs()
    scores = model(inputs)['label']
    torch.testing.assert_close(scores.sum(-1), torch.ones(3))
    samples = model(inputs, make_samples(), mode='predict')
    torch.testing.assert_close(torch.stack([s.pred_score for s in samples]), scores)
    assert [int(s.pred_label) for s in samples] == scores.argmax(-1).tolist()
    losses = model(inputs, make_samples(), mode='loss')
    assert losses['loss_cls'].shape == ()


def test_scores_of_views_are_averaged():
    model, inputs = make(), make_inputs(video_views=3)
    each = [model(dict(inputs, video=inputs['video'][:, v : v + 1]))['label'] for v in range(3)]
    torch.testing.assert_close(model(inputs), dict(label=torch.stack(each).mean(0)))


def test_sound_is_encoded_once_for_all_video_views():
    model, batches = make(), []
    model.backbones['audio'].register_forward_pre_hook(lambda module, args: batches.append(args[0].shape[0]))
    model(make_inputs(video_views=5))
    assert batches == [3]


def test_training_views_are_clips_of_their_own():
    model, inputs = make(), make_inputs(video_views=2, audio_views=2)
    loss = model(inputs, make_samples(), mode='loss')['loss_cls']
    each = [
        model({m: x[:, v : v + 1] for m, x in inputs.items()}, make_samples(), mode='loss')['loss_cls']
        for v in range(2)
    ]
    torch.testing.assert_close(loss, sum(each) / 2)


def test_soft_labels_are_used_where_the_batch_was_mixed():
    model, inputs, samples = make(), make_inputs(), make_samples()
    hard = model(inputs, samples, mode='loss')['loss_cls']
    for sample in samples:
        sample.set_gt_score(torch.nn.functional.one_hot(sample.gt_label, 5).float())
    torch.testing.assert_close(model(inputs, samples, mode='loss')['loss_cls'], hard)


@pytest.mark.parametrize('late', [False, True])
def test_absent_modality_has_no_influence(late):
    model, inputs = make(neck=dict(type='Avg') if late else None), make_inputs(video_views=2)
    masks = dict(video=torch.ones(3, dtype=torch.bool), audio=torch.tensor([True, False, True]))
    before = model(inputs, masks=masks)
    inputs['audio'][1] = 50.0
    torch.testing.assert_close(model(inputs, masks=masks), before)
    assert not torch.allclose(model(inputs)['label'][1], before['label'][1])


def test_gradients_reach_every_parameter():
    model = make().train()
    model(make_inputs(), make_samples(), mode='loss')['loss_cls'].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_verb_and_noun_are_averaged_over_views_and_written():
    torch.manual_seed(0)
    head = dict(type='VerbNounHead', num_verbs=4, num_nouns=6)
    neck = dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_heads=2)
    model = MODELS.build(dict(type='AVClassifier', backbones=dict(video=VIDEO, audio=AUDIO), neck=neck, head=head))
    model.init_weights()
    model.eval()
    inputs = make_inputs(video_views=2)
    samples = [AVDataSample().set_gt_label(i, 'verb').set_gt_label(5 - i, 'noun') for i in range(3)]
    each = [model(dict(inputs, video=inputs['video'][:, v : v + 1])) for v in range(2)]
    for sample, *views in zip(
        model(inputs, samples, mode='predict'), *(each[v]['verb'] for v in range(2)), strict=True
    ):
        torch.testing.assert_close(sample.pred_verb_score, (views[0] + views[1]) / 2)
        assert sample.pred_noun_score.shape == (6,) and sample.pred_noun == sample.pred_noun_score.argmax()
    model(inputs, samples, mode='loss')['loss_cls'].backward()
    assert model.head.noun.fcs['fused'].weight.grad.abs().sum() > 0


@pytest.mark.parametrize('late', [False, True])
def test_features_are_the_streams_on_demand(late):
    model, inputs = make(neck=dict(type='Avg') if late else None), make_inputs(video_views=2)
    assert 'feature' not in model(inputs, make_samples(), mode='predict')[0]
    model.keep_features = True
    streams = [model.neck(model.encode(dict(inputs, video=inputs['video'][:, v : v + 1]))[0]) for v in range(2)]
    expected = sum(torch.cat(list(each.values()), dim=-1) for each in streams) / 2
    samples = model(inputs, make_samples(), mode='predict')
    torch.testing.assert_close(torch.stack([sample.feature for sample in samples]), expected)


@pytest.mark.parametrize('late', [False, True])
def test_features_by_name_are_those_of_the_encoders_and_the_streams(late):
    model, inputs = make(neck=dict(type='Avg') if late else None), make_inputs(video_views=2)
    model.keep_features = True
    tokens, _ = model.encode(inputs)
    expected = {name: encoded.cls for name, encoded in tokens.items()} | model.neck(tokens)
    samples = model(inputs, make_samples(), mode='predict')
    assert [list(sample.features) for sample in samples] == 3 * [['video', 'audio'] if late else [*tokens, 'fused']]
    for name, values in expected.items():
        found = torch.stack([sample.features[name] for sample in samples])
        torch.testing.assert_close(found, values.unflatten(0, (3, 2)).mean(dim=1))


def test_features_have_projections_where_the_model_learns_them():
    contrast = dict(type='ContrastiveHead', embed_dims=5, losses=[dict(type='AVCLoss')])
    model, inputs = MODELS.build(make_config() | dict(contrast=contrast)), make_inputs(video_views=2)
    model.eval().keep_features = True
    tokens, views = model.encode(inputs)
    projected = model.contrast({name: each.cls.unflatten(0, (-1, views)) for name, each in tokens.items()})
    masks = dict(video=torch.tensor([True, True, False]), audio=torch.tensor([True, False, True]))
    samples = model(inputs, make_samples(), masks, mode='predict')
    for name, there in masks.items():
        for sample, expected, has in zip(samples, projected[name].mean(dim=1), there, strict=True):
            assert (f'{name}_projected' in sample.features) == has
            if has:
                torch.testing.assert_close(sample.features[f'{name}_projected'], expected)


def test_an_absent_modality_has_no_feature():
    model, inputs = make(), make_inputs(video_views=2)
    model.keep_features = True
    masks = dict(video=torch.tensor([True, True, False]), audio=torch.tensor([True, False, True]))
    samples = model(inputs, make_samples(), masks, mode='predict')
    assert [set(sample.features) for sample in samples] == [
        {'video', 'audio', 'fused'},
        {'video', 'fused'},
        {'audio', 'fused'},
    ]
    for sample in samples:
        torch.testing.assert_close(sample.features['fused'], sample.feature)


def test_bad_calls():
    model, inputs = make(), make_inputs()
    with pytest.raises(
        ValueError, match="the model reads \\['video', 'audio'\\], but the input has only \\['audio'\\]"
    ):
        model(dict(audio=inputs['audio']))
    with pytest.raises(ValueError, match='audio has 2 views, video 3'):
        model(make_inputs(video_views=3, audio_views=2))
    with pytest.raises(ValueError, match="mode='logits' is unknown"):
        model(inputs, mode='logits')
    with pytest.raises(ValueError, match="mode='loss' needs data_samples"):
        model(inputs, mode='loss')
    config = make_config()
    with pytest.raises(ConfigError, match=r'^backbones.audio: Identity has no out_dims, the width of its tokens: make'):
        MODELS.build(dict(config, backbones=dict(audio=dict(type='torch.nn.Identity'))))
    with pytest.raises(ConfigError, match=r'^head: Identity does not say what it learns: give it parts, part of the'):
        MODELS.build(dict(config, head=dict(type='torch.nn.Identity')))
    model.backbones['audio'] = torch.nn.Flatten()
    with pytest.raises(
        ConfigError, match=r'^backbones.audio: Flatten returns Tensor, not Tokens\(cls, patches, grid\)'
    ):
        model(inputs)
    with pytest.raises(ValueError, match='needs at least one backbone'):
        MODELS.build(
            dict(type='AVClassifier', backbones={}, neck=dict(type='Avg'), head=dict(type='ClsHead', num_classes=2))
        )


def test_init_weights_reaches_every_part():
    model = MODELS.build(make_config())
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    model.init_weights()
    for name, parameter in model.named_parameters():
        assert not (parameter == 7.0).any(), name
    assert model.backbones['video'].blocks[0].attn.qkv.weight.std() < 0.03
    assert model.backbones['audio'].cls_token.std() > 0
