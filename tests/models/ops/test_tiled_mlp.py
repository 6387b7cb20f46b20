import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

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


class Allocated(TorchDispatchMode):
    """Number of results of at least so many elements."""

    def __init__(self, size):
        super().__init__()
        self.size, self.found = size, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.found += isinstance(result, torch.Tensor) and result.numel() >= self.size and not func.is_view
        return result


def hidden_layers(layer, x):
    """How many tensors as large as the hidden layer there are in evaluation, and how many training saves."""
    hidden = x.shape[0] * layer.fc2.weight.shape[1]
    with torch.no_grad(), Allocated(hidden) as allocated:
        layer(x)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        layer(x)
    return allocated.found, sum(size >= hidden for size in saved)


@pytest.mark.parametrize('change', ['wrapped', 'hooked', 'without bias'])
def test_the_layer_takes_tiles_unless_it_was_changed(change, monkeypatch):
    monkeypatch.setattr(module, 'LEAST_HIDDEN', 1)
    monkeypatch.setattr(module, 'TILE', 64)
    monkeypatch.setattr(module, 'FEWEST_ROWS', 4)
    layer, x = MLP(4, 16, 4), torch.randn(64, 4)
    plain = layer(x)
    # in evaluation a tile at a time, in training what is before the GELU
    assert hidden_layers(layer, x) == (0, 1)
    if change == 'wrapped':
        layer.fc1 = torch.nn.Sequential(layer.fc1)
    elif change == 'hooked':
        layer.fc2.register_forward_hook(lambda module, args, result: result + 1)
        plain = plain + 1
    else:
        plain = plain - layer.fc2.bias
        layer.fc2.bias = None
    torch.testing.assert_close(layer(x), plain)
    assert hidden_layers(layer, x) == (2, 2)  # before the GELU and after it
