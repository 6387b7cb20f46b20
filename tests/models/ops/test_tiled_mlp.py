import pytest
import torch
import torch.nn.functional as F

from mmav.models.layers.transformer_block import MLP
from mmav.models.ops import tiled_mlp as module
from mmav.models.ops.tiled_mlp import tiled_mlp, tiles_pay


@pytest.mark.parametrize('shape', [(7, 3), (2, 5, 3), (1, 1, 3)])
def test_values_and_gradients_equal_plain_layers(shape, monkeypatch):
    monkeypatch.setattr(module, 'TILE', 12)
    monkeypatch.setattr(module, 'FEWEST_ROWS', 2)
    generator = torch.Generator().manual_seed(0)
    shapes = [shape, (6, 3), (6,), (4, 6), (4,)]
    leaves = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    x, weight1, bias1, weight2, bias2 = leaves
    expected = F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)
    out = tiled_mlp(*leaves)
    torch.testing.assert_close(out, expected)
    with torch.no_grad():
        torch.testing.assert_close(tiled_mlp(*leaves), expected)
    seed = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    for own, other in zip(
        torch.autograd.grad(out, leaves, seed), torch.autograd.grad(expected, leaves, seed), strict=True
    ):
        torch.testing.assert_close(own, other)


def test_where_tiles_pay(monkeypatch):
    monkeypatch.setattr(module, 'LEAST_HIDDEN', 64)
    x, weight = torch.zeros(2, 4, 2), torch.zeros(8, 2)
    assert tiles_pay(x, weight)
    assert not tiles_pay(x[:, :3], weight)
    assert not tiles_pay(x.bfloat16(), weight)
    assert not tiles_pay(x.to('meta'), weight)
    with torch.autocast('cpu', torch.bfloat16):
        assert not tiles_pay(x, weight)
    monkeypatch.setattr(module, 'MOST_WEIGHTS', 15)
    assert not tiles_pay(x, weight)


def test_the_layer_takes_them_unless_it_was_changed(monkeypatch):
    monkeypatch.setattr(module, 'LEAST_HIDDEN', 1)
    seen = []
    monkeypatch.setattr(module._TiledMLP, 'apply', lambda x, *args: seen.append(x) or x)
    layer, x = MLP(4, 8, 4), torch.randn(3, 4)
    assert layer(x) is x
    layer.fc1 = torch.nn.Sequential(layer.fc1)
    torch.testing.assert_close(layer(x), layer.fc2(F.gelu(layer.fc1(x))))
    assert len(seen) == 1
