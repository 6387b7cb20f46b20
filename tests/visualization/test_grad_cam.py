import copy
import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.errors import ConfigError
from mmav.models.layers import MultiscaleBlock
from mmav.registry import MODELS
from mmav.visualization.grad_cam import METHODS, GradCAM
from tests import resnet
from tests.models.test_contracts import BACKBONES, SIZES, SMALL, backbone_input, defaults, randomise
from tests.synthetic import DoubleClassifier, experiment

BRIGHT = dict(video=(5, 40, 24), audio=(24, 80))  # the only place that is not zero
SIZE = dict(video=(8, 64, 64), audio=(64, 128))
ENCODERS = dict(
    video=dict(
        type='MViTv2', arch=dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=()), input_size=SIZE['video'],
        patch_stride=(2, 8, 8), q_strides=(), kv_stride=1, residual_pooling=False, rel_pos=False,
    ),
    audio=dict(
        type='AST', input_size=SIZE['audio'], patch_kernel=(8, 8), patch_stride=(8, 8), embed_dims=8, num_layers=2,
        num_heads=1,
    ),
)  # fmt: skip
BOTTLENECK = dict(type='AVBottleneck', embed_dims=8, num_blocks=2, num_heads=1, num_tokens=2)
MERGED = dict(type='MergedAttention', embed_dims=8, num_blocks=2, num_heads=1)
AVG = dict(type='Avg')


