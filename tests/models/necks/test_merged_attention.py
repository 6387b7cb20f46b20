import math

import pytest
import torch

from mmav.models import MergedAttention
from mmav.structures import Tokens


def make_tokens(dims=(16, 16)):
    generator = torch.Generator().manual_seed(0)
    sizes = dict(video=(12, (3, 2, 2), dims[0]), audio=(10, (2, 5), dims[1]))
    return {
        m: Tokens(torch.randn(3, d, generator=generator), torch.randn(3, n, d, generator=generator), grid)
        for m, (n, grid, d) in sizes.items()
    }


def make_neck(dims=(16, 16)):
    torch.manual_seed(0)
    neck = MergedAttention(dict(video=dims[0], audio=dims[1]), 16, 2, num_heads=2).eval()
    for parameter in neck.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return neck


def written_out(neck, video, audio):
    """One clip, one head at a time, with the softmax spelled out; ``video`` or ``audio`` None where it is absent."""
    x = torch.cat([torch.cat((t.cls[:1], t.patches[0])) for t in (video, audio) if t is not None])
    for block in neck.blocks:
        qkv = block.attn.qkv(block.norm1(x))
        heads = []
        for h in range(2):
            q, k, v = (qkv[:, 16 * i + 8 * h : 16 * i + 8 * h + 8] for i in range(3))
            weights = (q @ k.T / math.sqrt(8)).exp()
            heads.append(weights / weights.sum(dim=1, keepdim=True) @ v)
        x = x + block.attn.proj(torch.cat(heads, dim=1))
        x = x + block.mlp(block.norm2(x))
    return x


def test_equals_the_equation():
    neck, tokens = make_neck(), make_tokens()
    x = written_out(neck, tokens['video'], tokens['audio'])
    expected = torch.cat((neck.norms['video'](x[0]), neck.norms['audio'](x[13])))
    torch.testing.assert_close(neck(tokens)['fused'][0], expected)


@pytest.mark.parametrize('absent', ['video', 'audio'])
def test_absent_modality_reaches_nothing(absent):
    neck, tokens = make_neck(), make_tokens()
    present = 'audio' if absent == 'video' else 'video'
    masks = {m: torch.ones(3, dtype=torch.bool) for m in tokens}
    masks[absent][0] = False
    tokens[absent].cls[0], tokens[absent].patches[0] = float('nan'), float('nan')
    fused = neck(tokens, masks)['fused']
    assert fused.isfinite().all()
    # what is there comes out as if the other modality had never been in the sequence
    x = written_out(neck, **{present: tokens[present], absent: None})
    part = slice(0, 16) if present == 'video' else slice(16, 32)
    torch.testing.assert_close(fused[0, part], neck.norms[present](x[0]))
    tokens[absent].cls[0], tokens[absent].patches[0] = 0.0, 0.0
    torch.testing.assert_close(fused[1:], neck(tokens)['fused'][1:])


def test_clip_without_any_modality_stays_finite():
    neck, tokens = make_neck(), make_tokens()
    masks = {m: torch.tensor([False, True, True]) for m in tokens}
    # what a kernel makes of a row without any key differs between kernels and releases: none may be asked
    neck.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    seen = []
    fused = neck(tokens, masks)['fused']
    assert seen[0].any(dim=1).all()
    assert fused.isfinite().all()
    torch.testing.assert_close(fused[1:], neck(tokens)['fused'][1:])


def test_modalities_meet_at_once():
    neck, tokens = make_neck(), make_tokens()
    neck.blocks = neck.blocks[:1]
    audio = tokens['audio']
    other = dict(tokens, audio=Tokens(audio.cls, audio.patches.flip(-1), audio.grid))
    assert not torch.allclose(neck(tokens)['fused'][:, :16], neck(other)['fused'][:, :16], atol=1e-4)


def test_other_widths_are_projected():
    neck = make_neck((16, 8))
    assert neck(make_tokens((16, 8)))['fused'].shape == (3, 32)
    assert isinstance(neck.adapt['video'], torch.nn.Identity)


def test_init_weights():
    neck = make_neck((16, 8))
    neck.init_weights()
    assert 0.01 < neck.adapt['audio'].weight.std() < 0.03
    assert (neck.blocks[0].attn.qkv.bias == 0).all()


def test_bad_arguments():
    with pytest.raises(ValueError, match="MergedAttention needs the widths of \\('video', 'audio'\\), got in_dims="):
        MergedAttention(dict(audio=16))
