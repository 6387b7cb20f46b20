import pytest
import torch

from mmav.models import AVBottleneck
from mmav.structures import Tokens


def make_tokens(batch=3, dims=(16, 16)):
    generator = torch.Generator().manual_seed(0)
    sizes = dict(video=(12, (3, 2, 2), dims[0]), audio=(10, (2, 5), dims[1]))
    return {
        m: Tokens(torch.randn(batch, d, generator=generator), torch.randn(batch, n, d, generator=generator), grid)
        for m, (n, grid, d) in sizes.items()
    }


def make_neck(update='sequential', dims=(16, 16), num_blocks=2):
    torch.manual_seed(0)
    neck = AVBottleneck(
        dict(video=dims[0], audio=dims[1]), 16, num_blocks, num_tokens=3, num_heads=2, update=update
    ).eval()
    for parameter in neck.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return neck


def written_out(neck, tokens, update):
    """Eq. 5 and 6 (or MBT's average) step by step."""
    streams = {m: torch.cat((t.cls[:, None], t.patches), dim=1) for m, t in tokens.items()}
    shared = neck.tokens.expand(3, -1, -1)
    for block in neck.blocks:
        e_vf = block['video'](torch.cat((streams['video'], shared), dim=1))
        streams['video'], shared_v = e_vf[:, :13], e_vf[:, 13:]
        e_fa = block['audio'](torch.cat((shared_v if update == 'sequential' else shared, streams['audio']), dim=1))
        shared_a, streams['audio'] = e_fa[:, :3], e_fa[:, 3:]
        shared = shared_a if update == 'sequential' else (shared_v + shared_a) / 2
    return torch.cat([neck.norms[m](streams[m][:, 0]) for m in ('video', 'audio')], dim=-1)


@pytest.mark.parametrize('update', ['sequential', 'average'])
def test_equals_the_equations(update):
    neck, tokens = make_neck(update), make_tokens()
    torch.testing.assert_close(neck(tokens)['fused'], written_out(neck, tokens, update))


def shift(tokens, modality):
    cls, patches, grid = tokens[modality]
    return dict(tokens, **{modality: Tokens(cls + torch.randn_like(cls), patches + torch.randn_like(patches), grid)})


@pytest.mark.parametrize(
    ('update', 'num_blocks', 'picture_hears', 'sound_sees'),
    [
        ('sequential', 1, False, True),
        ('sequential', 2, True, True),
        ('average', 1, False, False),
        ('average', 2, True, True),
    ],
)
def test_modalities_meet_in_the_bottleneck_only(update, num_blocks, picture_hears, sound_sees):
    # after one block news has travelled along the sequence only; without a bottleneck it would have crossed at once
    neck, tokens = make_neck(update, num_blocks=num_blocks), make_tokens()
    base = neck(tokens)['fused']
    assert torch.allclose(base[:, :16], neck(shift(tokens, 'audio'))['fused'][:, :16], atol=1e-6) is not picture_hears
    assert torch.allclose(base[:, 16:], neck(shift(tokens, 'video'))['fused'][:, 16:], atol=1e-6) is not sound_sees


@pytest.mark.parametrize('update', ['sequential', 'average'])
@pytest.mark.parametrize('absent', ['video', 'audio'])
def test_absent_modality_reaches_nothing(update, absent):
    neck, tokens = make_neck(update), make_tokens()
    masks = {m: torch.ones(3, dtype=torch.bool) for m in tokens}
    masks[absent][1] = False
    out = neck(tokens, masks)['fused']
    garbage = dict(tokens)
    cls, patches, grid = tokens[absent]
    cls, patches = cls.clone(), patches.clone()
    cls[1], patches[1] = float('nan'), float('nan')
    garbage[absent] = Tokens(cls, patches, grid)
    torch.testing.assert_close(neck(garbage, masks)['fused'], out)
    assert out.isfinite().all()
    torch.testing.assert_close(out[[0, 2]], neck(tokens)['fused'][[0, 2]])


def test_clip_without_any_modality_stays_finite():
    neck, tokens = make_neck('average'), make_tokens()
    masks = {m: torch.tensor([False, True, True]) for m in tokens}
    assert neck(tokens, masks)['fused'].isfinite().all()


def test_other_widths_are_projected():
    neck, tokens = make_neck(dims=(16, 8)), make_tokens(dims=(16, 8))
    assert neck(tokens)['fused'].shape == (3, 32)
    assert isinstance(neck.adapt['video'], torch.nn.Identity)


def test_paper_size():
    with torch.device('meta'):
        neck = AVBottleneck(dict(video=768, audio=768))
    # 56.6 M for four blocks, computed from the architecture
    assert sum(p.numel() for p in neck.parameters()) == pytest.approx(56.7e6, rel=0.005)
    assert neck.out_dims == {'fused': 1536}
    assert len(neck.blocks) == 4
    assert neck.tokens.shape == (1, 4, 768)


def test_init_weights():
    neck = make_neck()
    for parameter in neck.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    neck.init_weights()
    assert all(not (p == 7.0).any() for p in neck.parameters())
    assert neck.tokens.std() > 0


def test_bad_arguments():
    with pytest.raises(ValueError, match="needs the widths of \\('video', 'audio'\\), got in_dims={'audio': 16}"):
        AVBottleneck(dict(audio=16))
    with pytest.raises(ValueError, match="update='mean' is unknown: choose one of sequential, average"):
        AVBottleneck(dict(video=16, audio=16), 16, num_heads=2, update='mean')
