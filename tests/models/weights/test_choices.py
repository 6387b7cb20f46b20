import pytest
import torch

from mmav.adapting import Hints
from mmav.errors import CheckpointError, ConfigError
from mmav.models import AST, MAT, MViTv2, ViT
from mmav.models.weights.choices import check_options, choose

SMALL = dict(embed_dims=8, num_layers=1, num_heads=1)
ARCH = dict(embed_dims=8, num_layers=1, num_heads=1, stage_blocks=())
NOTHING = dict(rgb=None, inflate=None, positions=None)


def plain(number, *, channels=1, tokens=('cls_token', 'dist_token')):
    """What counts of a ViT's file with so many positions."""
    state = {token: torch.zeros(1, 1, 8) for token in tokens}
    state['patch_embed.proj.weight'] = torch.zeros(8, channels, 16, 16)
    return {**state, 'pos_embed': torch.zeros(1, len(tokens) + number, 8)}


def ast(frames=1024, mels=128, **kwargs):
    return AST((mels, frames), **{**SMALL, **kwargs})


@pytest.mark.parametrize(
    ('number', 'model', 'grid'),
    [
        (12 * 27, ast(), (12, 27)),  # 18 x 18
        (12 * 48, ast(), (12, 48)),  # 24 x 24
        (12 * 108, ast(), (12, 108)),  # 36 x 36
        (12 * 101, ast(mels=64), (12, 101)),
        (12 * 101, ast(mels=72, frames=96), (12, 101)),  # the published one, though 6 rows would do
        (8 * 64, ast(patch_stride=(16, 16)), (8, 64)),  # the model's own
        (8 * 48, ast(patch_stride=(16, 16), frames=768), (8, 48)),  # 12 x 32 as well, but the model's own
    ],
)
def test_files_of_ast_have_12_rows_or_the_grid_of_the_model(number, model, grid):
    assert choose(model, plain(number), NOTHING)[1] == {'pos_embed': grid}


@pytest.mark.parametrize('number', [18 * 18, 24 * 24, 36 * 36])
@pytest.mark.parametrize('model', [ast(), ast(frames=490), ViT((2, 32, 32), **SMALL)])
def test_pictures_are_squares(number, model):
    side = round(number**0.5)
    assert choose(model, plain(number, channels=3), NOTHING)[1] == {'pos_embed': (side, side)}


@pytest.mark.parametrize(
    ('state', 'model', 'could'),
    [
        (plain(8 * 64), ast(), '512 .* are of an unknown grid'),
        (plain(12 * 40), ast(patch_stride=(16, 16)), '480 .* are 8 x 60 or 12 x 40'),
        (plain(12, channels=3), ast(), '12 .* are of an unknown grid'),
        # a picture model of the same number, of which one cannot tell whether its file is a rectangle, too
        (plain(36, channels=3), ast(64, 144, in_channels=3, patch_stride=(16, 16)), '36 .* are 6 x 6 or 9 x 4'),
    ],
)
def test_nothing_is_guessed(state, model, could):
    with pytest.raises(CheckpointError, match=rf'^the {could}: say which, as in grid=\(8, 64\)$'):
        choose(model, state, NOTHING, file='a.pth')
    number = state['pos_embed'].shape[1] - 2
    assert choose(model, state, NOTHING, grid=[1, number])[1] == {'pos_embed': (1, number)}


def test_own_files_say_their_grid():
    own = plain(24 * 24)
    assert choose(ast(), own, NOTHING, noted=dict(pos_embed=(24, 24)))[1] == {'pos_embed': (24, 24)}
    assert choose(ast(), own, NOTHING, noted=dict(pos_embed=(24, 24)), grid=(12, 48))[1] == {'pos_embed': (12, 48)}


@pytest.mark.parametrize(
    ('number', 'size', 'grid'),
    [
        (2 * 4 * 4, (4, 64, 64), (2, 4, 4)),
        (16 * 4 * 3, (4, 64, 48), (16, 4, 3)),
        (4 * 2 * 2, (8, 64, 48), (4, 2, 2)),  # not 4 x 4 x 1
        (4 * 3 * 1, (16, 48, 16), (4, 3, 1)),
    ],
)
def test_files_of_clips_have_the_models_pictures_or_squares(number, size, grid):
    clip = {**plain(number, tokens=('cls_token',)), 'patch_embed.proj.weight': torch.zeros(8, 3, 2, 16, 16)}
    assert choose(ViT(size, **SMALL), clip, NOTHING)[1] == {'pos_embed': grid}
    with pytest.raises(CheckpointError, match='of an unknown grid: say which'):
        choose(ViT((8, 64, 64), **SMALL), {**clip, 'pos_embed': torch.zeros(1, 1 + 4 * 7, 8)}, NOTHING)


