import pytest
import torch
from torch import nn

from mmav.adapting import position_grids
from mmav.engine.loading import load_weights
from mmav.errors import CheckpointError
from mmav.models import AST
from mmav.models.layers.absolute_position import resize_positions


def test_weights_of_another_architecture():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    other = nn.Sequential(nn.Linear(2, 4), nn.Linear(3, 1), nn.Linear(1, 1)).state_dict()
    del other['1.bias']
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, other, 'a.pth')
    text = str(caught.value)
    assert '1 missing (1.bias)' in text
    assert '2 unknown (2.weight, 2.bias)' in text
    assert '2 of another shape (0.weight (4, 2) for (3, 2), 0.bias (4,) for (3,))' in text
    load_weights(model, other, 'a.pth', strict=False)
    assert torch.equal(model[1].weight, other['1.weight'])
    with pytest.raises(CheckpointError, match='nothing in'):
        load_weights(model, nn.Linear(5, 5).state_dict(), 'a.pth', strict=False)


def test_weights_of_features_and_of_files_are_told_apart():
    encoders = nn.Module()
    encoders.backbones, encoders.head = nn.ModuleDict(dict(video=nn.Linear(2, 2))), nn.Linear(2, 2)
    features = nn.Module()
    features.head = nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match='2 missing .* join it with their encoders by `mmav merge CHECKPOINT DIR'):
        load_weights(encoders, features.state_dict(), 'a.pth')
    with pytest.raises(CheckpointError, match='it has encoders, and the config reads features: leave --features out$'):
        load_weights(features, encoders.state_dict(), 'a.pth')
    other = {'backbones.video.bias': torch.zeros(2), **features.state_dict()}
    with pytest.raises(CheckpointError, match='1 missing .*; give the config that the checkpoint was trained with'):
        load_weights(encoders, other, 'a.pth')


def test_prefix_of_a_wrapped_model_is_dropped():
    source, model = nn.Linear(2, 2), nn.Linear(2, 2)
    load_weights(model, {f'module.{name}': value for name, value in source.state_dict().items()}, 'a.pth')
    assert torch.equal(model.weight, source.weight)


def test_positions_are_of_the_grid_that_the_checkpoint_notes():
    """24 x 24 positions are as many as 12 x 48: without a note they are taken as they are, with one as they were."""
    small = dict(embed_dims=4, num_layers=1, num_heads=1)
    square, long = AST((246, 246), **small), AST((128, 490), **small)
    assert (square.grid, long.grid) == ((24, 24), (12, 48))
    nn.init.normal_(square.pos_embed)
    load_weights(long, square.state_dict(), 'a.pth')
    assert torch.equal(long.pos_embed, square.pos_embed)
    load_weights(long, square.state_dict(), 'a.pth', grids=position_grids(square))
    expected = resize_positions(square.pos_embed[:, 2:].detach(), (24, 24), (12, 48))
    assert torch.equal(long.pos_embed[:, 2:], expected)
    # and 324 of them, of 12 x 27, are not 18 x 18
    short, model = AST((128, 280), **small), AST((96, 280), **small)
    nn.init.normal_(short.pos_embed)
    load_weights(model, short.state_dict(), 'a.pth', grids=position_grids(short))
    expected = resize_positions(short.pos_embed[:, 2:].detach(), (12, 27), (9, 27))
    assert torch.equal(model.pos_embed[:, 2:], expected)


def test_a_kernel_of_other_channels_is_another_architecture():
    """Public files may begin a model of other inputs; a checkpoint of ours that has them is a mistake."""
    small = dict(embed_dims=4, num_layers=1, num_heads=1)
    with pytest.raises(CheckpointError, match='1 of another shape .patch_embed.proj.weight'):
        load_weights(AST((32, 32), **small), AST((32, 32), in_channels=3, **small).state_dict(), 'a.pth')
