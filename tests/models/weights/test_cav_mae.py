"""CAV-MAE's files beside its forward pass, composed of timm's layers as the paper and its repository describe it."""

import pytest
import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Attention
from torch import nn

from mmav.errors import CheckpointError
from mmav.models import AST, PerFrame, ViT
from mmav.models.weights import load_public_weights
from mmav.models.weights.cav_mae import is_cav_mae
from tests.models.peers import randomise

DIM, HEADS, DEPTH = 16, 2, 2


class Block(nn.Module):
    """Attention and MLP, with three pairs of norms: one for both modalities together, one for each."""

    def __init__(self):
        super().__init__()
        for name in ('norm1', 'norm1_a', 'norm1_v', 'norm2', 'norm2_a', 'norm2_v'):
            self.add_module(name, nn.LayerNorm(DIM))
        self.attn = Attention(DIM, HEADS, qkv_bias=True)
        self.mlp = Mlp(DIM, 4 * DIM)

    def forward(self, x, suffix=''):
        x = x + self.attn(self.get_submodule(f'norm1{suffix}')(x))
        return x + self.mlp(self.get_submodule(f'norm2{suffix}')(x))


class CAVMAE(nn.Module):
    """The encoder of CAV-MAE (Gong et al. 2023) for 32 x 64 spectrograms with 128 bins' 8 rows of patches."""

    def __init__(self):
        super().__init__()
        self.patch_embed_a, self.patch_embed_v = nn.Module(), nn.Module()
        self.patch_embed_a.proj = nn.Conv2d(1, DIM, 16, stride=16)
        self.patch_embed_v.proj = nn.Conv2d(3, DIM, 16, stride=16)
        for name, number in (('a', 8 * 3), ('v', 2 * 2)):
            setattr(self, f'modality_{name}', nn.Parameter(torch.zeros(1, 1, DIM)))
            setattr(self, f'pos_embed_{name}', nn.Parameter(torch.zeros(1, number, DIM)))
            setattr(self, f'blocks_{name}', nn.ModuleList(Block() for _ in range(DEPTH)))
            setattr(self, f'norm_{name}', nn.LayerNorm(DIM))
        self.blocks_u, self.norm = nn.ModuleList([Block()]), nn.LayerNorm(DIM)

    def stream(self, x, name):
        x = self.get_submodule(f'patch_embed_{name}').proj(x).flatten(2).transpose(1, 2)
        x = x + getattr(self, f'pos_embed_{name}') + getattr(self, f'modality_{name}')
        for block in getattr(self, f'blocks_{name}'):
            x = block(x)
        for block in self.blocks_u:
            x = block(x, f'_{name}')
        return self.get_submodule(f'norm_{name}')(x)


# of pretraining, and of fine-tuning
DECODER = {
    'decoder_embed.weight': torch.ones(4, DIM),
    'mask_token': torch.ones(1, 1, 4),
    'decoder_modality_a': torch.ones(1, 1, 4),
    'decoder_pos_embed_v': torch.ones(1, 4, 4),
    'decoder_blocks.0.norm1_a.weight': torch.ones(4),
    'decoder_pred_a.weight': torch.ones(256, 4),
}
HEAD = {'mlp_head.0.weight': torch.ones(DIM), 'mlp_head.1.weight': torch.ones(3, DIM)}
PLAIN = dict(embed_dims=DIM, num_layers=DEPTH + 1, num_heads=HEADS, cls_token=False, norm_eps=1e-5)


def audio():
    return AST((128, 48), patch_stride=(16, 16), dist_token=False, **PLAIN).eval()


def images():
    return dict(type='ViT', input_size=(32, 32), patch_kernel=(16, 16), **PLAIN)


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    peer = randomise(CAVMAE())
    path = tmp_path_factory.mktemp('cav_mae') / 'audio_model.21.pth'
    # wrapped in DataParallel, as all of them are
    torch.save({f'module.{key}': value for key, value in {**peer.state_dict(), **DECODER}.items()}, path)
    return peer, path


def test_audio(file):
    peer, path = file
    model = audio()
    report = load_public_weights(model, path)
    assert report.layout == 'CAV-MAE (YuanGongND/cav-mae), audio' and report.loaded == list(model.state_dict())
    x = torch.randn(2, 48, 128, generator=torch.Generator().manual_seed(1))  # theirs is (B, T, F)
    with torch.inference_mode():
        tokens, expected = model(x.transpose(1, 2)[:, None]), peer.stream(x[:, None].transpose(2, 3), 'a')
    assert tokens.grid == (8, 3)
    torch.testing.assert_close(tokens.patches, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokens.cls, expected.mean(dim=1), atol=1e-5, rtol=1e-5)


def test_video_is_its_frames(file):
    peer, path = file
    model = PerFrame(images(), frames=3).eval()
    load_public_weights(model.encoder, path)
    clip = torch.randn(2, 3, 5, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        tokens = model(clip)
        expected = torch.stack([peer.stream(clip[:, :, k], 'v') for k in range(5)], dim=1)
    assert tokens.grid == (5, 2, 2)
    torch.testing.assert_close(tokens.patches, expected.flatten(1, 2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokens.cls, expected.mean(dim=(1, 2)), atol=1e-5, rtol=1e-5)


def test_what_is_not_of_the_stream_is_reported(file):
    peer, path = file
    report = load_public_weights(audio(), path)
    own = [key for key in peer.state_dict() if not key.startswith('decoder')]
    used = len(audio().state_dict()) + 1  # the modality embedding is in the positions
    assert len(report.unused) == len(own) + len(DECODER) - used
    joint = [key for key in report.unused if key.startswith('blocks_u')]
    assert {key.split('.')[2] for key in joint} == {'norm1', 'norm2', 'norm1_v', 'norm2_v'}
    assert not any('attn' in key and key.startswith('blocks_a') for key in report.unused)


def test_fine_tuned_and_torn_files(file, tmp_path):
    peer, _ = file
    state = {**peer.state_dict(), **HEAD}
    torch.save(state, tmp_path / 'vgg_65.5.pth')
    report = load_public_weights(audio(), tmp_path / 'vgg_65.5.pth')
    assert not report.missing and set(HEAD) <= set(report.unused)
    del state['blocks_u.0.norm1_a.weight'], state['blocks_a.1.mlp.fc2.bias']
    torch.save(state, tmp_path / 'torn.pth')
    with pytest.raises(CheckpointError, match=r'CAV-MAE .*audio\) is of another architecture.*blocks.1.mlp.fc2.bias'):
        load_public_weights(audio(), tmp_path / 'torn.pth')


def test_a_clip_model_starts_from_the_images(file):
    """With joint attention over space and time: kernels in the centre frame, positions repeated."""
    model = ViT((4, 32, 32), **PLAIN)
    report = load_public_weights(model, file[1])
    assert report.adapted == {
        'pos_embed': 'positions of (2, 2) repeated to (2, 2, 2)',
        'patch_embed.proj.weight': 'in the center of 2 frames',
    }


def test_others_are_no_cav_mae():
    assert not is_cav_mae(ViT((32, 32), patch_kernel=(16, 16), **PLAIN).state_dict())
