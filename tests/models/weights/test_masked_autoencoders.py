"""Files of VideoMAE and Hiera, as they are distributed, beside the models that transformers and timm have of them."""

import re

import pytest
import torch
from timm.models.hiera import Hiera as TimmHiera
from transformers import (
    HieraConfig,
    HieraForImageClassification,
    HieraForPreTraining,
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
)

from mmav.errors import CheckpointError
from mmav.models import Hiera, ViT
from mmav.models.layers.absolute_position import resize_positions, sincos_positions
from mmav.models.weights import load_public_weights
from tests.models.peers import randomise

GRID = (2, 2, 3)
VIDEOMAE = VideoMAEConfig(
    hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, image_size=(32, 48), num_frames=4,
    decoder_hidden_size=12, decoder_num_hidden_layers=1, decoder_num_attention_heads=2, decoder_intermediate_size=12,
    layer_norm_eps=1e-6,
)  # fmt: skip
OURS = dict(embed_dims=24, num_layers=2, num_heads=2, mlp_ratio=2.0, cls_token=False)


def videomae(**kwargs):
    return ViT((4, 32, 48), **OURS, fixed_positions=True, **kwargs).eval()


def as_mcg_nju(state, prefix=''):
    """transformers' VideoMAE keys -> those of MCG-NJU/VideoMAE (modeling_finetune.py, modeling_pretrain.py)."""
    result = {}
    for key, value in state.items():
        key = re.sub(r'^videomae\.', prefix, key).replace('embeddings.patch_embeddings.projection', 'patch_embed.proj')
        key = re.sub(r'encoder\.layer\.(\d+)', r'blocks.\1', key).replace('decoder.decoder_layers', 'decoder.blocks')
        key = key.replace('attention.output.dense', 'attn.proj').replace('intermediate.dense', 'mlp.fc1')
        key = key.replace('layernorm_before', 'norm1').replace('layernorm_after', 'norm2')
        key = key.replace('output.dense', 'mlp.fc2').replace('layernorm.', 'norm.').replace('classifier.', 'head.')
        result[key] = value
    for key in [key for key in result if '.attention.attention.query.weight' in key]:
        begin = key.split('.attention.')[0]
        parts = [result.pop(f'{begin}.attention.attention.{name}.weight') for name in ('query', 'key', 'value')]
        result[f'{begin}.attn.qkv.weight'] = torch.cat(parts)
        for letter, name in (('q', 'query'), ('v', 'value')):
            result[f'{begin}.attn.{letter}_bias'] = result.pop(f'{begin}.attention.attention.{name}.bias')
    return result


def as_version_4(state):
    """transformers 5 -> the files of version 4, with the biases apart."""
    return {re.sub(r'\.(q|v)\w+\.bias$', r'.\1_bias', key): value for key, value in state.items()}


