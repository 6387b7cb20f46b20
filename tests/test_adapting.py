import pytest
import torch
from torch import nn

from mmav.adapting import Adapted, Hints, adapt_weights, noted_grids, position_grids
from mmav.errors import CheckpointError
from mmav.models import AST, MAT


class Doubled(nn.Linear):
    """A part that takes a weight of half its rows twice, and notes what it is told."""

    def adapt_weight(self, name, value, hints):
        self.told = (name, hints)
        return Adapted(value.repeat(2, *[1] * (value.dim() - 1)), 'doubled')


def test_the_innermost_part_is_asked_for_weights_of_another_shape():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(Doubled(2, 4)))
    model.adapt_weight = lambda *args: None  # the outer part is not asked
    weights = {
        '0.weight': torch.ones(3, 2),
        '1.0.weight': torch.ones(2, 2),
        '1.0.bias': torch.zeros(4),
        '1.0.more': torch.zeros(1),
    }
    adapted = adapt_weights(model, weights, Hints(rgb='sum'))
    assert adapted.keys() == {'1.0.weight'} and adapted['1.0.weight'].how == 'doubled'
    assert torch.equal(adapted['1.0.weight'].value, torch.ones(4, 2))
    name, hints = model[1][0].told
    assert name == 'weight' and hints == Hints(frozenset({'weight', 'bias', 'more'}), rgb='sum')


def test_what_still_does_not_fit_is_left_out():
    assert adapt_weights(Doubled(2, 4), {'weight': torch.ones(3, 2)}) == {}


def test_a_known_grid_is_asked_for_where_the_numbers_are_the_same():
    model = Doubled(2, 4)
    assert adapt_weights(model, {'bias': torch.zeros(4)}, grids={}) == {}
    assert not hasattr(model, 'told')
    assert adapt_weights(model, {'bias': torch.zeros(4)}, grids=dict(bias=[2, 2])) == {}
    assert model.told == ('bias', Hints(frozenset({'bias'}), grid=(2, 2)))


def test_checkpoints_note_what_positions_unroll():
    small = dict(embed_dims=8, num_layers=1, num_heads=1)
    arch = dict(embed_dims=8, num_layers=1, num_heads=1, stage_blocks=())
    model = nn.ModuleDict(dict(a=AST((32, 64), **small), b=MAT(arch, input_size=(32, 64), q_strides=[])))
    noted = position_grids(model)
    assert noted == {'a.pos_embed': [2, 5]} and position_grids(model['a']) == {'pos_embed': [2, 5]}
    checkpoint = dict(meta=dict(position_grids=noted))
    assert noted_grids(checkpoint) == {'a.pos_embed': (2, 5)}
    assert noted_grids(checkpoint, 'a.') == {'pos_embed': (2, 5)}
    assert noted_grids(checkpoint, 'b.') == noted_grids(dict(meta={})) == noted_grids({}) == {}


@pytest.mark.parametrize('wrong', [5, 'x', [1], {'a.pos_embed': None}, {'a.pos_embed': '12x48'}, {1: [3, 12]}])
def test_notes_that_are_no_grids_are_refused(wrong):
    with pytest.raises(CheckpointError, match='the checkpoint notes position_grids=.* which are no grids: leave the'):
        noted_grids(dict(meta=dict(position_grids=wrong)))
