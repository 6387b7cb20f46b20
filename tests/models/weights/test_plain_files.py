"""ViT and DeiT as their packages have them, in AST and ViT."""

import pytest
import timm
import torch
from torchvision.models.vision_transformer import VisionTransformer
from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher, ViTConfig, ViTForImageClassification

from mmav.errors import CheckpointError, ConfigError
from mmav.models import AST, ViT
from mmav.models.weights import load_public_weights
from tests.models.layers.test_absolute_position import as_ast_does
from tests.models.peers import randomise
from tests.models.weights.files import as_mmpretrain, as_transformers_4

SIZES = dict(embed_dims=48, num_layers=2, num_heads=4)
HIDDEN = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=192, layer_norm_eps=1e-6)


def of_timm():
    peer = randomise(timm.create_model('vit_base_patch16_224', img_size=64, embed_dim=48, depth=2, num_heads=4))
    return peer.state_dict(), peer.forward_features


def of_deit():
    """facebookresearch/deit keeps its weights under ``model``."""
    state, run = of_timm()
    return dict(model=state), run


def of_mmpretrain():
    state, run = of_timm()
    return as_mmpretrain(state), run


def of_torchvision():
    peer = randomise(VisionTransformer(64, 16, 2, 4, 48, 192))

    def run(x):
        x = peer._process_input(x)
        return peer.encoder(torch.cat((peer.class_token.expand(len(x), -1, -1), x), dim=1))

    return peer.state_dict(), run


def of_torchvision_as_published():
    """Its files are older than its code, which renames the two layers of the MLP when it loads them."""
    state, run = of_torchvision()
    names = {'mlp.0.': 'mlp.linear_1.', 'mlp.3.': 'mlp.linear_2.'}
    for new, old in names.items():
        state = {key.replace(new, old): value for key, value in state.items()}
    return state, run


def of_transformers():
    peer = randomise(ViTForImageClassification(ViTConfig(**HIDDEN, image_size=64)))
    return peer.state_dict(), lambda x: peer.vit(x).last_hidden_state


def of_transformers_before_5():
    state, run = of_transformers()
    return as_transformers_4(state), run


PEERS = {
    function.__name__: function
    for function in (
        of_timm,
        of_deit,
        of_mmpretrain,
        of_torchvision,
        of_torchvision_as_published,
        of_transformers,
        of_transformers_before_5,
    )
}