@pytest.fixture(scope='module')
def fine_tuned():
    """VideoMAE with its classifier: weights, a clip, and what it makes of it before and after the mean."""
    peer = randomise(VideoMAEForVideoClassification(VIDEOMAE))
    peer.fc_norm.eps = 1e-6
    clip = torch.randn(2, 3, 4, 32, 48, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        hidden = peer.videomae(clip.transpose(1, 2)).last_hidden_state
        return peer.state_dict(), clip, hidden, peer.fc_norm(hidden.mean(dim=1))


@pytest.mark.parametrize(
    ('write', 'layout'),
    [
        (lambda state: dict(module=as_mcg_nju(state)), 'VideoMAE (MCG-NJU/VideoMAE)'),
        (lambda state: state, 'transformers VideoMAE'),
        (as_version_4, 'transformers VideoMAE'),
    ],
    ids=['MCG-NJU', 'transformers', 'transformers 4'],
)
def test_fine_tuned_videomae(tmp_path, fine_tuned, write, layout):
    state, clip, hidden, pooled = fine_tuned
    torch.save(write(state), tmp_path / 'a.pth')
    model = videomae(norm_after_mean=True)
    report = load_public_weights(model, tmp_path / 'a.pth', grid=GRID)
    assert report.layout == layout and not report.missing and not report.misfits and not report.adapted
    assert report.loaded == list(model.state_dict())
    assert sorted(key.split('.')[0] for key in report.unused) == [report.unused[0].split('.')[0]] * 2  # the classifier
    with torch.inference_mode():
        tokens = model(clip)
    assert tokens.grid == GRID
    torch.testing.assert_close(tokens.patches, hidden, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokens.cls, pooled, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('mcg_nju', [True, False])
def test_pretrained_videomae(tmp_path, mcg_nju):
    """Its norm is that of the patches, and the decoder is left out."""
    config = VideoMAEConfig(**{**VIDEOMAE.to_dict(), 'use_mean_pooling': False})
    peer = randomise(VideoMAEForPreTraining(config))
    state = peer.state_dict()
    torch.save(dict(model=as_mcg_nju(state, 'encoder.')) if mcg_nju else state, tmp_path / 'a.pth')
    model = videomae()
    report = load_public_weights(model, tmp_path / 'a.pth', grid=GRID)
    assert not report.missing and not report.misfits
    assert {key.split('.')[0] for key in report.unused} == {'decoder', 'encoder_to_decoder', 'mask_token'}
    clip = torch.randn(2, 3, 4, 32, 48, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = peer.videomae(clip.transpose(1, 2)).last_hidden_state
        torch.testing.assert_close(model(clip).patches, expected, atol=1e-5, rtol=1e-5)


def test_positions_of_videomae_are_those_of_16_frames_of_224_unless_said(tmp_path, fine_tuned):
    torch.save(fine_tuned[0], tmp_path / 'a.pth')
    model = videomae(norm_after_mean=True)
    report = load_public_weights(model, tmp_path / 'a.pth')
    assert report.adapted == dict(pos_embed='positions of (8, 14, 14) interpolated to (2, 2, 3)')
    torch.testing.assert_close(
        model.pos_embed.detach(), resize_positions(sincos_positions(8 * 14 * 14, 24), (8, 14, 14), GRID)
    )


def test_a_torn_videomae_is_refused(tmp_path, fine_tuned):
    state = as_mcg_nju(fine_tuned[0])
    del state['blocks.1.attn.v_bias']
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'^the file lacks blocks.1.attn.v_bias: is it whole\?$'):
        load_public_weights(videomae(), tmp_path / 'a.pth')


ARCH = dict(embed_dims=8, num_layers=5, num_heads=1, stage_blocks=(1, 2, 4))
SIZES = dict(embed_dim=8, num_heads=1, stages=(1, 1, 2, 1), num_classes=3)
CLIPS = dict(
    q_stride=(1, 2, 2), mask_unit_size=(1, 8, 8), patch_kernel=(3, 7, 7), patch_stride=(2, 4, 4),
    patch_padding=(1, 3, 3), sep_pos_embed=True,
)  # fmt: skip


def as_facebook(state):
    """timm's names for norm and classifier -> those of facebookresearch/hiera; the rest is the same."""
    state = {key.replace('head.norm.', 'norm.').replace('head.fc.', 'head.projection.'): state[key] for key in state}
    return dict(epoch=0, model_state=state)


@pytest.mark.parametrize('size', [(4, 64, 96), (64, 96)], ids=['clips', 'images'])
@pytest.mark.parametrize('write', [as_facebook, lambda state: state], ids=['facebookresearch', 'timm'])
def test_hiera(tmp_path, size, write):
    peer = randomise(TimmHiera(img_size=size, **SIZES, **(CLIPS if len(size) == 3 else {})))
    torch.save(write(peer.state_dict()), tmp_path / 'a.pth')
    model = Hiera(ARCH, size).eval()
    options = {} if len(size) == 3 else dict(grid=(16, 24))
    report = load_public_weights(model, tmp_path / 'a.pth', **options)
    assert report.layout == 'Hiera (facebookresearch/hiera, timm)' and report.loaded == list(model.state_dict())
    assert len(report.unused) == 2 and all(key.startswith('head.') for key in report.unused)
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        tokens, (last, stages) = model(x), peer.forward_features(x, return_intermediates=True)
        torch.testing.assert_close(tokens.patches, stages[-1].flatten(1, -2), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(tokens.cls, peer.head(last, pre_logits=True), atol=1e-5, rtol=1e-5)
    assert tokens.grid == (*(n // 2 for n in size[:-2]), 2, 3)


HIERA = HieraConfig(
    embed_dim=8, image_size=[64, 96], depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], decoder_hidden_size=8,
    decoder_depth=1, decoder_num_heads=1, layer_norm_eps=1e-6,
)  # fmt: skip


def test_hiera_of_transformers(tmp_path):
    peer = randomise(HieraForImageClassification(HIERA))
    torch.save(peer.state_dict(), tmp_path / 'a.pth')
    model = Hiera(ARCH, (64, 96)).eval()
    report = load_public_weights(model, tmp_path / 'a.pth', grid=(16, 24))
    assert report.layout == 'transformers Hiera' and report.loaded == list(model.state_dict())
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = peer.hiera(x)
        torch.testing.assert_close(model(x).patches, expected.last_hidden_state, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model(x).cls, expected.pooler_output, atol=1e-5, rtol=1e-5)


def test_pretrained_hiera_begins_with_a_norm_of_its_own(tmp_path):
    state = HieraForPreTraining(HIERA).state_dict()
    torch.save(state, tmp_path / 'a.pth')
    model = Hiera(ARCH, (64, 96))
    report = load_public_weights(model, tmp_path / 'a.pth', grid=(16, 24))
    assert report.missing == ['norm.weight', 'norm.bias'] and (model.norm.weight == 1).all()
    # facebookresearch/hiera, hiera/hiera_mae.py
    state = TimmHiera(img_size=(64, 96), **SIZES).state_dict()
    kept = {key: value for key, value in state.items() if not key.startswith('head.')}
    decoder = {'encoder_norm.weight': torch.ones(64), 'multi_scale_fusion_heads.0.weight': torch.ones(64, 8, 4, 4),
               'decoder_embed.weight': torch.ones(8, 64), 'mask_token': torch.ones(1, 1, 8),
               'decoder_pos_embed': torch.ones(1, 6, 8), 'decoder_blocks.0.norm1.weight': torch.ones(8),
               'decoder_norm.weight': torch.ones(8), 'decoder_pred.weight': torch.ones(3, 8)}  # fmt: skip
    torch.save(dict(model_state={**kept, **decoder}), tmp_path / 'b.pth')
    report = load_public_weights(model, tmp_path / 'b.pth', grid=(16, 24))
    assert report.missing == ['norm.weight', 'norm.bias'] and report.unused == list(decoder)


def test_hiera_of_images_on_spectrograms(tmp_path):
    peer = TimmHiera(img_size=(64, 64), **SIZES)
    torch.save(as_facebook(peer.state_dict()), tmp_path / 'a.pth')
    model = Hiera(ARCH, (64, 128), in_channels=1)
    report = load_public_weights(model, tmp_path / 'a.pth')
    assert report.adapted == {
        'pos_embed': 'positions of (16, 16) interpolated to (16, 32)',
        'patch_embed.proj.weight': '3 channels averaged to 1',
    }