def test_spectrograms_without_asts_mark_are_of_another_length_or_grey_pictures():
    model = ast(patch_stride=(16, 16), dist_token=False)  # 8 x 64
    for number, grid in ((8 * 48, (8, 48)), (8 * 64, (8, 64)), (15 * 15, (15, 15))):
        assert choose(model, plain(number, tokens=('cls_token',)), NOTHING)[1] == {'pos_embed': grid}
    with pytest.raises(CheckpointError, match='576 positions of .* are 8 x 72 or 24 x 24: say which'):
        choose(model, plain(24 * 24, tokens=('cls_token',)), NOTHING)


def test_own_files_of_old_are_left_to_the_backbone():
    hints, grids = choose(ast(), plain(24 * 24), NOTHING, ours=True)
    assert grids == {} and not hints.cut


def test_defaults():
    picture = dict(plain(16, channels=3))
    assert choose(ast(), picture, NOTHING)[0] == Hints(rgb='sum', inflate='center', cut=True)
    assert choose(ViT((2, 32, 32), **SMALL), picture, NOTHING)[0] == Hints(rgb='mean', inflate='center', cut=False)
    del picture['dist_token']
    picture['pos_embed'] = picture['pos_embed'][:, 1:]
    assert choose(ast(), picture, NOTHING)[0] == Hints(rgb='sum', inflate='center', cut=False)
    kernel = {'patch_embed.proj.weight': torch.zeros(8, 3, 7, 7)}
    mat = MAT(ARCH, input_size=(32, 32), q_strides=[])
    assert choose(mat, kernel, NOTHING)[0] == Hints(rgb='mean', inflate='center', cut=False)
    assert choose(mat, kernel, {**NOTHING, 'rgb': 'sum'})[0].rgb == 'sum'


@pytest.mark.parametrize(
    ('model', 'given', 'message'),
    [
        (ast(), dict(inflate='mean'), "inflate='mean' has no effect on 'a.pth': kernels for images do not become"),
        (ViT((2, 32, 32), **SMALL), dict(rgb='mean'), "rgb='mean' has no effect on 'a.pth': several channels do not"),
        (ViT((2, 64, 64), **SMALL), dict(rgb='mean'), "rgb='mean' has no effect"),
        (MViTv2(ARCH, input_size=(4, 32, 32)), dict(positions='cut'), "positions='cut' has no effect .* leave it out"),
        (ast(64, 64, patch_stride=(16, 16)), dict(positions='cut'), "positions='cut' has no effect"),
        (
            ast(),
            dict(positions='cut'),
            r"positions='cut' has no effect .*: no axis of \(4, 4\) gets shorter in \(12, 101\)",
        ),
    ],
)
def test_choice_without_effect_is_refused(model, given, message):
    with pytest.raises(ConfigError, match=message):
        choose(model, plain(16, channels=3), {**NOTHING, **given}, file='a.pth')


def test_grid_without_a_table_is_refused():
    with pytest.raises(ConfigError, match=r"grid=\(4, 4\) has no effect on 'the file'"):
        choose(MViTv2(ARCH, input_size=(4, 32, 32)), plain(16, channels=3), NOTHING, grid=(4, 4))


def test_unknown_choice():
    with pytest.raises(ConfigError, match="rgb='sums' is unknown: choose mean or sum, did you mean 'sum'?"):
        check_options({**NOTHING, 'rgb': 'sums'})
    for wrong in (True, 1, ['sum'], ''):
        with pytest.raises(ConfigError, match=r'^rgb=.* is unknown: choose mean or sum$'):
            check_options({**NOTHING, 'rgb': wrong})


@pytest.mark.parametrize('grid', [16, '4x4', (4.0, 4.0), (-4, -4), (), (True, 16), (4, '4'), {}, True])
def test_what_is_no_grid(grid):
    with pytest.raises(ConfigError, match=r'^grid=.* is not a grid: give a number of positions for each axis, as in'):
        choose(ast(), plain(16, channels=3), NOTHING, grid=grid)


@pytest.mark.parametrize('grid', [(16,), (2, 2, 4)])
def test_grid_of_other_axes(grid):
    with pytest.raises(ConfigError, match=rf'has {len(grid)} axes, that of the model 2: \(12, 101\)'):
        choose(ast(), plain(16, channels=3), NOTHING, grid=grid)
