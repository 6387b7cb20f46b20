import torch
import torch.nn.functional as F

from mmav.models.layers import MultiscaleBlock
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
