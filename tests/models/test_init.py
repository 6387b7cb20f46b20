import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from mmav.models import AST
from mmav.models.init import DrawnModule, init_transformer


def test_every_kind_of_parameter():
    torch.manual_seed(0)
    model = nn.Module()
    model.linear = nn.Linear(64, 64)
    model.free = nn.Linear(64, 64, bias=False)
    model.conv = nn.Conv3d(4, 4, 3, groups=4)
    model.norm = nn.LayerNorm(64)
    model.tables = nn.ParameterList([torch.zeros(9, 64)])
    model.token = nn.Parameter(torch.zeros(1, 4, 64))
    for parameter in model.parameters():
        nn.init.constant_(parameter, 7.0)
    init_transformer(model, [model.token, None])
    for matrix in (model.linear.weight, model.free.weight, model.tables[0], model.token):
        assert 0.015 < matrix.std() < 0.025
    init_transformer(model, [model.token], std=0.1)
    assert 0.08 < model.linear.weight.std() < 0.12
    assert 0.015 < model.token.std() < 0.025 and 0.015 < model.tables[0].std() < 0.025
    assert (model.linear.bias == 0).all()
    assert (model.norm.weight == 1).all() and (model.norm.bias == 0).all()
    assert model.conv.weight.abs().max() <= 27**-0.5  # PyTorch's own bound: one input channel per group, 3x3x3


class Part(DrawnModule):
    init_std = 0.5

    def __init__(self, inner=None):
        super().__init__()
        self.linear = nn.Linear(64, 64)
        self.token = nn.Parameter(torch.zeros(1, 4, 64))
        self.tables = nn.ParameterList([torch.zeros(9, 64)])
        self.norm = nn.BatchNorm1d(64)
        self.inner = inner


def test_a_part_inside_another_keeps_to_its_own_deviation():
    inner = Part()
    inner.init_std = 0.1
    part = Part(inner)
    part.init_weights()
    assert 0.4 < part.linear.weight.std() < 0.6 and 0.08 < inner.linear.weight.std() < 0.12
    assert part.token.std() > 0.01 and (part.norm.weight == 1).all()
    before = inner.linear.weight.clone()
    part.draw()
    assert torch.equal(inner.linear.weight, before)
    assert part.no_weight_decay() == {'token', 'tables.0', 'inner.tables.0'}
    assert inner.no_weight_decay() == {'token', 'tables.0'}


def test_a_seed_gives_a_backbone_the_weights_of_init_weights_alone(monkeypatch):
    """Its constructor draws, but what is drawn afterwards is as if it had not."""

    def weights():
        torch.manual_seed(0)
        model = AST((32, 64), embed_dims=8, num_layers=1, num_heads=2)
        built = model.blocks[0].mlp.fc1.weight.detach().clone()
        model.init_weights()
        return built, model.blocks[0].mlp.fc1.weight, torch.rand(3)

    built, drawn, after = weights()
    monkeypatch.setattr(DrawnModule, 'draw_aside', lambda self: None)
    plain, same, same_after = weights()
    assert torch.equal(drawn, same) and torch.equal(after, same_after) and not torch.equal(built, plain)


def test_fake_tensors_are_not_drawn():
    with FakeTensorMode():
        assert isinstance(AST((32, 64), embed_dims=8, num_layers=1, num_heads=2).pos_embed, FakeTensor)
