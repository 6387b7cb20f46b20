import torch
from torch import nn

from mmav.models.init import init_transformer


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
