import pytest
import torch
import torch.nn.functional as F

from mmav.models.layers import PatchEmbed


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
