import pytest
import torch
import torch.nn.functional as F

from mmav.models.layers.picture_kernels import inflate_kernel, to_one_channel


def test_a_sum_answers_to_a_grey_picture_as_the_kernel_did():
    kernel, grey = torch.randn(4, 3, 5, 5), torch.randn(1, 1, 9, 9)
    merged, how = to_one_channel(kernel, 'sum')
    torch.testing.assert_close(F.conv2d(grey, merged), F.conv2d(grey.expand(-1, 3, -1, -1), kernel))
    averaged, also = to_one_channel(kernel, 'mean')
    torch.testing.assert_close(averaged, merged / 3)
    assert (how, also) == ('3 channels summed to 1', '3 channels averaged to 1')


@pytest.mark.parametrize('frames', [1, 2, 3, 5])
def test_center_answers_to_a_still_clip_as_the_kernel_does_to_its_picture(frames):
    kernel, picture = torch.randn(4, 3, 3, 3), torch.randn(1, 3, 8, 8)
    inflated, how = inflate_kernel(kernel, frames, 'center')
    assert how == f'in the center of {frames} frames'
    clip = picture[:, :, None].expand(-1, -1, 6, -1, -1)
    padded = F.conv3d(clip, inflated, padding=(frames // 2 if frames % 2 else 0, 0, 0))
    expected = F.conv2d(picture, kernel)
    torch.testing.assert_close(padded, expected[:, :, None].expand_as(padded), atol=1e-5, rtol=1e-4)


def test_mean_loses_what_padding_has_at_the_ends():
    """Why the center is the default."""
    kernel, picture = torch.randn(4, 3, 3, 3), torch.randn(1, 3, 8, 8)
    inflated, how = inflate_kernel(kernel, 3, 'mean')
    assert how == 'spread over 3 frames'
    frames = F.conv3d(picture[:, :, None].expand(-1, -1, 6, -1, -1), inflated, padding=(1, 0, 0)).unbind(2)
    expected = F.conv2d(picture, kernel)
    for frame in frames[1:-1]:
        torch.testing.assert_close(frame, expected, atol=1e-5, rtol=1e-4)
    for frame in (frames[0], frames[-1]):
        torch.testing.assert_close(frame, expected * 2 / 3, atol=1e-5, rtol=1e-4)
