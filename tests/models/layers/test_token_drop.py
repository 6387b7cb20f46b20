import pytest
import torch

from mmav.errors import ConfigError
from mmav.models import AST, MAT, ViT
from mmav.models.layers.token_drop import TokenDrop, draw_kept

SMALL = dict(embed_dims=8, num_layers=2, num_heads=2)


def places(drop, grid):
    """The tokens that stay, as places in the grid; the same of both clips."""
    tokens = torch.arange(float(torch.Size(grid).numel())).expand(2, -1)[..., None]
    kept, kept_grid = drop.keep(tokens, grid)
    assert kept.shape == (2, torch.Size(kept_grid).numel(), 1) and kept[0].equal(kept[1])
    assert (kept[0].diff(dim=0) > 0).all()
    return kept[0, :, 0].long(), kept_grid


def test_slices_stay_a_grid():
    torch.manual_seed(0)
    seen, counts = set(), torch.zeros(6)
    for _ in range(60):
        kept, grid = places(TokenDrop(axes=(0.25, 0.5)), (8, 6))
        assert grid == (6, 3)
        rows, columns = kept.unflatten(0, grid) // 6, kept.unflatten(0, grid) % 6
        assert (rows == rows[:, :1]).all() and (columns == columns[:1]).all()
        seen.add(tuple(kept.tolist()))
        counts += torch.bincount(columns[0], minlength=6)
    assert len(seen) > 50  # of 28 * 20 choices
    assert counts.sum() == 60 * 3 and counts.min() >= 18  # half of the times expected


def test_single_tokens_come_from_the_slices_that_are_left():
    torch.manual_seed(0)
    for _ in range(8):
        kept, grid = places(TokenDrop(axes=(0.5, 0.0, 0.0), ratio=0.25), (4, 3, 2))
        assert grid == (9,) and len(set((kept // 6).tolist())) == 2  # two of the four frames


def test_never_all_of_a_smaller_input():
    drop = TokenDrop(axes=(0.9, 0.0), ratio=0.9)
    assert drop.dropped((2, 3)) == (1, 0)
    assert places(drop, (1, 2))[1] == (1,)


def test_draws_are_of_the_seed_and_evenly_spread():
    device, counts = torch.device('cpu'), torch.zeros(10)
    torch.manual_seed(3)
    first = draw_kept(10, 4, device)
    torch.manual_seed(3)
    assert first.equal(draw_kept(10, 4, device))
    for _ in range(500):
        counts += torch.bincount(draw_kept(10, 4, device), minlength=10)
    assert ((counts / 500 - 0.6).abs() < 0.1).all()


@pytest.mark.parametrize('drop', [dict(axes=(0.5, 0.25)), dict(ratio=0.4), dict(axes=(0.0, 0.5), ratio=0.5)])
def test_a_plain_encoder_is_that_of_the_kept_tokens(drop):
    """Dropped tokens are no keys of the undropped encoder, and keep their positions (a slow reference)."""
    torch.manual_seed(0)
    model = AST((32, 64), patch_stride=(8, 8), **SMALL, token_drop=drop).double().train()
    x = torch.randn(3, 1, 32, 64, dtype=torch.float64)
    patches, grid = model.patch_embed(x)
    torch.manual_seed(5)
    kept, kept_grid = model.token_drop.draw(grid, x.device)
    torch.manual_seed(5)
    tokens = model(x)
    assert tokens.grid == kept_grid
    keep = torch.zeros(3, 2 + patches.shape[1], dtype=torch.bool)
    keep[:, :2] = keep[:, 2 + kept] = True
    full = torch.cat((model.cls_token.expand(3, -1, -1), model.dist_token.expand(3, -1, -1), patches), dim=1)
    full = full + model.pos_embed
    for block in model.blocks:
        full = block(full, keep)
    full = model.norm(full)
    torch.testing.assert_close(tokens.cls, full[:, :2].mean(dim=1))
    torch.testing.assert_close(tokens.patches, full[:, 2 + kept])


def test_mean_of_the_kept_where_there_is_no_class_token():
    model = ViT((4, 32, 32), **SMALL, cls_token=False, token_drop=dict(axes=(0.5, 0.0, 0.0))).train()
    tokens = model(torch.randn(2, 3, 4, 32, 32))
    assert tokens.grid == (1, 2, 2)
    torch.testing.assert_close(tokens.cls, tokens.patches.mean(dim=1))


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (0.5, r'token_drop=0.5: give a dict such as token_drop=dict\(axes=\(0.0, 0.5\)\)'),
        ({}, 'give a dict such as'),
        (dict(axis=(0.5, 0.5)), "has no 'axis', did you mean 'axes'"),
        (dict(time=0.5), "token_drop has no 'time'; it has axes and ratio"),
        (dict(axes=(0.5,)), r'axes=\(0.5,\): the tokens have 2 axes'),
        (dict(axes=0.5), 'axes=0.5: the tokens have 2 axes'),
        (dict(axes=(0.0, 1.0)), r'axes\[1\]=1.0: give a share of at least 0 and below 1'),
        (dict(ratio=-0.1), 'ratio=-0.1: give a share'),
        (dict(ratio=True), 'ratio=True: give a share'),
        (dict(axes=(0.1, 0.0)), r'axes\[0\]=0.1 would leave out 0 of the 4 whole slices along that axis of 4 cells'),
        (dict(axes=(0.9, 0.0)), 'would leave out 4 of the 4 whole slices'),
        (dict(ratio=0.01), 'ratio=0.01 would leave out 0 of 32 tokens'),
        (dict(axes=(0.5, 0.5), ratio=0.99), 'ratio=0.99 would leave out 8 of 8 tokens'),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(value, message):
    with pytest.raises(ConfigError, match=message):
        TokenDrop.read(value, (4, 8))


def test_an_encoder_that_pools_says_what_it_cannot_do():
    arch = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
    with pytest.raises(ConfigError, match=r'ratio=0.5: this encoder pools .*give token_drop=dict\(axes=\(0.0, 0.5\)\)'):
        MAT(arch, (32, 64), q_strides=[(2, 2)], token_drop=dict(ratio=0.5))
    with pytest.raises(ConfigError, match=r'leave out 0 of the 8 whole slices of 2 cells that stay or go together'):
        MAT(arch, (32, 64), q_strides=[(2, 2)], token_drop=dict(axes=(0.0, 0.05)))


@pytest.mark.parametrize('value', [None, dict(ratio=0.0), dict(axes=(0, 0.0)), dict(axes=(0.0, 0.0), ratio=0)])
def test_zero_is_off(value):
    assert TokenDrop.read(value, (4, 8)) is None