@pytest.mark.parametrize('name', PEERS)
def test_spectrogram_in_ast_is_a_grey_picture_in_its_peer(name, tmp_path):
    content, run = PEERS[name]()
    torch.save(content, tmp_path / 'vit.pth')
    model = AST((64, 64), patch_stride=(16, 16), dist_token=False, **SIZES).eval()
    report = load_public_weights(model, tmp_path / 'vit.pth')
    assert report.adapted == {'patch_embed.proj.weight': '3 channels summed to 1'} and not report.missing
    grey = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        tokens, expected = model(grey), run(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(tokens.cls, expected[:, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens.patches, expected[:, 1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('inflate', ['center', 'mean'])
def test_clip_of_one_tubelet_in_vit_is_a_picture_in_its_peer(inflate, tmp_path):
    content, run = of_timm()
    torch.save(content, tmp_path / 'vit.pth')
    model = ViT((2, 64, 64), **SIZES).eval()
    report = load_public_weights(model, tmp_path / 'vit.pth', inflate=inflate)
    assert report.adapted.keys() == {'patch_embed.proj.weight', 'pos_embed'} and not report.missing
    picture = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        tokens, expected = model(picture[:, :, None].expand(-1, -1, 2, -1, -1)), run(picture)
    torch.testing.assert_close(tokens.cls, expected[:, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens.patches, expected[:, 1:], atol=1e-4, rtol=1e-4)


def test_longer_clip_repeats_the_positions_and_so_the_tokens_of_a_still_one(tmp_path):
    """Without a class token, which is one key beside those of all frames, as with MViTv2."""
    peer = randomise(
        timm.create_model(
            'vit_base_patch16_224',
            img_size=64,
            embed_dim=48,
            depth=2,
            num_heads=4,
            class_token=False,
            global_pool='avg',
            fc_norm=False,
        )
    )
    torch.save(peer.state_dict(), tmp_path / 'vit.pth')
    model = ViT((6, 64, 64), cls_token=False, **SIZES).eval()
    load_public_weights(model, tmp_path / 'vit.pth')
    picture = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        tokens, expected = model(picture[:, :, None].expand(-1, -1, 6, -1, -1)), peer.forward_features(picture)
    assert tokens.grid == (3, 4, 4)
    torch.testing.assert_close(tokens.patches, expected.repeat(1, 3, 1), atol=1e-4, rtol=1e-4)


def distilled():
    return randomise(
        timm.create_model('deit_base_distilled_patch16_384', img_size=96, embed_dim=48, depth=2, num_heads=4)
    )


def test_distilled_deit_begins_ast_as_ast_begins(tmp_path):
    """YuanGongND/ast, src/models/ast_models.py: summed kernel, positions cut where too many and stretched where few."""
    peer = distilled()
    torch.save(dict(model=peer.state_dict()), tmp_path / 'deit.pth')
    model = AST((48, 112), patch_stride=(10, 10), **SIZES).eval()  # 6 x 6 patches to 4 x 10
    report = load_public_weights(model, tmp_path / 'deit.pth')
    assert not report.missing and sorted(report.unused) == [
        f'{name}.{part}' for name in ('head', 'head_dist') for part in ('bias', 'weight')
    ]
    assert report.adapted['pos_embed'] == 'positions of (6, 6) cut, interpolated to (4, 10)'
    state = peer.state_dict()
    torch.testing.assert_close(model.pos_embed[:, 2:].data, as_ast_does(state['pos_embed'][:, 2:], (6, 6), (4, 10)))
    torch.testing.assert_close(model.patch_embed.proj.weight[:, 0], state['patch_embed.proj.weight'].sum(1))
    # the peer with what AST makes of it
    peer.pos_embed.data = model.pos_embed.data
    spectrogram = torch.randn(1, 1, 48, 112, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        x = model.patch_embed(spectrogram)[0]
        x = torch.cat((peer.cls_token, peer.dist_token, x), dim=1) + peer.pos_embed
        expected = peer.norm(peer.blocks(x))
        tokens = model(spectrogram)
    torch.testing.assert_close(tokens.cls, expected[:, :2].mean(1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens.patches, expected[:, 2:], atol=1e-4, rtol=1e-4)


def test_distilled_deit_as_transformers_has_it(tmp_path):
    peer = randomise(DeiTForImageClassificationWithTeacher(DeiTConfig(**HIDDEN, image_size=64)))
    torch.save(peer.state_dict(), tmp_path / 'deit.pth')
    model = AST((64, 64), patch_stride=(16, 16), **SIZES).eval()
    report = load_public_weights(model, tmp_path / 'deit.pth')
    assert len(report.unused) == 4 and not report.missing
    grey = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = peer.deit(grey.expand(-1, 3, -1, -1)).last_hidden_state
        torch.testing.assert_close(model(grey).patches, expected[:, 2:], atol=1e-4, rtol=1e-4)


def test_as_many_positions_are_not_the_same_grid(tmp_path):
    """DeiT's 24 x 24 are 12 x 48, too: those of a spectrogram of 490 frames."""
    table = torch.randn(1, 2 + 24 * 24, 48)
    state = {**distilled().state_dict(), 'pos_embed': table}
    torch.save(state, tmp_path / 'deit.pth')
    model = AST((128, 490), **SIZES)
    assert model.pos_embed.shape == table.shape
    report = load_public_weights(model, tmp_path / 'deit.pth')
    assert report.adapted['pos_embed'] == 'positions of (24, 24) cut, interpolated to (12, 48)'
    torch.testing.assert_close(model.pos_embed[:, 2:].data, as_ast_does(table[:, 2:], (24, 24), (12, 48)))


def test_class_token_alone_leaves_the_other_as_initialised(tmp_path):
    content, _ = of_timm()
    torch.save(content, tmp_path / 'vit.pth')
    model = AST((64, 64), patch_stride=(16, 16), **SIZES)
    model.init_weights()
    token, place = model.dist_token.clone(), model.pos_embed[:, 1].clone()
    report = load_public_weights(model, tmp_path / 'vit.pth')
    assert report.missing == ['dist_token'] and report.adapted['pos_embed'] == 'that of dist_token kept'
    assert torch.equal(model.dist_token, token) and torch.equal(model.pos_embed[:, 1], place)
    assert torch.equal(model.pos_embed[:, 2:], content['pos_embed'][:, 1:])


def test_other_files_are_interpolated_in_ast(tmp_path):
    content, _ = of_timm()
    torch.save(content, tmp_path / 'vit.pth')
    model = AST((64, 32), patch_stride=(16, 16), dist_token=False, **SIZES)
    assert load_public_weights(model, tmp_path / 'vit.pth').adapted['pos_embed'] == (
        'positions of (4, 4) interpolated to (4, 2)'
    )
    assert load_public_weights(model, tmp_path / 'vit.pth', positions='cut').adapted['pos_embed'] == (
        'positions of (4, 4) cut to (4, 2)'
    )


def test_pictures_that_are_no_square_want_a_grid(tmp_path):
    content, _ = of_timm()
    content['pos_embed'] = torch.randn(1, 1 + 12, 48)
    torch.save(content, tmp_path / 'vit.pth')
    model = ViT((2, 64, 64), **SIZES)
    with pytest.raises(CheckpointError, match=r'the 12 positions of .* are of an unknown grid: say which, as in grid='):
        load_public_weights(model, tmp_path / 'vit.pth')
    report = load_public_weights(model, tmp_path / 'vit.pth', grid=(3, 4))
    assert report.adapted['pos_embed'] == 'positions of (3, 4) interpolated, repeated to (1, 4, 4)'
    with pytest.raises(ConfigError, match=r"grid=\(3, 5\) are 15 positions, but '.*' has 12"):
        load_public_weights(model, tmp_path / 'vit.pth', grid=(3, 5))


def test_more_than_a_plain_vit_is_refused(tmp_path):
    peer = timm.create_model('vit_base_patch16_224', img_size=64, embed_dim=48, depth=2, num_heads=4, init_values=1.0)
    torch.save(peer.state_dict(), tmp_path / 'vit.pth')
    with pytest.raises(CheckpointError, match=r'of another architecture: 4 unknown \(blocks.0.ls1.gamma'):
        load_public_weights(ViT((2, 64, 64), **SIZES), tmp_path / 'vit.pth')
