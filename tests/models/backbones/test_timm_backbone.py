"""Networks of timm as backbones, beside timm itself."""

import sys

import pytest
import timm
import torch
from mmengine.config import Config
from timm.data import resolve_data_config
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from mmav.apis import AVInferencer
from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.errors import ConfigError
from mmav.models import TimmBackbone
from mmav.models.backbones.base import Expected
from mmav.registry import MODELS
from mmav.structures import AVDataSample
from tests import synthetic, toys
from tests.inference.models import CLASSES, config, write_model

PLAIN = dict(embed_dim=16, depth=2, num_heads=2)
SWIN = dict(embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4)
CONVNEXT = dict(output_stride=8)
HIERA = dict(embed_dim=8, stages=(1, 1, 1, 1))
# name: model_args, and the grid of 64 x 96 pixels. From 'list' on: what has another form of features than most
FAMILIES = {
    'test_resnet': ({}, (2, 3)),
    'test_convnext': ({}, (2, 3)),
    'test_efficientnet': ({}, (2, 3)),
    'mobilenetv3_small_050': ({}, (2, 3)),
    'test_nfnet': ({}, (2, 3)),
    'test_vit': ({}, (4, 6)),  # with a class token
    'test_vit3': (dict(depth=2), (4, 6)),  # registers and attention pooling
    'deit_tiny_distilled_patch16_224': (PLAIN, (4, 6)),
    'beit_base_patch16_224': (PLAIN, (4, 6)),
    'eva02_tiny_patch14_224': (PLAIN, (4, 6)),  # patches of 14
    'vit_medium_patch16_gap_240': (PLAIN, (4, 6)),  # no class token
    'swin_tiny_patch4_window7_224': (SWIN, (8, 12)),
    'test_mambaout': ({}, (2, 3)),
    'hiera_tiny_224': (HIERA, (2, 3)),
    'coat_lite_tiny': ({}, (2, 3)),
    'pit_ti_224': ({}, (2, 3)),
    'efficientvim_m1': ({}, (1, 2)),
}


def make(name, size=(2, 64, 96), **kwargs):
    torch.manual_seed(0)
    args = FAMILIES.get(name, ({},))[0]
    return TimmBackbone(name, size, model_args=kwargs.pop('model_args', args), **kwargs)


