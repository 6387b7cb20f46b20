import functools

import pytest
import timm
import torch
from torchvision.models.video import mvit

from mmav.models import MViTv2
from mmav.models.backbones.mvit import resolve_arch
from tests.models.peers import from_timm_mvitv2, from_torchvision_mvit, randomise

SMALL = dict(embed_dims=16, num_layers=3, num_heads=1, stage_blocks=(1,))


def _sized(kind, size, **options):
    return kind(**{**options, **size})


@pytest.fixture(scope='module')
def torchvision_small():
    """Weights of torchvision's MViTv2-S under our names, a clip, and what it makes of the clip, class token first."""
    with pytest.MonkeyPatch.context() as patch:  # the function has no arguments for the size
        size = dict(temporal_size=8, spatial_size=(128, 128))
        patch.setattr(mvit, 'MViT', functools.partial(_sized, mvit.MViT, size))
        peer = randomise(mvit.mvit_v2_s())
    clip = torch.randn(1, 3, 8, 128, 128, generator=torch.Generator().manual_seed(1))
    seen = {}
    peer.norm.register_forward_hook(lambda module, args, output: seen.update(out=output))
    with torch.inference_mode():
        peer(clip)
    return from_torchvision_mvit(peer.state_dict()), clip, seen['out']


@pytest.mark.parametrize('attention', ['explicit', 'folded', 'tiled'])
def test_small_equals_torchvision(attention, torchvision_small):
    weights, clip, expected = torchvision_small
    model = MViTv2('small', input_size=(8, 128, 128), attention=attention).eval()
    model.load_state_dict(weights)
    with torch.inference_mode():
        tokens = model(clip)
    assert tokens.grid == (4, 4, 4)
    torch.testing.assert_close(tokens.cls, expected[:, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens.patches, expected[:, 1:], atol=1e-4, rtol=1e-4)


@pytest.fixture(scope='module')
def timm_tiny():
    """Weights of timm's image model under our names, images, and what it makes of them."""
    peer = randomise(timm.create_model('mvitv2_tiny', img_size=128))
    image = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return from_timm_mvitv2(peer.state_dict()), image, peer.forward_features(image)


@pytest.mark.parametrize('attention', ['explicit', 'folded', 'tiled'])
def test_image_model_equals_timm(attention, timm_tiny):
    weights, image, expected = timm_tiny
    model = MViTv2(
        'tiny',
        input_size=(128, 128),
        patch_kernel=(7, 7),
        patch_stride=(4, 4),
        kv_stride=(4, 4),
        cls_token=False,
        attention=attention,
    )
    # timm's stages begin with their pooling block, and its first stage pools keys by 4 as MViTv2's (4, 4) does
    model.load_state_dict(weights)
    with torch.inference_mode():
        tokens = model.eval()(image)
    assert tokens.grid == (4, 4)
    torch.testing.assert_close(tokens.patches, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens.cls, expected.mean(dim=1), atol=1e-4, rtol=1e-4)


def test_base_has_the_published_size():
    with torch.device('meta'):
        model = MViTv2('base')
    # 50.9 M without classifier, computed from the architecture and equal in open-mmlab/mmaction2
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(50.9e6, rel=0.01)
    tokens = model(torch.zeros(1, 3, 16, 224, 224, device='meta'))
    assert tokens.grid == (8, 7, 7)
    assert tokens.patches.shape == (1, 392, 768)
    # keys and values begin at 8x7x7 and stay there
    assert [b.attn.pool_k.stride for b in (model.blocks[i] for i in (0, 2, 5, 21))] == [
        (1, 8, 8),
        (1, 4, 4),
        (1, 2, 2),
        (1, 1, 1),
    ]


def test_other_size_at_run_time():
    model = MViTv2(SMALL, input_size=(4, 32, 32)).eval()
    tokens = model(torch.randn(1, 3, 6, 48, 36))
    assert tokens.grid == (3, 6, 5)


def test_drop_path_rises_to_its_rate():
    model = MViTv2(SMALL, input_size=(4, 32, 32), drop_path_rate=0.2)
    assert isinstance(model.blocks[0].drop_path, torch.nn.Identity)
    assert [b.drop_path.drop_prob for b in model.blocks[1:]] == [0.1, 0.2]


def test_init_weights_changes_every_matrix():
    model = MViTv2(SMALL, input_size=(4, 32, 32))
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    model.init_weights()
    for name, parameter in model.named_parameters():
        assert not (parameter == 7.0).any(), name
    assert 0.015 < model.blocks[0].attn.qkv.weight.std() < 0.025
    assert model.cls_token.std() > 0
    assert all(table.std() > 0 for table in model.blocks[0].attn.rel_pos.tables)


@pytest.mark.parametrize(
    ('arch', 'message'),
    [
        ('huge', "arch='huge' is unknown: choose one of tiny, small, base, large"),
        (dict(embed_dims=16), 'expected .*embed_dims'),
        (dict(SMALL, stage_blocks=(3,)), r'stage_blocks=\(3,\) must rise and stay below num_layers=3'),
        (dict(SMALL, stage_blocks=(1, 1)), 'must rise'),
    ],
)
def test_unknown_arch_is_refused(arch, message):
    with pytest.raises(ValueError, match=message):
        resolve_arch(arch)


def test_sizes_that_contradict_are_refused():
    with pytest.raises(ValueError, match='does not fit input_size'):
        MViTv2(SMALL, input_size=(32, 32))
    with pytest.raises(ValueError, match='q_strides has 3 entries, but there are 1 stage blocks'):
        MViTv2(SMALL, input_size=(4, 32, 32), q_strides=[(1, 2, 2)] * 3)
    with pytest.raises(ValueError, match='kv_stride=.* has 2 entries, but the grid has 3 axes'):
        MViTv2(SMALL, input_size=(4, 32, 32), kv_stride=(8, 8))
    with pytest.raises(ValueError, match='expected an input'):
        MViTv2(SMALL, input_size=(4, 32, 32))(torch.zeros(1, 1, 4, 32, 32))


def test_forward_and_backward():
    """At the paper's depth; its size is that of test_base_has_the_published_size."""
    model = MViTv2('base', drop_path_rate=0.3)
    model.init_weights()
    tokens = model(torch.randn(1, 3, 4, 64, 64))
    assert tokens.grid == (2, 2, 2)
    (tokens.cls.square().mean() + tokens.patches.square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
