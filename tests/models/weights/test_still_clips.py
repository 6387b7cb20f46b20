"""A picture model inflated to clips: a clip that stands still has the picture's patch tokens in every frame."""

import pytest
import timm
import torch

from mmav.models import MViTv2
from mmav.models.weights import load_public_weights
from tests.models.peers import randomise
from tests.models.weights.files import openmmlab, slowfast

PICTURE = dict(patch_kernel=(7, 7), patch_stride=(4, 4), kv_stride=(4, 4), cls_token=False)
ARCH = dict(embed_dims=8, num_layers=4, num_heads=1, stage_blocks=(1, 3))


def assert_still(clip_model, picture, expected):
    """``expected``: the picture's patch tokens (1, N, D)."""
    frames = clip_model.input_size[0]
    with torch.inference_mode():
        tokens = clip_model(picture[:, :, None].expand(-1, -1, frames, -1, -1))
    by_frame = tokens.patches.unflatten(1, (tokens.grid[0], -1))
    for frame in range(tokens.grid[0]):
        torch.testing.assert_close(by_frame[:, frame], expected, atol=1e-4, rtol=1e-4)
    # the tokens do depend on the picture
    assert expected.std(dim=1).mean() > 1e-2


def picture_of(size):
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(('name', 'arch'), [('mvitv2_tiny', 'tiny'), ('mvitv2_base', 'base')])
def test_as_in_timm(tmp_path, name, arch):
    """The image model itself as reference; ``base`` is that of the paper, on smaller pictures."""
    peer = randomise(timm.create_model(name, img_size=64))
    torch.save(peer.state_dict(), tmp_path / 'picture.pth')
    model = MViTv2(arch, input_size=(4, 64, 64), kv_stride=(1, 4, 4), cls_token=False).eval()
    randomise(model)
    report = load_public_weights(model, tmp_path / 'picture.pth')
    assert not report.missing and report.adapted['patch_embed.proj.weight'] == 'in the center of 3 frames'
    assert report.adapted['blocks.0.attn.rel_pos.tables.0'] == 'zero, as images have no time'
    picture = picture_of((64, 64))
    with torch.inference_mode():
        expected = peer.forward_features(picture)
    assert_still(model, picture, expected)


@pytest.fixture(scope='module')
def small():
    """A small image model of ours, whose equality with timm's is tested beside; pictures of 48 x 64."""
    return randomise(MViTv2(ARCH, input_size=(48, 64), **PICTURE))


@pytest.mark.parametrize(
    'clip',
    [
        dict(input_size=(5, 48, 64)),  # an odd number of frames: the last patch reaches over the end
        dict(input_size=(8, 48, 64), q_strides=[(2, 2, 2), (1, 2, 2)]),  # queries pooled over time, too
        dict(input_size=(8, 48, 64), kv_stride=(2, 4, 4)),  # fewer keys over time
        dict(input_size=(3, 48, 64), patch_kernel=(1, 7, 7), patch_stride=(1, 4, 4)),
        dict(input_size=(8, 48, 64), patch_kernel=(5, 7, 7), pool_kernel=(5, 3, 3)),
        dict(input_size=(4, 48, 64), pool_kernel=(1, 3, 3)),
    ],
)
@pytest.mark.parametrize('write', [slowfast, lambda ours: openmmlab(ours, 'head.fc')], ids=['mvit', 'mmpretrain'])
def test_whatever_happens_over_time(small, tmp_path, clip, write):
    torch.save(write(small.state_dict()), tmp_path / 'picture.pth')
    model = randomise(MViTv2(ARCH, **{'kv_stride': (1, 4, 4), **clip}, cls_token=False))
    load_public_weights(model, tmp_path / 'picture.pth')
    picture = picture_of((48, 64))
    with torch.inference_mode():
        assert_still(model, picture, small(picture).patches)


def test_mean_is_offered_and_begins_time_at_zero_too(small, tmp_path):
    torch.save(slowfast(small.state_dict()), tmp_path / 'picture.pth')
    model = randomise(MViTv2(ARCH, input_size=(8, 48, 64), kv_stride=(1, 4, 4)))
    token = model.cls_token.clone()
    report = load_public_weights(model, tmp_path / 'picture.pth', inflate='mean')
    kernel = small.blocks[1].attn.pool_q.conv.weight
    torch.testing.assert_close(
        model.blocks[1].attn.pool_q.conv.weight, kernel[:, :, None].expand(-1, -1, 3, -1, -1) / 3
    )
    for block, picture in zip(model.blocks, small.blocks, strict=True):
        time, *others = block.attn.rel_pos.tables
        assert not time.any() and time.requires_grad
        assert all(torch.equal(a, b) for a, b in zip(others, picture.attn.rel_pos.tables, strict=True))
    assert report.missing == ['cls_token'] and torch.equal(model.cls_token, token)


def test_another_size_of_the_pictures_interpolates_what_remains(small, tmp_path):
    torch.save(slowfast(small.state_dict()), tmp_path / 'picture.pth')
    model = MViTv2(ARCH, input_size=(4, 48, 96), cls_token=False)
    report = load_public_weights(model, tmp_path / 'picture.pth')
    assert report.adapted['blocks.0.attn.rel_pos.tables.2'] == '31 rows interpolated to 47'
    assert report.adapted['blocks.0.attn.rel_pos.tables.0'] == 'zero, as images have no time'
    assert 'blocks.0.attn.rel_pos.tables.1' in report.loaded