@pytest.fixture(scope='module', params=FAMILIES)
def family(request):
    """A backbone of clips and what it makes of one."""
    backbone = make(request.param).eval()
    clip = torch.randn(2, 3, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return request.param, backbone, clip, backbone(clip)


def test_patches_are_where_they_belong(family):
    """Frame by frame, and in rows: what changes in the corner at the top right of an image is seen there."""
    name, backbone, clip, tokens = family
    grid = FAMILIES[name][1]
    assert tokens.grid == (3, *grid) and tokens.patches.shape[1] == 3 * grid[0] * grid[1]
    with torch.no_grad():
        image = clip[:, :, 1]
        moved = image.clone()
        moved[:, :, :16, -16:] += 3.0
        found = [backbone.features.tokens(backbone.model, x).patches.unflatten(1, grid) for x in (image, moved)]
    torch.testing.assert_close(tokens.patches.unflatten(1, tokens.grid)[:, 1], found[0], atol=1e-4, rtol=1e-4)
    change = (found[1] - found[0]).square().sum(dim=-1)[0]
    row, column = divmod(int(change.argmax()), grid[1])
    assert column + 1 > grid[1] / 2, change
    assert row < grid[0] / 2 or 'mobilenet' in name, change  # it sees all of so small an image


def test_frames_and_their_embedding_are_those_of_timm(family):
    name, backbone, clip, tokens = family
    network = timm.create_model(name, num_classes=0, **backbone.model_args).eval()
    network.load_state_dict(backbone.model.state_dict())
    with torch.no_grad():
        embeddings = [network(clip[:, :, k]) for k in range(3)]
        if embeddings[0].shape[1] == tokens.cls.shape[1]:
            expected = torch.stack(embeddings, dim=1).mean(dim=1)
        else:  # wider than the patches
            expected = tokens.patches.mean(dim=1)
    assert tokens.cls.shape == (2, backbone.out_dims)
    torch.testing.assert_close(tokens.cls, expected, atol=1e-5, rtol=1e-5)


def test_gradients_reach_all_that_trains(family):
    _, backbone, clip, _ = family
    backbone.zero_grad()
    tokens = backbone(clip[:, :, :1])
    (tokens.cls.pow(3).sum() + tokens.patches.pow(3).sum()).backward()
    assert {name for name, p in backbone.named_parameters() if p.grad is None} == {
        f'model.{name}' for name in backbone.features.idle
    }
    assert all(p.requires_grad == (p.grad is not None) for p in backbone.parameters())
    backbone.zero_grad()


def test_the_contract(family):
    _, backbone, _, _ = family
    assert backbone.input_size == (2, 64, 96) and backbone.in_channels == 3
    assert all(key.startswith('model.') for key in backbone.state_dict())  # each weight once
    inside = {id(module) for module in backbone.model.modules()}
    assert backbone.blocks or 'coat' in backbone.model_name
    assert all(id(block) in inside for block in backbone.blocks)
    assert backbone.no_weight_decay() <= {name for name, _ in backbone.named_parameters()}
    assert backbone.patch_embed is getattr(backbone.model, 'patch_embed', None)


@pytest.mark.parametrize('name', ['test_resnet', 'test_vit', 'swin_tiny_patch4_window7_224', 'hiera_tiny_224'])
def test_spectrograms_are_images(name):
    backbone = make(name, (64, 128)).eval()
    tokens = backbone(torch.randn(2, 1, 64, 128))
    assert backbone.in_channels == 1 and backbone.pool is None
    assert len(tokens.grid) == 2 and tokens.grid[1] == 2 * tokens.grid[0]


def test_frames_are_combined_by_attention():
    backbone = make('test_resnet', pool='attention')
    tokens = backbone(torch.randn(2, 3, 4, 64, 96))
    tokens.cls.pow(3).sum().backward()
    assert all(p.grad.abs().sum() > 0 for name, p in backbone.pool.named_parameters() if 'bias' not in name)


def test_what_timm_names_is_not_decayed():
    assert make('test_vit').no_weight_decay() == {'model.pos_embed', 'model.cls_token'}


@pytest.mark.parametrize('name', ['test_resnet', 'resnet18.a1_in1k', 'beit_base_patch16_224'])
def test_the_norm_is_that_of_timms_data_config(name):
    theirs = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    norm = TimmBackbone.expected_of(dict(model_name=name, input_size=(2, 64, 96))).norm
    for key in ('mean', 'std'):
        torch.testing.assert_close(torch.tensor(norm[key]) / 255, torch.tensor(theirs[key]))


def test_sizes_are_expected_where_they_are_fixed():
    of = TimmBackbone.expected_of
    assert of(dict(model_name='test_vit', input_size=(2, 64, 96))).size == (None, 64, 96)
    assert of(dict(model_name='test_vit', input_size=(64, 128))) == Expected(size=(64, 128))
    assert of(dict(model_name='test_resnet', input_size=(64, 128))) == Expected()
    with pytest.raises(
        ConfigError, match=r'\(test_vit\) takes inputs of shape \(B, 3, 2, 64, 96\), got \(1, 3, 2, 64, 64'
    ):
        make('test_vit')(torch.zeros(1, 3, 2, 64, 64))
    assert make('test_resnet')(torch.zeros(1, 3, 1, 96, 64)).grid == (1, 3, 2)
    dynamic = make('test_vit', model_args=dict(dynamic_img_size=True))
    assert dynamic(torch.zeros(1, 3, 1, 96, 80)).grid == (1, 6, 5) and dynamic.expected.size is None


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(model_name='resnet81'), r"model_name='resnet81': timm .* has no such network, did you mean 'resnet18"),
        (dict(model_name='resnet18.nothing'), r"timm publishes no weights 'nothing' of resnet18: choose a1_in1k, "),
        (dict(model_name=''), 'give a name of timm, such as resnet18'),
        (dict(input_size=(64,)), r'input_size=\(64,\): give \(T, H, W\) of a clip or \(F, T\) of a spectrogram'),
        (dict(input_size=64), r'input_size=64: give \(T, H, W\) of a clip .*, whole numbers above 0$'),
        (dict(input_size=(2, -64, 96)), r'input_size=\(2, -64, 96\): give \(T, H, W\) of a clip'),
        (dict(model_args=[1]), r'model_args=\[1\]: give a dict of entries to change$'),
        (dict(input_size=(64, 96), pool='attention'), "pool='attention' has no effect on a spectrogram"),
        (dict(pool='max'), "pool='max' is unknown: choose mean or attention"),
        (dict(model_args=dict(in_chans=1)), 'model_args.in_chans: TimmBackbone sets it; leave it out'),
        (dict(model_args=dict(hights=1)), r"'test_resnet' of timm cannot be built with in_chans=3, hights=1: .*hights"),
        (dict(model_name='convit_tiny', input_size=(64, 128)), r"'convit_tiny' of timm cannot be used with images of "),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(kwargs, message):
    with pytest.raises(ConfigError, match=message) as found:
        TimmBackbone(**{**dict(model_name='test_resnet', input_size=(2, 64, 96)), **kwargs})
    assert '\n' not in str(found.value)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(
        ConfigError, match=r'^TimmBackbone needs timm, which cannot be imported \(.*\): pip install timm$'
    ):
        TimmBackbone('resnet18', (2, 64, 96))


