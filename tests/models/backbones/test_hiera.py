"""Hiera; parity with timm and transformers, by files, is in tests/models/weights/test_masked_autoencoders.py."""

import pytest
import timm
import torch
from timm.models.hiera import Hiera as TimmHiera

from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.errors import ConfigError
from mmav.models import Hiera
from mmav.models.backbones.hiera import ARCHS
from mmav.models.layers.mask_unit_block import to_units
from mmav.registry import MODELS
from tests.models.peers import randomise

SMALL = dict(embed_dims=8, num_layers=5, num_heads=1, stage_blocks=(1, 2, 4))


@pytest.mark.parametrize('arch', ARCHS)
def test_the_archs_are_those_of_timm(arch):
    with torch.device('meta'):
        model = Hiera(arch, (224, 224))
        peer = timm.create_model(f'hiera_{arch}_224', num_classes=0)
    shapes = {key.replace('head.norm.', 'norm.'): value.shape for key, value in peer.state_dict().items()}
    assert {key: value.shape for key, value in model.state_dict().items()} == shapes


def test_base_is_the_video_model():
    with torch.device('meta'):
        model = Hiera()
        tokens = model(torch.zeros(1, 3, 16, 224, 224))
    assert tokens.grid == (8, 7, 7) and tokens.patches.shape == (1, 392, 768)
    # of its 51 M (Ryali et al. 2023, Table 6) 0.3 M are the classifier
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(50.8e6, rel=0.002)


@pytest.mark.parametrize(('q_pool', 'unit_stages'), [(2, 2), (1, 3), (3, 0), (0, 4)])
def test_other_stages_than_the_public_ones(q_pool, unit_stages):
    peer = randomise(
        TimmHiera(
            img_size=(64, 96), embed_dim=8, stages=(1, 1, 2, 1), num_classes=0, q_pool=q_pool,
            mask_unit_attn=[k < unit_stages for k in range(4)],
        )
    )  # fmt: skip
    model = Hiera(SMALL, (64, 96), q_pool=q_pool, unit_stages=unit_stages).eval()
    model.load_state_dict({key.replace('head.norm.', 'norm.'): value for key, value in peer.state_dict().items()})
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        tokens, (_, stages) = model(image), peer.forward_features(image, return_intermediates=True)
    assert tokens.grid == tuple(stages[-1].shape[1:3])
    torch.testing.assert_close(tokens.patches, stages[-1].flatten(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('drop', [dict(ratio=0.5), dict(axes=(0.5, 0.0)), dict(axes=(0.0, 0.3), ratio=0.5)])
def test_dropped_units_are_the_mask_units_of_timm(drop):
    peer = randomise(TimmHiera(img_size=(64, 96), embed_dim=8, stages=(1, 1, 2, 1), num_classes=0))
    model = Hiera(SMALL, (64, 96), token_drop=drop)
    model.load_state_dict({key.replace('head.norm.', 'norm.'): value for key, value in peer.state_dict().items()})
    image = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    places, kept = model.token_drop.draw((2, 3), image.device)
    mask = torch.zeros(3, 6)
    mask[:, places] = 1
    # timm hides the pixels of dropped units from its patch embedding, whose kernels overlap; ours is given such images
    pixels = mask.view(3, 1, 2, 3).repeat_interleave(32, dim=2).repeat_interleave(32, dim=3)
    torch.manual_seed(1)
    tokens = model.train()(image * pixels)
    expected = peer.forward_features(image, mask=mask.bool()).flatten(1, -2)
    assert tokens.grid == kept
    torch.testing.assert_close(tokens.patches, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokens.cls, model.norm(expected.mean(dim=1)), atol=1e-5, rtol=1e-5)


def test_units_beside_padding_are_dropped_with_it():
    """At another size than at construction: the units that are left in the place of all."""
    model = randomise(Hiera(SMALL, (64, 64), token_drop=dict(ratio=0.4))).train()
    image = torch.randn(2, 3, 40, 72, generator=torch.Generator().manual_seed(1))  # 10 x 18 tokens, 2 x 3 units
    torch.manual_seed(1)
    places, _ = model.token_drop.draw((2, 3), image.device)
    torch.manual_seed(1)
    tokens = model(image)
    assert tokens.grid == (4,)
    patches, grid = model.patch_embed(image)
    units = to_units(patches + model._positions(grid), grid, model.unit)
    units = units._replace(x=units.x[:, places], real=units.real[places])
    for block in model.blocks:
        units = block(units)
    torch.testing.assert_close(tokens.patches, units.x[:, :, 0])


def test_units_that_are_not_pooled_to_one_token_are_kept():
    with pytest.raises(ConfigError, match=r'unit=\(8, 8\) is not pooled to one token by q_stride=\(2, 2\), 2 times'):
        Hiera(SMALL, (64, 64), q_pool=2, token_drop=dict(ratio=0.5))


def test_what_an_image_says_in_units_stays_there():
    """With attention within units, a pixel changes the tokens of its unit alone, also beside padding."""
    model = Hiera(dict(SMALL, num_layers=2, stage_blocks=(1,)), (64, 44), q_pool=1, unit_stages=2).eval()
    randomise(model)
    image = torch.randn(1, 3, 64, 44, generator=torch.Generator().manual_seed(1))
    moved = image.clone()
    moved[:, :, 60, 40] += 5.0  # in the last unit, of 3 columns of tokens
    with torch.inference_mode():
        change = (model(moved).patches - model(image).patches).abs().amax(dim=-1).unflatten(1, (8, 6))[0]
    assert (change[:4] == 0).all() and (change[:, :4] == 0).all() and (change[4:, 4:] > 0).all()


def test_gradients_do_not_come_from_padding():
    model = randomise(Hiera(SMALL, (64, 64)))
    tokens = model(torch.randn(2, 3, 40, 72, generator=torch.Generator().manual_seed(1)))
    (tokens.cls.square().sum() + tokens.patches.square().sum()).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def test_its_blocks_are_computed_again():
    backbone = dict(type='Hiera', arch=SMALL, input_size=(64, 96), in_channels=1)
    parts = dict(neck=dict(type='Avg'), head=dict(type='ClsHead', num_classes=3))
    model = MODELS.build(dict(type='AVClassifier', backbones=dict(audio=backbone), **parts))
    inputs = dict(audio=torch.randn(2, 1, 1, 64, 96, generator=torch.Generator().manual_seed(1)))
    grads = []
    for level in (False, True):
        if level:
            assert len(turn_on_activation_checkpointing(model, 'backbones.audio')) == 5
        model.zero_grad()
        model(inputs)['label'][:, 0].sum().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(arch='giant'), "arch='giant' is unknown: choose one of tiny, small, base, base_plus, large, huge"),
        (dict(q_pool=4), 'q_pool=4: there are 3 stages that can begin with pooling'),
        (dict(unit=(1, 4, 8)), r'unit=\(1, 4, 8\) cannot be pooled 3 times by q_stride=\(1, 2, 2\): give mult'),
        (dict(patch_kernel=(7, 7)), 'patch_kernel=.* has 2 entries, but the grid has 3 axes'),
    ],
)  # fmt: skip
def test_mistakes(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Hiera(**{**dict(arch=SMALL, input_size=(4, 64, 64)), **kwargs})
