import pytest
import torch
import torch.nn.functional as F

from mmav.models.layers import PatchEmbed
from mmav.models.layers.patch_embed import inflate_kernel, to_one_channel, to_tuple


def test_tokens_are_the_convolution_in_row_major_order():
    embed = PatchEmbed(3, 8, (3, 7, 7), stride=(2, 4, 4))
    clip = torch.randn(2, 3, 6, 16, 20)
    tokens, grid = embed(clip)
    expected = F.conv3d(clip, embed.proj.weight, embed.proj.bias, stride=(2, 4, 4), padding=(1, 3, 3))
    assert grid == tuple(expected.shape[2:]) == embed.grid_of((6, 16, 20)) == (3, 4, 5)
    torch.testing.assert_close(tokens[:, 1 * 20 + 2 * 5 + 3], expected[:, :, 1, 2, 3])


def test_padding_can_be_given():
    assert PatchEmbed(1, 4, (16, 16), stride=10, padding=0).grid_of((128, 1024)) == (12, 101)


@pytest.mark.parametrize('shape', [(1, 1, 8, 8, 8), (1, 3, 8, 8), (3, 8, 8, 8)])
def test_wrong_rank_or_channels(shape):
    with pytest.raises(ValueError, match=r'expected an input \(B, 3, \*, \*, \*\), got shape'):
        PatchEmbed(3, 8, (3, 7, 7), stride=(2, 4, 4))(torch.zeros(shape))


def test_too_small():
    with pytest.raises(ValueError, match=r'input size \(8, 20\) is too small for patches of \(16, 16\)'):
        PatchEmbed(1, 4, (16, 16), stride=10, padding=0)(torch.zeros(1, 1, 8, 20))


def test_a_sum_responds_to_a_grey_image_as_the_kernel_did():
    kernel, grey = torch.randn(4, 3, 5, 5), torch.randn(1, 1, 9, 9)
    merged, how = to_one_channel(kernel, 'sum')
    torch.testing.assert_close(F.conv2d(grey, merged), F.conv2d(grey.expand(-1, 3, -1, -1), kernel))
    averaged, also = to_one_channel(kernel, 'mean')
    torch.testing.assert_close(averaged, merged / 3)
    assert (how, also) == ('3 channels summed to 1', '3 channels averaged to 1')


@pytest.mark.parametrize('frames', [1, 2, 3, 5])
def test_center_responds_to_a_still_clip_as_the_kernel_does_to_its_frame(frames):
    kernel, image = torch.randn(4, 3, 3, 3), torch.randn(1, 3, 8, 8)
    inflated, how = inflate_kernel(kernel, frames, 'center')
    assert how == f'in the center of {frames} frames'
    clip = image[:, :, None].expand(-1, -1, 6, -1, -1)
    padded = F.conv3d(clip, inflated, padding=(frames // 2 if frames % 2 else 0, 0, 0))
    expected = F.conv2d(image, kernel)
    torch.testing.assert_close(padded, expected[:, :, None].expand_as(padded), atol=1e-5, rtol=1e-4)


def test_mean_loses_what_padding_has_at_the_ends():
    """Why the center is the default."""
    kernel, image = torch.randn(4, 3, 3, 3), torch.randn(1, 3, 8, 8)
    inflated, how = inflate_kernel(kernel, 3, 'mean')
    assert how == 'spread over 3 frames'
    frames = F.conv3d(image[:, :, None].expand(-1, -1, 6, -1, -1), inflated, padding=(1, 0, 0)).unbind(2)
    expected = F.conv2d(image, kernel)
    for frame in frames[1:-1]:
        torch.testing.assert_close(frame, expected, atol=1e-5, rtol=1e-4)
    for frame in (frames[0], frames[-1]):
        torch.testing.assert_close(frame, expected * 2 / 3, atol=1e-5, rtol=1e-4)


def test_to_tuple_names_the_argument():
    with pytest.raises(ValueError, match=r'stride=\(1, 2\) has 2 entries, but the grid has 3 axes'):
        to_tuple((1, 2), 3, 'stride')
