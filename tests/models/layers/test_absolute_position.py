import pytest
import torch
from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

from mmav.models.layers.absolute_position import fit_positions, guess_grid, resize_positions, sincos_positions


@pytest.mark.parametrize('dims', [8, 768])
def test_sines_and_cosines_are_those_of_transformers(dims):
    torch.testing.assert_close(sincos_positions(50, dims), get_sinusoid_encoding_table(50, dims), atol=1e-6, rtol=0)


@pytest.mark.parametrize('grid', [(4,), (3, 4), (2, 3, 4)])
def test_positions_that_rise_along_the_last_axis_keep_rising(grid):
    ramp = torch.arange(4.0).expand(grid).reshape(1, -1, 1)
    assert resize_positions(ramp, grid, grid) is ramp
    resized = resize_positions(ramp, grid, (*grid[:-1], 8)).reshape(-1, 8)
    # linear between the centres of the old cells, constant beyond the outermost
    expected = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    torch.testing.assert_close(resized, expected.expand_as(resized))


def as_ast_does(table, old, new):
    """One axis after the other, time first (YuanGongND/ast, src/models/ast_models.py, ``ASTModel.__init__``)."""

    def along_columns(grid, length):
        had = grid.shape[1]
        if length <= had:
            start = int(had / 2) - int(length / 2)
            return grid[:, start : start + length]
        columns = []
        for column in range(length):
            place = max((column + 0.5) * had / length - 0.5, 0)
            left = int(place)
            share = place - left
            columns.append((1 - share) * grid[:, left] + share * grid[:, min(left + 1, had - 1)])
        return torch.stack(columns, dim=1)

    grid = along_columns(table.reshape(*old, -1), new[1])
    grid = along_columns(grid.transpose(0, 1), new[0]).transpose(0, 1)
    return grid.reshape(1, new[0] * new[1], -1)


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ((24, 24), (12, 101)),  # DeiT to AudioSet
        ((24, 24), (12, 12)),  # to Speech Commands
        ((24, 24), (12, 48)),  # as many as before
        ((14, 14), (15, 9)),
        ((12, 101), (12, 50)),  # AudioSet to ESC-50
        ((12, 101), (5, 120)),
    ],
)
def test_cut_is_what_the_code_of_ast_does(old, new):
    table = torch.randn(1, old[0] * old[1], 3, generator=torch.Generator().manual_seed(0))
    fitted, how = fit_positions(table, old, new, cut=True)
    # torch has the places between columns in float32 only
    torch.testing.assert_close(fitted, as_ast_does(table, old, new), atol=1e-4, rtol=1e-4)
    assert how.startswith(f'positions of {old} cut') or old == (14, 14)


def test_says_what_was_done():
    table = torch.zeros(1, 576, 1)
    assert fit_positions(table, (24, 24), (12, 101), cut=True)[1] == (
        'positions of (24, 24) cut, interpolated to (12, 101)'
    )
    assert fit_positions(table, (24, 24), (12, 101))[1] == 'positions of (24, 24) interpolated to (12, 101)'
    assert fit_positions(table, (24, 24), (4, 24, 24))[1] == 'positions of (24, 24) repeated to (4, 24, 24)'
    same, how = fit_positions(table, (24, 24), (24, 24))
    assert torch.equal(same, table) and not how


def test_those_of_pictures_are_repeated_over_time():
    table = torch.randn(1, 9, 2)
    fitted, _ = fit_positions(table, (3, 3), (4, 5, 6))
    picture = resize_positions(table, (3, 3), (5, 6))
    assert torch.equal(fitted, picture.repeat(1, 4, 1))


def test_guess_is_refused_where_no_grid_has_that_number():
    assert guess_grid(0, (12, 101)) is None and guess_grid(7, (2, 4, 4)) is None