def test_mmengine_does_not_draw_timms_weights_again():
    backbone = make('test_vit')
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.init_weights()
    torch.testing.assert_close(backbone.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize('name', ['test_resnet', 'test_vit', 'swin_tiny_patch4_window7_224', 'eva02_tiny_patch14_224'])
def test_memory_is_planned_with_fake_tensors(name):
    with FakeTensorMode():
        tokens = make(name)(torch.zeros(2, 3, 2, 64, 96))
    assert isinstance(tokens.cls, FakeTensor) and tokens.grid == (2, *FAMILIES[name][1])


def test_its_blocks_are_computed_again():
    model = MODELS.build(
        dict(
            type='AVClassifier',
            backbones=dict(video=dict(type='TimmBackbone', model_name='test_resnet', input_size=(2, 32, 32))),
            neck=dict(type='Avg'),
            head=dict(type='ClsHead', num_classes=3),
        )
    )
    assert len(turn_on_activation_checkpointing(model, 'backbones.video')) == 4
    inputs = dict(video=torch.randn(2, 1, 3, 2, 32, 32))
    sum(model(inputs, [AVDataSample().set_gt_label(k) for k in range(2)], mode='loss').values()).backward()
    assert all(p.grad is not None for p in model.backbones.parameters())


PAIRS = {
    'resnet and convnext': (dict(model_name='test_resnet'), dict(model_name='test_convnext', model_args=CONVNEXT)),
    'vit and swin': (dict(model_name='test_vit'), dict(model_name='swin_tiny_patch4_window7_224', model_args=SWIN)),
}


@pytest.mark.parametrize('pair', PAIRS)
def test_frozen_it_trains_resumes_tests_and_infers(pair, tmp_path, clip):
    video, audio = (dict(type='TimmBackbone', freeze='all', **part) for part in PAIRS[pair])
    cfg = Config(synthetic.experiment(4, optimizer=dict(type='SGD', lr=0.01)))
    cfg.model.backbones = dict(video=dict(video, input_size=(2, 16, 16)), audio=dict(audio, input_size=(16, 32)))
    cfg.model.data_preprocessor = dict(type='AVDataPreprocessor', norm=dict(video='backbone'))
    cfg.train_dataloader.dataset.length = 8
    cfg.test_dataloader.dataset.length = 4
    cfg.train_cfg.max_epochs = 1
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.dump(tmp_path / 'a.py')
    work = ['--work-dir', tmp_path / 'w']
    assert toys.run_tool('train.py', tmp_path / 'a.py', *work) == 0
    assert (
        toys.run_tool('train.py', tmp_path / 'a.py', *work, '--resume', '--cfg-options', 'train_cfg.max_epochs=2') == 0
    )
    checkpoint = tmp_path / 'w' / 'epoch_2.pth'
    assert toys.run_tool('test.py', tmp_path / 'a.py', checkpoint, '--work-dir', tmp_path / 't') == 0
    cfg = config()
    cfg.model.backbones = dict(video=dict(video, input_size=(4, 32, 32)), audio=dict(audio, input_size=(16, 200)))
    cfg.model.data_preprocessor.norm.video = 'backbone'
    if 'swin' in pair:
        cfg.model.backbones.audio.input_size = (16, 192)
        cfg.test_dataloader.dataset.pipeline[2].target_frames = 192
    inferencer = AVInferencer(*write_model(tmp_path, cfg), device='cpu', show_progress=False)
    (result,) = inferencer(str(clip))
    assert sum(each['score'] for each in result['predictions']) == pytest.approx(1.0, abs=1e-4)
    assert {each['label'] for each in result['predictions']} == set(CLASSES)
