import pytest
import torch

from mmav.models.layers import SelfAttention, TransformerBlock


def test_block_equals_pytorch():
    """torch.nn.TransformerEncoderLayer, pre-norm, is the outside reference."""
    torch.manual_seed(0)
    peer = torch.nn.TransformerEncoderLayer(
        16, 4, 64, dropout=0.0, activation='gelu', batch_first=True, norm_first=True, layer_norm_eps=1e-6
    ).eval()
    for parameter in peer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    block = TransformerBlock(16, 4).eval()
    names = {
        'self_attn.in_proj_': 'attn.qkv.',
        'self_attn.out_proj.': 'attn.proj.',
        'linear1.': 'mlp.fc1.',
        'linear2.': 'mlp.fc2.',
    }
    state = {}
    for key, value in peer.state_dict().items():
        for old, new in names.items():
            key = key.replace(old, new)
        state[key] = value
    block.load_state_dict(state)
    x = torch.randn(3, 10, 16)
    torch.testing.assert_close(block(x), peer(x), atol=1e-5, rtol=1e-5)
    mask = torch.rand(3, 10) > 0.4
    mask[:, 0] = True
    torch.testing.assert_close(block(x, mask), peer(x, src_key_padding_mask=~mask), atol=1e-5, rtol=1e-5)


def test_masked_keys_have_no_influence():
    attn = SelfAttention(8, 2)
    x = torch.randn(2, 6, 8)
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    changed = x.clone()
    changed[0, 4:] = 99.0
    torch.testing.assert_close(attn(x, mask)[0, :4], attn(changed, mask)[0, :4])
    assert not torch.allclose(attn(x)[0, :4], attn(changed)[0, :4])


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match='num_heads=5 does not divide the width 16'):
        SelfAttention(16, 5)
