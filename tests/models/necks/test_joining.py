import pytest
import torch

from mmav.errors import ConfigError
from mmav.models.necks.joining import FusionNeck, absent_to_zero, pool_tokens
from mmav.structures import Tokens


def test_class_token_goes_first_and_widths_are_brought_together():
    tokens = {m: Tokens(torch.randn(2, d), torch.randn(2, 6, d), (2, 3)) for m, d in (('video', 4), ('audio', 8))}
    neck = FusionNeck(dict(audio=8, video=4), 4, order=('video', 'audio'))
    streams, key_masks = neck.join(tokens, None)
    assert list(streams) == ['video', 'audio']
    assert torch.equal(streams['video'][:, 0], tokens['video'].cls)
    assert torch.equal(streams['video'][:, 1:], tokens['video'].patches)
    torch.testing.assert_close(streams['audio'][:, 0], neck.adapt['audio'](tokens['audio'].cls))
    assert key_masks == {}
    fused = neck.class_tokens(streams)['fused']
    assert fused.shape == (2, neck.out_dims['fused'])
    torch.testing.assert_close(fused[:, 4:], neck.norms['audio'](streams['audio'][:, 0]))


def test_absent_modality_is_zero_and_masked():
    tokens = dict(audio=Tokens(torch.full((2, 4), float('nan')), torch.full((2, 6, 4), float('nan')), (2, 3)))
    neck = FusionNeck(dict(audio=4), 4, order=('audio',))
    streams, key_masks = neck.join(tokens, dict(audio=torch.tensor([False, True])))
    assert (streams['audio'][0] == 0).all() and streams['audio'][1].isnan().all()
    assert not key_masks['audio'][0].any() and key_masks['audio'][1].all()
    assert key_masks['audio'].shape == (2, 7)


def test_absent_to_zero_stops_gradients():
    x = torch.ones(2, 3, requires_grad=True)
    absent_to_zero(x, torch.tensor([True, False])).sum().backward()
    assert x.grad.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_order_and_widths_must_name_the_same_modalities():
    for in_dims in (None, dict(video=4)):
        with pytest.raises(ValueError, match=r"FusionNeck needs the widths of \('video', 'audio'\), got in_dims="):
            FusionNeck(in_dims, 4, order=('video', 'audio'))


def test_tokens_are_averaged_over_the_cells_of_a_coarser_grid():
    tokens = Tokens(torch.randn(2, 4), torch.randn(2, 4 * 6 * 5, 4), (4, 6, 5))
    pooled = pool_tokens(tokens, (2, 3, 5))
    assert torch.equal(pooled.cls, tokens.cls)
    assert pooled.grid == (2, 3, 5)
    # a slow loop
    grid = tokens.patches.reshape(2, 4, 6, 5, 4)
    for place, (t, h, w) in enumerate((t, h, w) for t in range(2) for h in range(3) for w in range(5)):
        mean = grid[:, 2 * t : 2 * t + 2, 2 * h : 2 * h + 2, w].mean(dim=(1, 2))
        torch.testing.assert_close(pooled.patches[:, place], mean)
    assert pool_tokens(tokens, (4, 6, 5)) is tokens
    assert pool_tokens(tokens, (0,)).patches.shape == (2, 0, 4)
    assert pool_tokens(Tokens(torch.zeros(1, 2), torch.ones(1, 6, 2), (2, 3)), (1, 2)).patches.shape == (1, 2, 2)


@pytest.mark.parametrize('grid', [(2, 3), (2, 7, 5), (0, 1, 1)])
def test_a_grid_that_does_not_fit_is_refused(grid):
    tokens = Tokens(torch.randn(2, 4), torch.randn(2, 4 * 6 * 5, 4), (4, 6, 5))
    with pytest.raises(ConfigError, match=rf'neck.token_grids.video=\({grid[0]}, .* does not fit the tokens of video'):
        pool_tokens(tokens, grid, 'video')


def test_a_neck_joins_fewer_tokens():
    tokens = {m: Tokens(torch.randn(2, 4), torch.randn(2, 6, 4), (2, 3)) for m in ('video', 'audio')}
    neck = FusionNeck(dict(audio=4, video=4), 4, order=('video', 'audio'), token_grids=dict(video=[1, 3]))
    streams, key_masks = neck.join(tokens, dict.fromkeys(tokens, torch.tensor([True, False])))
    assert streams['video'].shape == (2, 4, 4) and streams['audio'].shape == (2, 7, 4)
    assert key_masks['video'].shape == (2, 4)
    torch.testing.assert_close(streams['video'][0, 1], tokens['video'].patches[0, [0, 3]].mean(dim=0))
    with pytest.raises(ValueError, match=r"token_grids has 'vidoe', but the modalities are .*, did you mean 'video'"):
        FusionNeck(dict(audio=4, video=4), 4, order=('video', 'audio'), token_grids=dict(vidoe=(1, 3)))
