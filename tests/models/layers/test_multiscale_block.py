import pytest
import torch
import torch.nn.functional as F

from mmav.models.layers import MultiscaleAttention, MultiscaleBlock, RelativePosition
from mmav.models.layers.multiscale_block import resize_table
from mmav.models.layers.pooling import max_pool_tokens


def make(in_dims, out_dims, q_stride):
    args = dict(grid=(4, 6), kv_stride=(1, 1), kernel=(3, 3))
    return MultiscaleBlock(in_dims, out_dims, 2, q_stride=q_stride, **args).eval()


def test_eq_1_where_the_block_widens_and_pools():
    torch.manual_seed(0)
    block = make(8, 16, (1, 2))
    x = torch.randn(2, 25, 8)
    out, grid = block(x, (4, 6))
    normed = F.layer_norm(x, (8,), block.norm1.weight, block.norm1.bias, 1e-6)
    a = block.attn(normed, (4, 6))[0] + max_pool_tokens(block.proj(normed), (4, 6), (1, 2))
    expected = a + block.mlp(F.layer_norm(a, (16,), block.norm2.weight, block.norm2.bias, 1e-6))
    assert grid == (4, 3)
    torch.testing.assert_close(out, expected)


def test_skip_path_is_the_identity_at_constant_width():
    block = make(8, 8, (1, 1))
    assert block.proj is None
    torch.nn.init.zeros_(block.attn.proj.weight)
    torch.nn.init.zeros_(block.attn.proj.bias)
    torch.nn.init.zeros_(block.mlp.fc2.weight)
    torch.nn.init.zeros_(block.mlp.fc2.bias)
    x = torch.randn(2, 25, 8)
    assert torch.equal(block(x, (4, 6))[0], x)


def test_drop_path_drops_whole_samples_in_training_only():
    torch.manual_seed(0)
    block = MultiscaleBlock(8, 8, 2, q_stride=(1, 1), drop_path=0.5, grid=(4, 6), kv_stride=(1, 1), kernel=(3, 3))
    x = torch.randn(64, 25, 8)
    unchanged = (block.train()(x, (4, 6))[0] == x).flatten(1).all(dim=1)
    assert 4 <= unchanged.sum() <= 30  # both branches dropped: a quarter of 64 expected
    assert not (block.eval()(x, (4, 6))[0] == x).flatten(1).all(dim=1).any()


def make_attention(**kwargs):
    args = dict(grid=(4, 6), q_stride=(2, 2), kv_stride=(2, 2), kernel=(3, 3)) | kwargs
    return MultiscaleAttention(8, 16, 2, **args).eval()


@pytest.mark.parametrize('attention', ['explicit', 'folded', 'tiled'])
def test_residual_is_the_pooled_query_without_class_token(attention):
    torch.manual_seed(0)
    with_residual, without = (make_attention(residual_pooling=on, attention=attention) for on in (True, False))
    without.load_state_dict(with_residual.state_dict())
    x = torch.randn(3, 25, 8)
    out, grid = with_residual(x, (4, 6))
    assert grid == (2, 3)
    _, patches = with_residual.pool_q(with_residual.qkv(x)[..., :16], (4, 6))
    residual = F.pad(patches.flatten(2), (0, 0, 1, 0))
    expected = residual @ with_residual.proj.weight.t()
    torch.testing.assert_close(out - without(x, (4, 6))[0], expected, atol=1e-5, rtol=1e-5)


def test_relative_positions_matter_and_can_be_off():
    attn = make_attention()
    x = torch.randn(2, 25, 8)
    before = attn(x, (4, 6))[0]
    for table in attn.rel_pos.tables:
        torch.nn.init.normal_(table)
    assert not torch.allclose(before, attn(x, (4, 6))[0])
    assert make_attention(rel_pos=False)(x, (4, 6))[0].shape == (2, 7, 16)


def test_bad_arguments():
    with pytest.raises(ValueError, match='num_heads=3 does not divide the width 16'):
        MultiscaleAttention(8, 16, 3, grid=(4,), q_stride=(1,), kv_stride=(1,), kernel=(3,))
    with pytest.raises(ValueError, match="attention='flash' is unknown: choose one of auto, explicit, folded, tiled"):
        make_attention(attention='flash')


def test_another_projection_in_the_place_of_the_linear_one():
    attn, x = make_attention(), torch.randn(2, 25, 8)
    before = attn(x, (4, 6))[0]
    attn.qkv = torch.nn.Sequential(attn.qkv)
    torch.testing.assert_close(attn(x, (4, 6))[0], before)


def test_tables_are_interpolated_for_other_sizes():
    table = torch.arange(5.0)[:, None].expand(5, 3)
    assert resize_table(table, 5) is table
    resized = resize_table(table, 9)
    assert resized.shape == (9, 3)
    assert (resized.diff(dim=0) >= 0).all()
    assert resize_table(table.bfloat16(), 9).dtype == torch.bfloat16
    module = RelativePosition(3, (3, 3), (3, 3))
    assert [tuple(table.shape) for table in module.sized((5, 6), (5, 6))] == [(9, 3), (11, 3)]


def test_training_after_inference():
    """What is cached in inference mode can be saved for a backward pass."""
    attn, x = make_attention(grid=(5, 7)), torch.randn(1, 36, 8)
    with torch.inference_mode():
        attn(x, (5, 7))
    attn(x, (5, 7))[0].sum().backward()
    assert attn.rel_pos.tables[0].grad is not None
