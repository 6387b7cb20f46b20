"""Weights of timm, loaded into a backbone, beside timm's own loading."""

import json

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmav.errors import CheckpointError
from mmav.models import TimmBackbone
from mmav.models.weights.timm_weights import load_timm_weights
from mmav.models.weights.uses import weight_problems
from mmav.registry import MODELS

SIZE = (2, 64, 96)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Weights of whole networks of timm, as it saves them."""
    folder = tmp_path_factory.mktemp('timm')
    for name in ('test_resnet', 'test_vit'):
        torch.manual_seed(5)
        torch.save(timm.create_model(name).state_dict(), folder / f'{name}.pth')
    return folder


@pytest.fixture
def started(monkeypatch):
    init_default_scope('mmav')


@pytest.mark.parametrize(('name', 'size'), [('test_resnet', SIZE), ('test_vit', SIZE), ('test_vit', (64, 128))])
def test_they_are_what_timm_makes_of_the_file(files, name, size):
    path = files / f'{name}.pth'
    backbone = TimmBackbone(name, size, checkpoint=str(path))
    report = load_timm_weights(backbone, str(path))
    expected = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=dict(file=str(path)), num_classes=0, **backbone.model_args
    )
    torch.testing.assert_close(backbone.model.state_dict(), expected.state_dict(), rtol=0, atol=0)
    head = ['fc.weight', 'fc.bias'] if name == 'test_resnet' else ['head.weight', 'head.bias']
    changed = {'model.pos_embed': 'by timm'} if name == 'test_vit' else {}
    changed |= {'model.patch_embed.proj.weight': 'by timm'} if len(size) == 2 else {}
    assert report.adapted == changed and report.unused == head and not report.missing
    assert len(report.loaded) + len(changed) == sum(v.is_floating_point() for v in expected.state_dict().values())


def test_a_folder_and_what_it_says(files, tmp_path, started):
    state = torch.load(files / 'test_resnet.pth')
    with pytest.raises(
        CheckpointError, match=r'has no weights \(model.safetensors, pytorch_model.bin or another\): give'
    ):
        load_timm_weights(TimmBackbone('test_resnet', SIZE), str(tmp_path))
    torch.save(state, tmp_path / 'pytorch_model.bin')
    published = timm.get_pretrained_cfg('test_resnet').to_dict()
    (tmp_path / 'config.json').write_text(
        json.dumps(dict(architecture='test_resnet', num_classes=1000, pretrained_cfg=dict(published, mean=(0, 0, 0))))
    )
    for backbone in (
        TimmBackbone('test_resnet', SIZE, checkpoint=str(tmp_path)),
        TimmBackbone(f'local-dir:{tmp_path}', SIZE, pretrained=True),
    ):
        backbone.init_weights()
        torch.testing.assert_close(backbone.model.conv1[0].weight, state['conv1.0.weight'])
    assert backbone.expected.norm['mean'] == [0, 0, 0]


def test_another_network_is_refused(files):
    with pytest.raises(
        CheckpointError, match=r"test_vit.pth' is of another network than test_resnet: it lacks conv1.0"
    ):
        load_timm_weights(TimmBackbone('test_resnet', SIZE), str(files / 'test_vit.pth'))
    with pytest.raises(CheckpointError, match="no checkpoint 'none.pth': give the path of a file"):
        load_timm_weights(TimmBackbone('test_resnet', SIZE), 'none.pth')


def test_published_weights_come_from_the_hub_or_its_cache(files, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def download(repository, name):
        asked.append((repository, name))
        return str(files / 'test_resnet.pth')

    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
    backbone = TimmBackbone('test_resnet.r160_in1k', SIZE, pretrained=True)
    backbone.init_weights()
    assert asked == [('timm/test_resnet.r160_in1k', 'model.safetensors')]
    state = torch.load(files / 'test_resnet.pth')
    torch.testing.assert_close(backbone.model.conv1[0].weight, state['conv1.0.weight'])

    def offline(repository, name):
        raise LocalEntryNotFoundError('an error happened while trying to locate it. Please check your connection.')

    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', offline)
    expected = (
        r'^the weights of test_resnet.r160_in1k are not in the cache and cannot be had from the hub \(an error '
        r'happened while trying to locate it\); give checkpoint=, the file model.safetensors of '
        r'https://huggingface.co/timm/test_resnet.r160_in1k, or pretrained=False$'
    )
    with pytest.raises(CheckpointError, match=expected):
        load_timm_weights(backbone)


def test_networks_without_published_weights():
    backbone = TimmBackbone('levit_384_s8', SIZE)
    with pytest.raises(
        CheckpointError, match='^timm publishes no weights of levit_384_s8: give checkpoint=, a file, or'
    ):
        load_timm_weights(backbone)


def test_from_scratch_reads_nothing(files, started):
    video = dict(
        type='TimmBackbone', model_name='test_resnet', input_size=SIZE, checkpoint=str(files / 'test_resnet.pth')
    )
    parts = dict(type='AVClassifier', neck=dict(type='Avg'), head=dict(type='ClsHead', num_classes=3))
    state = torch.load(files / 'test_resnet.pth')
    for pretrained in (True, False):
        model = MODELS.build(dict(parts, backbones=dict(video=video), pretrained=pretrained))
        model.init_weights()
        loaded = model.backbones['video'].model.conv1[0].weight
        assert torch.equal(loaded, state['conv1.0.weight']) == pretrained


@pytest.mark.parametrize(
    'part',
    [
        dict(type='TimmBackbone', model_name='resnet18', checkpoint='/data/resnet18_k400.pth'),
        dict(type='HFBackbone', model='MCG-NJU/videomae-base'),
        dict(type='HFBackbone', model='/data/vjepa2-vitl-fpc64-256'),
    ],
)
def test_kinetics_sounds_never_starts_from_kinetics(part):
    data = dict(dataset=dict(type='AVDataset', part_of='Kinetics-400'))
    cfg = Config(dict(train_dataloader=data, model=dict(backbones=dict(video=part))))
    name = 'checkpoint' if 'checkpoint' in part else 'model'
    (line,) = weight_problems(cfg)
    assert line == (
        f'model.backbones.video.{name}: {part[name]!r}, by its name, was trained on Kinetics-400, which '
        'train_dataloader.dataset is a part of: it has seen these clips; take other weights'
    )
    cfg.model.pretrained = False
    assert not list(weight_problems(cfg))
