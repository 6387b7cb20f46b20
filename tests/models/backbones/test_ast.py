import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import ASTConfig, ASTModel

from mmav.adapting import Hints
from mmav.models import AST
from mmav.models.backbones import PlainTransformer
from mmav.models.layers.absolute_position import resize_positions, sincos_positions
from tests.models.peers import from_transformers_ast, randomise

SMALL = dict(embed_dims=8, num_layers=2, num_heads=2)


def make_pair():
    config = ASTConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=192,
        max_length=96,
        num_mel_bins=64,
    )
    peer = randomise(ASTModel(config))
    model = AST((64, 96), embed_dims=48, num_layers=3, num_heads=4).eval()
    model.load_state_dict(from_transformers_ast(peer.state_dict()))
    return model, peer


def test_equals_transformers():
    model, peer = make_pair()
    x = torch.randn(2, 1, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = peer(x[:, 0].transpose(1, 2))  # transformers takes (B, T, F)
        tokens = model(x)
    assert tokens.grid == (5, 9)
    torch.testing.assert_close(tokens.cls, expected.pooler_output, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens.patches, expected.last_hidden_state[:, 2:], atol=1e-4, rtol=1e-4)


def test_another_length_equals_transformers_with_interpolated_positions():
    model, peer = make_pair()
    x = torch.randn(2, 1, 64, 150, generator=torch.Generator().manual_seed(1))
    table = peer.embeddings.position_embeddings
    # YuanGongND/ast, src/models/ast_models.py, interpolates ImageNet's table in the same way
    grid = table[:, 2:].transpose(1, 2).reshape(1, 48, 5, 9)
    grid = F.interpolate(grid, size=(5, 14), mode='bilinear').reshape(1, 48, -1).transpose(1, 2)
    peer.embeddings.position_embeddings = torch.nn.Parameter(torch.cat((table[:, :2], grid), dim=1))
    with torch.inference_mode():
        tokens = model(x)
        expected = peer(x[:, 0].transpose(1, 2))
    assert tokens.grid == (5, 14)
    torch.testing.assert_close(tokens.cls, expected.pooler_output, atol=1e-4, rtol=1e-4)


def test_default_has_the_published_size_and_cost():
    with torch.device('meta'):
        model = AST()
        x = torch.zeros(1, 1, 128, 1024)
    # paper, Table 2: 87 M, 131 GMACs
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(87e6, rel=0.01)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        tokens = model(x)
    assert tokens.grid == (12, 101)
    assert tokens.patches.shape == (1, 1212, 768)
    assert counter.get_total_flops() / 2 == pytest.approx(131e9, rel=0.01)


@pytest.mark.parametrize(('size', 'kernel', 'grid'), [((40,), (4,), (10,)), ((8, 16), (4, 4), (2, 4))])
def test_length_of_the_input_size_decides_the_rank(size, kernel, grid):
    model = PlainTransformer(size, 2, kernel, patch_stride=kernel, **SMALL)
    assert model(torch.zeros(1, 2, *size)).grid == grid
    assert model(torch.zeros(1, 2, *(2 * n for n in size))).grid == tuple(2 * n for n in grid)


def test_norm_after_the_mean_leaves_the_patches():
    torch.manual_seed(0)
    model = AST((32, 64), cls_token=False, dist_token=False, norm_after_mean=True, norm_eps=1e-3, **SMALL).eval()
    model.load_state_dict(randomise(model).state_dict())
    x = torch.randn(2, 1, 32, 64)
    tokens = model(x)
    assert {m.eps for m in model.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-3}
    torch.testing.assert_close(tokens.cls, model.norm(tokens.patches.mean(dim=1)))
    model.norm_after_mean = False
    torch.testing.assert_close(model(x).patches, model.norm(tokens.patches))
    with pytest.raises(ValueError, match='norm_after_mean=True has no effect with final_norm=False; leave it out'):
        AST((32, 64), final_norm=False, norm_after_mean=True, **SMALL)


def test_fixed_positions_are_computed_and_stay():
    model = AST((32, 64), cls_token=True, dist_token=False, fixed_positions=True, **SMALL)
    model.init_weights()
    assert not model.pos_embed.requires_grad and not model.pos_embed[:, 0].any()
    torch.testing.assert_close(model.pos_embed[:, 1:], sincos_positions(10, 8))
    assert model(torch.zeros(1, 1, 32, 96)).grid == (2, 9)


@pytest.mark.parametrize(('cls_token', 'dist_token'), [(True, True), (True, False), (False, True), (False, False)])
def test_class_embedding_is_the_mean_of_the_tokens_that_there_are(cls_token, dist_token):
    model = AST((32, 64), cls_token=cls_token, dist_token=dist_token, **SMALL).eval()
    model.init_weights()
    seen = {}
    model.norm.register_forward_hook(lambda module, args, output: seen.update(out=output))
    tokens = model(torch.randn(1, 1, 32, 64))
    extra = cls_token + dist_token
    assert tokens.patches.shape == (1, 10, 8)
    torch.testing.assert_close(tokens.cls, seen['out'][:, : extra or None].mean(dim=1))


def test_single_scale_encoder_with_padded_patches_keeps_the_grid_of_mat():
    model = AST((64, 64), patch_kernel=(7, 7), patch_stride=(4, 4), patch_padding=None, dist_token=False, **SMALL)
    tokens = model(torch.zeros(1, 1, 64, 64))
    assert tokens.grid == (16, 16)
    assert tokens.patches.shape == (1, 256, 8)


def test_drop_path_rises_and_final_norm_can_be_left_out():
    model = AST((32, 64), drop_path_rate=0.2, final_norm=False, **SMALL)
    assert isinstance(model.blocks[0].drop_path, torch.nn.Identity)
    assert model.blocks[1].drop_path.drop_prob == 0.2
    assert not [key for key in model.state_dict() if key.startswith('norm')]


def test_init_weights_draws_the_positions():
    model = AST((32, 64), **SMALL)
    torch.nn.init.zeros_(model.pos_embed)
    model.init_weights()
    assert 0.01 < model.pos_embed.std() < 0.03
    assert model.cls_token.std() > 0 and model.dist_token.std() > 0


def test_bad_arguments():
    with pytest.raises(ValueError, match=r'patch_kernel=\(16, 16\) does not fit input_size=\(4, 32, 64\): 3 axes'):
        AST((4, 32, 64), **SMALL)
    with pytest.raises(ValueError, match='num_heads=3 does not divide the width 8'):
        AST((32, 64), embed_dims=8, num_layers=1, num_heads=3)
    with pytest.raises(ValueError, match=r'input size \(8, 64\) is too small'):
        AST((32, 64), **SMALL)(torch.zeros(1, 1, 8, 64))


@pytest.mark.parametrize('size', [(8, 32, 32), (8, 16, 16), (4, 32, 48), (16, 32, 48)])
def test_positions_of_a_clip_of_another_size_are_interpolated(size):
    def make(size):
        return PlainTransformer(size, 3, (2, 8, 8), patch_stride=(2, 8, 8), **SMALL)

    trained, model = make(size), make((8, 32, 48) if size[2] == 48 else (8, 64, 64))
    torch.nn.init.normal_(trained.pos_embed)
    hints = Hints(frozenset(trained.state_dict()))
    adapted, how = model.adapt_weight('pos_embed', trained.pos_embed.detach(), hints)
    assert how == f'positions of {trained.grid} interpolated to {model.grid}'
    extra = model.num_extra
    assert torch.equal(adapted[:, :extra], trained.pos_embed[:, :extra])
    expected = resize_positions(trained.pos_embed[:, extra:], trained.grid, model.grid)
    torch.testing.assert_close(adapted[:, extra:], expected)


def test_positions_of_tokens_go_with_their_tokens():
    """A file with other learned tokens than the model: what both have keeps its position."""
    trained, model = AST((32, 64), **SMALL), AST((32, 64), dist_token=False, **SMALL)
    torch.nn.init.normal_(trained.pos_embed)
    torch.nn.init.normal_(model.pos_embed)
    hints = Hints(frozenset(trained.state_dict()), grid=(2, 5))
    adapted, how = model.adapt_weight('pos_embed', trained.pos_embed.detach(), hints)
    assert torch.equal(adapted, trained.pos_embed[:, [0, *range(2, 12)]])
    assert how == 'that of dist_token left out'
    hints = Hints(frozenset(model.state_dict()), grid=(2, 5))
    adapted, how = trained.adapt_weight('pos_embed', model.pos_embed.detach(), hints)
    expected = torch.cat((model.pos_embed[:, :1], trained.pos_embed[:, 1:2], model.pos_embed[:, 1:]), dim=1)
    assert torch.equal(adapted, expected) and how == 'that of dist_token kept'


def test_positions_of_an_impossible_grid_are_not_fitted():
    model = AST((32, 64), **SMALL)
    names = frozenset(model.state_dict())
    table = torch.zeros(1, 2 + 12, 8)
    assert model.adapt_weight('pos_embed', table, Hints(names, grid=(2, 7))) is None
    assert model.adapt_weight('pos_embed', table, Hints(names, grid=(1, 2, 6))) is None
    assert model.adapt_weight('pos_embed', table[..., :4], Hints(names)) is None
    assert model.adapt_weight('cls_token', table, Hints(names)) is None
