import pytest
import torch
import torch.nn.functional as F

from mmav.models.layers import MultiscaleAttention


def make(**kwargs):
    args = dict(grid=(4, 6), q_stride=(2, 2), kv_stride=(2, 2), kernel=(3, 3)) | kwargs
    return MultiscaleAttention(8, 16, 2, **args).eval()


@pytest.mark.parametrize('attention', ['explicit', 'folded', 'tiled'])
def test_residual_is_the_pooled_query_without_class_token(attention):
    torch.manual_seed(0)
    with_residual, without = (make(residual_pooling=on, attention=attention) for on in (True, False))
    without.load_state_dict(with_residual.state_dict())
    x = torch.randn(3, 25, 8)
    out, grid = with_residual(x, (4, 6))
    assert grid == (2, 3)
    _, patches = with_residual.pool_q(with_residual.qkv(x)[..., :16], (4, 6))
    residual = F.pad(patches.flatten(2), (0, 0, 1, 0))
    expected = residual @ with_residual.proj.weight.t()
    torch.testing.assert_close(out - without(x, (4, 6))[0], expected, atol=1e-5, rtol=1e-5)


def test_relative_positions_matter_and_can_be_off():
    attn = make()
    x = torch.randn(2, 25, 8)
    before = attn(x, (4, 6))[0]
    for table in attn.rel_pos.tables:
        torch.nn.init.normal_(table)
    assert not torch.allclose(before, attn(x, (4, 6))[0])
    assert make(rel_pos=False)(x, (4, 6))[0].shape == (2, 7, 16)


def test_bad_arguments():
    with pytest.raises(ValueError, match='num_heads=3 does not divide the width 16'):
        MultiscaleAttention(8, 16, 3, grid=(4,), q_stride=(1,), kv_stride=(1,), kernel=(3,))
    with pytest.raises(ValueError, match="attention='flash' is unknown: choose one of auto, explicit, folded, tiled"):
        make(attention='flash')


def test_another_projection_in_the_place_of_the_linear_one():
    attn, x = make(), torch.randn(2, 25, 8)
    before = attn(x, (4, 6))[0]
    attn.qkv = torch.nn.Sequential(attn.qkv)
    torch.testing.assert_close(attn(x, (4, 6))[0], before)