@torch.no_grad()
def see_brightness(model):
    """Sets a model up by hand: channel 0 of a token is the brightness of its patch, channel 1 says "a patch", attention
    takes the mean of all tokens, and class 1 is channel 0 of the class tokens; nothing else reaches the head.
    """
    for parameter in model.parameters():
        parameter.zero_()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.fill_(1)
        if type(module).__name__ == 'PatchEmbed':
            module.proj.weight[0] = 1 / module.proj.weight[0].numel()
            module.proj.bias[1] = 1
        if type(module).__name__ in ('SelfAttention', 'MultiscaleAttention'):
            width = module.proj.weight.shape[0]
            module.qkv.weight[2 * width :] = module.proj.weight[:] = torch.eye(width)
        if type(module).__name__ == 'TokenPool':
            module.conv.weight[(..., *(k // 2 for k in module.kernel))] = 1
    for fc in model.head.fcs.values():
        fc.weight[1, ::8] = 1
    return model.eval()


def classifier(modalities=('video', 'audio'), neck=BOTTLENECK, head=None, **encoder):
    head = head or dict(type='ClsHead', num_classes=3)
    backbones = {m: {**ENCODERS[m], **encoder} for m in modalities}
    return MODELS.build(dict(type='AVClassifier', backbones=backbones, neck=neck, head=head))


def bright_inputs(modalities=('video', 'audio')):
    inputs = {m: torch.zeros(2, 1, dict(video=3, audio=1)[m], *SIZE[m]) for m in modalities}
    for m, x in inputs.items():
        at = [slice(n // 8 * 8, n // 8 * 8 + 8) for n in BRIGHT[m][-2:]]
        x[(1, 0, 0, *([slice(4, 6)] if m == 'video' else []), *at)] = 5.0  # of the second clip only
    return inputs


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize(
    ('neck', 'modalities', 'blocks', 'encoder'),
    [
        (AVG, ('video',), None, {}),
        (AVG, ('audio',), None, {}),
        (AVG, ('video', 'audio'), dict(video=0, audio=-2), {}),
        (AVG, ('video', 'audio'), None, dict(cls_token=False)),
        (BOTTLENECK, ('video', 'audio'), dict(video='neck.blocks.1.video', audio='neck.blocks.0.audio'), {}),
        (MERGED, ('video', 'audio'), dict(video='neck.blocks.1', audio='neck.blocks.1'), {}),
    ],
)
def test_the_map_peaks_where_the_evidence_is(neck, modalities, blocks, encoder, method):
    model = see_brightness(classifier(modalities, neck, **encoder))
    maps = GradCAM(model, blocks=blocks, method=method)(bright_inputs(modalities), target=1)
    assert maps.keys() == set(modalities)
    for name, found in maps.items():
        assert found.shape == (2, 1, *SIZE[name]) and found[1].max() == 1
        place = np.unravel_index(int(found[1, 0].argmax()), SIZE[name])
        reach = dict(video=(2, 8, 8), audio=(8, 8))[name]
        assert all(abs(a - b) <= r for a, b, r in zip(place, BRIGHT[name], reach, strict=True)), place
        assert found[1].median() < 0.1


def slow_map(model, x, block, target, method):
    """The formula on one clip of a single-modality model, in loops."""
    encoder, fc = next(iter(model.backbones.values())), next(iter(model.head.fcs.values()))
    tokens, grid = encoder.patch_embed(x[None])
    multiscale = isinstance(encoder.blocks[0], MultiscaleBlock)
    if multiscale:
        tokens = torch.cat((encoder.cls_token, tokens), dim=1)
    else:
        tokens = torch.cat((encoder.cls_token, encoder.dist_token, tokens), dim=1) + encoder.pos_embed
    extra = 1 if multiscale else 2
    for k, layer in enumerate(encoder.blocks):
        if k == block:
            at, kept = grid, tokens
            if method != 'gradcam':
                kept = layer.norm1(tokens)
                layer.norm1.forward = lambda _, kept=kept: kept
        tokens, grid = layer(tokens, grid) if multiscale else (layer(tokens), grid)
        layer.norm1.__dict__.pop('forward', None)
    y = fc(encoder.norm(tokens)[:, :extra].mean(dim=1))[0, target]
    (gradient,) = torch.autograd.grad(y, kept)
    values, slopes = (t[0, extra:].detach().numpy().astype(float) for t in (kept, gradient))
    result = np.zeros(math.prod(at))
    for n in range(len(values)):
        for d in range(values.shape[1]):
            weight = slopes[n, d] if method != 'gradcam' else sum(slopes[:, d]) / len(slopes)
            mean = sum(values[:, d]) / len(values) if method == 'centred' else 0.0
            result[n] += weight * (values[n, d] - mean)
    return np.maximum(result, 0).reshape(at)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('name', ['MViTv2', 'AST'])
def test_the_map_is_the_formula_of_the_paper(name, method):
    arch = dict(embed_dims=8, num_layers=3, num_heads=1, stage_blocks=(1, 2))
    if name == 'MViTv2':
        modality, encoder, shape = 'video', dict(arch=arch, input_size=(4, 32, 32)), (3, 4, 32, 32)
    else:
        modality, shape = 'audio', (1, 40, 56)
        encoder = dict(input_size=shape[1:], embed_dims=8, num_layers=3, num_heads=2)
    config = {modality: dict(type=name, **encoder)}
    head = dict(type='ClsHead', num_classes=4)
    torch.manual_seed(0)
    model = randomise(MODELS.build(dict(type='AVClassifier', backbones=config, neck=AVG, head=head)))
    x, some = torch.randn(2, 1, *shape), 0
    for block in range(3):
        cam = GradCAM(model, blocks={modality: block}, method=method)
        found = cam({modality: x}, target=torch.tensor([0, 2]))[modality]
        for clip, target in enumerate((0, 2)):
            wanted = slow_map(model, x[clip, 0], block, target, method)
            for axis, (samples, step) in enumerate(zip(shape[1:], steps(name, block), strict=True)):
                centres = (7.5 if name == 'AST' else 0) + step * np.arange(wanted.shape[axis])
                wanted = np.apply_along_axis(functools.partial(np.interp, np.arange(samples), centres), axis, wanted)
            wanted /= wanted.max() or 1
            np.testing.assert_allclose(found[clip, 0].numpy(), wanted, rtol=1e-3, atol=1e-4)
            some += wanted.any()
    assert some >= 4  # of 6


def steps(name, block):
    """Samples of the input from one token to the next in what a block of the models above reads."""
    return (10, 10) if name == 'AST' else (2, *[(4, 4, 8)[block]] * 2)


FLAGS = ('cls_token', 'dist_token')
UNREAD = ('ConvEncoder', 'Hiera')  # whose blocks read maps, or units of tokens


@pytest.mark.parametrize(
    ('name', 'flag'),
    [
        (name, flag)
        for name in BACKBONES
        for flag in (None, *FLAGS)
        if name not in UNREAD and flag in (None, *defaults(name))
    ],
)
def test_every_block_of_every_backbone_has_a_map(name, flag):
    model, x = model_of(name, flag)
    for block in range(len(model.backbones['sense'].blocks)):
        for method in ('gradcam', 'centred'):
            assert_map(GradCAM(model, blocks=dict(sense=block), method=method)(dict(sense=x))['sense'], x)


@pytest.mark.parametrize('name', UNREAD)
def test_backbones_whose_blocks_do_not_read_tokens_have_a_map_of_what_they_return(name):
    model, x = model_of(name)
    for block in range(len(model.backbones['sense'].blocks)):
        with pytest.raises(
            ConfigError, match=f'^sense has no block {block}: {name} has no blocks that read tokens; .*$'
        ):
            GradCAM(model, blocks=dict(sense=block))
    for method in METHODS:
        found = GradCAM(model, method=method)(dict(sense=x))['sense']
        assert_map(found, x)
        for clip, expected in enumerate(map_of_returned(model, x, method)):
            torch.testing.assert_close(found[clip, 0], expected, atol=1e-4, rtol=1e-3)


def model_of(name, flag=None):
    known = defaults(name)
    small = {k: v for k, v in SMALL.items() if k in known and k != 'num_blocks'}
    flags = {} if flag is None else {flag: not known[flag]}
    size = SIZES[len(known['input_size'])][0]
    head = dict(type='ClsHead', num_classes=5)
    backbones = dict(sense=dict(type=name, input_size=size, **small, **flags))
    model = randomise(MODELS.build(dict(type='AVClassifier', backbones=backbones, neck=AVG, head=head)))
    return model, backbone_input(name, at_run_time=True)[:, None]


def assert_map(found, x):
    assert found.shape == (2, 1, *x.shape[3:]) and found.isfinite().all() and found.min() >= 0
    peaks = found.flatten(1).amax(dim=1)
    assert ((peaks == 1) | (peaks == 0)).all() and found.any()


def map_of_returned(model, x, method):
    """The formula on the tokens that the encoder of a single-modality model returns, in cells of one size."""
    tokens = model.backbones['sense'](x[:, 0])
    values = tokens.patches
    scores = next(iter(model.head.fcs.values()))(tokens.cls)
    (gradient,) = torch.autograd.grad(scores.max(dim=1).values.sum(), values)
    if method == 'gradcam':
        gradient = gradient.mean(dim=1, keepdim=True)
    if method == 'centred':
        values = values - values.mean(dim=1, keepdim=True)
    maps = (gradient * values).sum(dim=2).relu().detach().unflatten(1, tokens.grid)[:, None]
    mode = 'trilinear' if len(tokens.grid) == 3 else 'bilinear'
    maps = nn.functional.interpolate(maps, size=tuple(x.shape[3:]), mode=mode, align_corners=False)[:, 0]
    return [each / each.max().clamp(min=1e-12) for each in maps]


def small_model(kind='AVClassifier', **test):
    torch.manual_seed(0)
    return randomise(MODELS.build({**experiment(2, optimizer={}, **test)['model'], 'type': kind}))


def small_inputs(video_views=1, audio_views=1):
    generator = torch.Generator().manual_seed(0)
    return dict(
        video=torch.randn(2, video_views, 3, 4, 16, 16, generator=generator),
        audio=torch.randn(2, audio_views, 1, 16, 32, generator=generator),
    )


@pytest.mark.parametrize('blocks', [None, dict(video='neck.blocks.0.video', audio='neck.blocks.0.audio')])
def test_the_model_is_left_as_it_was(blocks):
    model, inputs = small_model(), small_inputs()
    expected = GradCAM(model, blocks=blocks)(inputs)
    model.train()
    model.head.eval()
    modes = [module.training for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    turn_on_activation_checkpointing(model, True)
    for parameter in list(model.parameters())[::2]:
        parameter.requires_grad_(False)
    wants = [parameter.requires_grad for parameter in model.parameters()]
    with torch.inference_mode():
        inside = GradCAM(model, blocks=blocks)({name: x + 0 for name, x in inputs.items()})
    model.requires_grad_(False)
    frozen = GradCAM(model, blocks=blocks)(inputs)
    model.requires_grad_(True)
    for name, value in expected.items():
        assert value.any() and not value.requires_grad
        torch.testing.assert_close(inside[name], value)
        torch.testing.assert_close(frozen[name], value)
    assert [module.training for module in model.modules()] == modes and sum(wants) < len(wants)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(x.grad is None and not x.requires_grad for x in inputs.values())
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, state[key])


def test_hooks_are_removed_after_an_error_too():
    model = small_model().train()
    with pytest.raises(ValueError, match='the model has the classes 0 to 4'):
        GradCAM(model)(small_inputs(), target=5)
    assert model.training and not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize('blocks', [None, dict(video='neck.blocks.0.video', audio='neck.blocks.0.audio')])
@pytest.mark.parametrize('neck', ['AVBottleneck', 'Avg'])
def test_an_absent_modality_has_no_map_and_changes_no_other(neck, blocks):
    model, inputs = small_model(), small_inputs()
    if neck == 'Avg':
        blocks = None
        model.neck = MODELS.build(dict(type='Avg', in_dims=dict(video=16, audio=16)))
        model.head = randomise(MODELS.build(dict(type='ClsHead', num_classes=5, in_dims=model.neck.out_dims)))
    masks = dict(video=torch.tensor([True, True]), audio=torch.tensor([True, False]))
    noise = dict(inputs, audio=inputs['audio'].clone())
    noise['audio'][1] = torch.nan
    maps = GradCAM(model, blocks=blocks)(noise, masks, target=1)
    assert not maps['audio'][1].any() and maps['audio'][0].any()
    torch.testing.assert_close(maps['video'], GradCAM(model, blocks=blocks)(inputs, masks, target=1)['video'])


def test_clips_views_and_targets_are_kept_apart():
    model, inputs = small_model(), small_inputs(video_views=3)
    cam = GradCAM(model, method='hirescam')
    maps = cam(inputs, target=torch.tensor([2, 4]))
    assert maps['video'].shape == (2, 3, 4, 16, 16) and maps['audio'].shape == (2, 1, 16, 32)
    one = cam({name: x[1:] for name, x in inputs.items()}, target=4)
    for name in maps:
        torch.testing.assert_close(one[name], maps[name][1:], atol=1e-4, rtol=1e-3)
    views = [cam(dict(inputs, video=inputs['video'][:, v : v + 1]), target=torch.tensor([2, 4])) for v in range(3)]
    for v, each in enumerate(views):
        same = maps['video'][:, v : v + 1] / maps['video'][:, v : v + 1].flatten(1).amax(1).reshape(-1, 1, 1, 1, 1)
        torch.testing.assert_close(each['video'], same, atol=1e-4, rtol=1e-3)
    predicted = model(inputs)['label'].argmax(dim=-1)
    torch.testing.assert_close(cam(inputs)['video'], cam(inputs, target=predicted)['video'])


def test_a_sound_shared_by_views_in_the_neck_has_one_map():
    maps = GradCAM(small_model(), blocks=dict(audio='neck.blocks.0.audio'))(small_inputs(video_views=3))
    assert maps['audio'].shape == (2, 1, 16, 32)


def test_verb_and_noun_have_maps_of_their_own():
    model, inputs = small_model(actions=True), small_inputs()
    cam = GradCAM(model, method='hirescam')
    verb, noun = (cam(inputs, target=1, part=part)['video'] for part in ('verb', 'noun'))
    assert verb.any() and noun.any() and not torch.equal(verb, noun)
    with pytest.raises(ValueError, match="part='label': the model tells verb and noun apart"):
        cam(inputs)
    with pytest.raises(ValueError, match="part='verb': the model tells label apart"):
        GradCAM(small_model())(inputs, part='verb')


def test_a_classifier_in_double_precision_and_one_of_float16_inputs():
    model, inputs = small_model('DoubleClassifier'), small_inputs()
    assert isinstance(model, DoubleClassifier)
    expected = GradCAM(model)(inputs)
    found = GradCAM(model)({name: x.half() for name, x in inputs.items()})
    assert expected['video'].dtype == torch.float32
    torch.testing.assert_close(found['video'], expected['video'], atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(method='gradcm'), "method='gradcm' is unknown: choose .*, did you mean 'gradcam'"),
        (dict(blocks=dict(vidoe=0)), "blocks has 'vidoe', but the model reads video and audio, did you mean 'video'"),
        (dict(blocks=dict(video=2)), 'video has no block 2: its encoder has 2, give -2 to 1'),
        (dict(blocks=dict(video='neck.blocks.0.audio')), "no block 'neck.blocks.0.audio' reads video: choose one of "),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        GradCAM(small_model(), **options)


def test_mistakes_in_the_inputs():
    model, inputs = small_model(), small_inputs()
    with pytest.raises(ConfigError, match='Sequential is no AVClassifier'):
        GradCAM(nn.Sequential(model))
    with pytest.raises(ConfigError, match='the model reads video and audio, but the input has no audio'):
        GradCAM(model)(dict(video=inputs['video']))
    with pytest.raises(ValueError, match='give the index of a class, or one for each of the 2 clips'):
        GradCAM(model)(inputs, target=torch.tensor([1, 2, 3]))
    with torch.inference_mode():
        born_there = small_model()
    with pytest.raises(ConfigError, match='made inside torch.inference_mode'):
        GradCAM(born_there)(inputs)


def outside_model(neck):
    torch.manual_seed(0)
    backbones = dict(video=dict(resnet.VIDEO, input_size=(2, 64, 64)), audio=resnet.AUDIO)
    head = dict(type='ClsHead', num_classes=3)
    return MODELS.build(dict(type='AVClassifier', backbones=backbones, neck=neck, head=head)).eval()


@pytest.mark.parametrize('neck', [AVG, BOTTLENECK], ids=['Avg', 'AVBottleneck'])
def test_the_map_of_a_network_from_outside_is_that_of_its_last_layer(neck):
    """Grad-CAM as published, written out: feature maps weighted by the means of their gradients."""
    model = outside_model(neck)
    inputs = dict(video=torch.randn(2, 1, 3, 2, 64, 64), audio=torch.randn(2, 1, 1, 32, 64))
    maps = GradCAM(model)(inputs, target=1)
    kept = {}
    for name, backbone in model.backbones.items():
        backbone.blocks[-1].register_forward_hook(lambda _, args, output, name=name: kept.setdefault(name, output))
    fcs = model.head.fcs
    streams = model.neck(model.encode(inputs)[0])
    score = sum(fcs[stream](value)[:, 1].sum() for stream, value in streams.items()) / len(fcs)
    for name, features in kept.items():  # (B * T, D, H', W') of frames, (B, D, F', T') of a spectrogram
        (gradient,) = torch.autograd.grad(score, features, retain_graph=True)
        features, gradient = (x.unflatten(0, (2, -1)).movedim(2, 1) for x in (features, gradient))  # (B, D, T, H', W')
        places = tuple(range(2, features.dim()))
        expected = (features * gradient.mean(dim=places, keepdim=True)).sum(dim=1).relu().detach()  # (B, T, H', W')
        size = tuple(inputs[name].shape[3:])
        expected = expected if name == 'video' else expected[:, 0]
        expected = nn.functional.interpolate(
            expected[:, None], size=size, mode='trilinear' if name == 'video' else 'bilinear', align_corners=False
        )
        expected = expected / expected.flatten(1).amax(1).reshape(-1, *[1] * (expected.dim() - 1)).clamp(min=1e-12)
        torch.testing.assert_close(maps[name], expected, atol=1e-4, rtol=1e-3)


class ClassOnly(resnet.ResNet):
    """Returns patches of which nothing goes on."""

    def forward(self, x):
        tokens = super().forward(x)
        return tokens._replace(patches=tokens.patches.clone())


def test_what_cannot_be_told_of_a_network_from_outside():
    model = outside_model(AVG)
    inputs = dict(video=torch.randn(1, 1, 3, 2, 64, 64), audio=torch.randn(1, 1, 1, 32, 64))
    with pytest.raises(ConfigError, match='^video has no block -1: ResNet has no blocks that read tokens'):
        GradCAM(model, blocks=dict(video=-1))
    with pytest.raises(ConfigError, match="^no block 'neck.blocks.0.audio' reads audio: there is none"):
        GradCAM(model, blocks=dict(audio='neck.blocks.0.audio'))
    model.backbones['audio'] = ClassOnly((32, 64), 1).eval()
    with pytest.raises(ConfigError, match='does not depend on the tokens that ClassOnly returns for audio'):
        GradCAM(model)(inputs)
    fused = outside_model(BOTTLENECK)
    with pytest.raises(ConfigError, match=r'^ResNet has no patch_embed and blocks of mmav.models.layers, so where'):
        GradCAM(fused, blocks=dict(audio='neck.blocks.0.audio'))(inputs)
