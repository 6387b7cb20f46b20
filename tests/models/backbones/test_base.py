"""The contract of backbones, held to a network from outside: torchvision's ResNet in the wrapper of tests/resnet.py."""

import copy
import math

import pytest
import torch
from torch import nn

from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.errors import ConfigError
from mmav.models import Backbone
from mmav.models.av_classifier import tokens_of
from mmav.models.backbones.base import input_shape
from mmav.registry import MODELS
from mmav.structures import AVDataSample, Tokens
from tests import resnet
from tests.models.test_contracts import BACKBONES, make_backbone

HEAD = dict(type='ClsHead', num_classes=3)
MAT = dict(
    type='MAT', arch=dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,)), input_size=(32, 64),
    patch_stride=(8, 8), q_strides=[(2, 2)],
)  # fmt: skip
BOTTLENECK = dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_heads=2)


def make_model(neck=BOTTLENECK, **backbones):
    torch.manual_seed(0)
    model = MODELS.build(dict(type='AVClassifier', backbones=backbones, neck=neck, head=HEAD))
    model.init_weights()
    return model


def make_batch(model, clips=3):
    generator = torch.Generator().manual_seed(0)
    inputs = {
        name: torch.randn(clips, 1, *input_shape(backbone), generator=generator)
        for name, backbone in model.backbones.items()
    }
    return inputs, [AVDataSample().set_gt_label(k % 3) for k in range(clips)]


@pytest.mark.parametrize('name', BACKBONES)
def test_every_registered_backbone_keeps_the_contract(name):
    backbone = make_backbone(name)
    assert isinstance(backbone, Backbone)
    channels, *size = input_shape(backbone)
    tokens = backbone(torch.zeros(1, channels, *size))
    assert tokens.patches.shape == (1, math.prod(tokens.grid), backbone.out_dims)
    assert len(backbone.blocks) > 0 and all(isinstance(block, nn.Module) for block in backbone.blocks)
    named = dict(backbone.named_parameters())
    tokens_and_tables = {
        key for key in named if any(word in key for word in ('cls_token', 'dist_token', 'pos_embed', 'rel_pos'))
    }
    assert backbone.no_weight_decay() == tokens_and_tables
    # a network without attention has none; the transformers would pass if their names were changed
    assert bool(tokens_and_tables) == any(isinstance(module, nn.LayerNorm) for module in backbone.modules())


def test_what_a_backbone_has_by_itself():
    backbone = Backbone([64, 96], 1, 8)
    assert (backbone.input_size, backbone.in_channels, backbone.out_dims) == ((64, 96), 1, 8)
    assert len(backbone.blocks) == 0 and backbone.patch_embed is None and backbone.no_weight_decay() == set()
    assert input_shape(backbone) == (1, 64, 96)
    with pytest.raises(
        ConfigError, match=r'^Linear has no in_channels and no input_size, so its input is unknown: make'
    ):
        input_shape(nn.Linear(2, 2))


class Returning(Backbone):
    """A backbone that returns what it is told."""

    def __init__(self, result):
        super().__init__((4, 6), 1, out_dims=8)
        self.result = result

    def forward(self, x):
        return self.result


@pytest.mark.parametrize(
    ('result', 'shapes'),
    [
        (
            Tokens(torch.zeros(2, 4), torch.zeros(2, 6, 4), (2, 3)),
            r'cls \(2, 4\), patches \(2, 6, 4\) and grid \(2, 3\)',
        ),
        (Tokens(torch.zeros(2, 1, 8), torch.zeros(2, 6, 8), (2, 3)), r'cls \(2, 1, 8\)'),
        (Tokens(torch.zeros(2, 8), torch.zeros(2, 8, 2, 3), (2, 3)), r'patches \(2, 8, 2, 3\)'),
        (Tokens(torch.zeros(2, 8), torch.zeros(2, 6, 8), (3, 3)), r'grid \(3, 3\)'),
        (Tokens(torch.zeros(2, 8), torch.zeros(2, 6, 8), None), 'grid None'),
        ((torch.zeros(2, 8), torch.zeros(2, 6, 8), (2, 3)), 'tuple, not Tokens'),
    ],
)
def test_tokens_of_another_form_are_refused(result, shapes):
    with pytest.raises(
        ConfigError, match=rf'^backbones.audio: Returning returns .*{shapes}.*: see mmav.models.Backbone$'
    ):
        tokens_of(Returning(result), torch.zeros(2, 1, 4, 6), 'audio')


def test_a_network_from_outside_learns():
    """Spectrograms whose loudness is their class."""
    model = make_model(dict(type='Avg'), audio=resnet.AUDIO)
    inputs, samples = make_batch(model, 6)
    for x in inputs.values():
        x *= 0.3
        x += torch.arange(6.0).remainder(3).sub(1).reshape(-1, *[1] * (x.dim() - 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(6):
        loss = model(inputs, samples, mode='loss')['loss_cls']
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.backbones.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_init_weights_leaves_a_network_from_outside_as_it_was_built():
    backbone = MODELS.build(resnet.AUDIO)
    before = copy.deepcopy(backbone.state_dict())
    backbone.init_weights()
    torch.testing.assert_close(backbone.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize('parts', [True, 'backbones.video', 'backbones.video.blocks.1-2'])
def test_blocks_from_outside_are_computed_again(parts):
    """Losses, gradients and the running statistics of BatchNorm are those of a step that keeps everything."""
    model = make_model(video=resnet.VIDEO, audio=MAT)
    plain, batch = copy.deepcopy(model), make_batch(model)
    levels = turn_on_activation_checkpointing(model, parts)
    layers = range(1, 3) if str(parts).endswith('1-2') else range(4)
    assert {name for name in levels if 'video.blocks' in name} == {f'backbones.video.blocks.{k}' for k in layers}
    assert ('backbones.audio.blocks.0' in levels) == (parts is True)
    for each in (plain, model):
        sum(value for key, value in each(*batch, mode='loss').items() if 'loss' in key).backward()
    for (name, p), q in zip(plain.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, msg=name)
    torch.testing.assert_close(dict(model.named_buffers()), dict(plain.named_buffers()), rtol=0, atol=0)
    assert model.backbones['video'].stem[1].num_batches_tracked == 1


def test_what_is_cheap_in_a_block_from_outside_is_not_known():
    model = make_model(video=resnet.VIDEO, audio=MAT)
    assert not any('video' in name for name in turn_on_activation_checkpointing(model, 'lean') if 'neck' not in name)
    with pytest.raises(
        ConfigError, match=r"^activation_checkpointing: 'backbones.video' contains no blocks, so it can only be"
    ):
        turn_on_activation_checkpointing(model, dict(lean='backbones.video'))
    alone = make_model(dict(type='Avg'), video=resnet.VIDEO)
    with pytest.raises(ConfigError, match=r"^activation_checkpointing='lean': AVClassifier has no MultiscaleBlock or"):
        turn_on_activation_checkpointing(alone, 'lean')


def test_tokens_of_frames_are_in_the_order_of_the_grid():
    backbone = MODELS.build(resnet.VIDEO).eval()
    x = torch.randn(2, *input_shape(backbone), generator=torch.Generator().manual_seed(0))
    tokens = backbone(x)
    assert isinstance(tokens, Tokens) and tokens.grid == (2, 2, 2)
    torch.testing.assert_close(
        tokens.patches[1].unflatten(0, tokens.grid)[1], backbone(x[1:, :, 1:]).patches.unflatten(1, (2, 2))[0]
    )
