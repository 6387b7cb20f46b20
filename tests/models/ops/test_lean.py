import copy
import weakref
from contextlib import nullcontext
from threading import Event, Thread

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmav.models.layers import MultiscaleBlock, TransformerBlock
from mmav.models.ops.eager import cheap, is_lean
from mmav.models.ops.lean import lean


def block(kind):
    torch.manual_seed(0)
    if kind == 'plain':
        made = TransformerBlock(16, 2, drop_path=0.5)
    else:
        made = MultiscaleBlock(
            16, 32, 2, q_stride=(2, 2), drop_path=0.5, grid=(8, 8), kv_stride=(2, 2), kernel=(3, 3), attention=kind
        )
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made.train()


def gradients(made, x, *, is_lean, half=False):
    made.zero_grad()
    torch.manual_seed(1)
    x = x.clone().requires_grad_()
    args = ((8, 8),) if isinstance(made, MultiscaleBlock) else ()
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        if is_lean:
            with lean():
                result = made(x * 1, *args)
        else:
            result = made(x * 1, *args)
    result = result[0] if args else result
    result.float().square().sum().backward()
    return [result.detach(), x.grad, *(p.grad for p in made.parameters())]


@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('kind', ['plain', 'explicit', 'folded', 'tiled'])
@pytest.mark.parametrize('cells', [64, 65])  # without a class token and with one
def test_values_and_gradients_are_equal_to_the_bit(kind, half, cells):
    made, x = block(kind), torch.randn(3, cells, 16)
    # gradients of oneDNN's convolutions in bfloat16 depend on where in memory a tensor lies
    with torch.backends.mkldnn.flags(enabled=not half):
        plain, spared = (gradients(made, x, is_lean=is_lean, half=half) for is_lean in (False, True))
    assert all(grad is not None and grad.abs().sum() > 0 for grad in plain)
    assert all(map(torch.equal, plain, spared))


def test_what_is_cheap_is_computed_when_needed_and_freed_after():
    calls = []

    def double(x):
        calls.append(1)
        return 2 * x

    x = torch.randn(1000, requires_grad=True)
    with lean():
        y = cheap(double, cheap(double, x * 1))
        seen = weakref.ref(y.untyped_storage())
        z = y.square() + y.sin()  # both keep y
        del y
    assert len(calls) == 2 and seen() is None
    z.sum().backward(retain_graph=True)
    assert len(calls) == 4  # each once again, for both
    torch.testing.assert_close(x.grad, 4 * (8 * x + (4 * x).cos()).detach())
    first = x.grad.clone()
    x.grad = None
    z.sum().backward()  # a graph that was retained
    assert torch.equal(x.grad, first) and len(calls) == 6


def test_outside_of_a_lean_pass_nothing_is_noted():
    assert not is_lean()
    x = torch.randn(3, requires_grad=True)
    y = cheap(torch.exp, x)
    assert y.grad_fn is not None and torch.equal(y, x.exp())
    with lean():
        assert is_lean()
    assert not is_lean()


def test_modules_with_hooks_or_of_other_kinds_are_called_once():
    norm, seen = nn.LayerNorm(4), []
    norm.register_forward_hook(lambda *args: seen.append(1))
    dropped = nn.Dropout(0.5)
    x = torch.randn(2, 4, requires_grad=True)
    with lean():
        y = cheap(dropped, cheap(norm, x * 1))
        z = y.square().sum()
    z.backward()
    assert seen == [1]
    torch.testing.assert_close(x.grad, torch.autograd.grad(F.layer_norm(x, (4,)), x, 2 * y * (y != 0) * 2)[0])


def test_a_changed_input_is_told():
    x = torch.randn(5, requires_grad=True)
    base = (x * 1).detach().requires_grad_()
    with lean():
        z = cheap(torch.exp, base).square().sum()
    with torch.no_grad():
        base += 1
    with pytest.raises(RuntimeError, match=r'a tensor \(5,\) was changed in place before its backward pass'):
        z.backward()


@pytest.mark.parametrize('change', [lambda y: nn.ReLU(inplace=True)(y), lambda y: y.mul_(3)])
def test_a_result_that_is_changed_in_place_is_kept_as_it_is_then(change):
    """As layers do that someone puts into a block: an inplace dropout before the second linear one."""
    linear, found = nn.Linear(6, 2), []
    for context in (nullcontext, lean):
        x = torch.linspace(-2, 2, 12).view(2, 6).requires_grad_()
        with context():
            y = linear(change(cheap(F.gelu, x * 1)))
        found.append(torch.autograd.grad(y.square().sum(), [x, linear.weight]))
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize('name', ['norm1.bias', 'mlp.fc2.weight', 'attn.qkv.weight'])
def test_a_changed_weight_is_told(name):
    """As autograd tells it where nothing is lean."""
    made = block('plain').eval()
    x = torch.randn(2, 5, 16, requires_grad=True)
    with lean():
        y = made(x)
    with torch.no_grad():
        made.get_parameter(name).add_(1)
    with pytest.raises(RuntimeError, match='was changed in place before its backward pass'):
        y.sum().backward()


def test_a_changed_bias_of_a_frozen_norm_is_told():
    norm, linear = nn.LayerNorm(4).requires_grad_(False), nn.Linear(4, 3)
    with lean():
        y = linear(cheap(norm, torch.randn(2, 4)))
    norm.bias.add_(1)
    with pytest.raises(RuntimeError, match=r'a tensor \(4,\) was changed in place'):
        y.sum().backward()


def test_lean_passes_are_of_their_thread():
    seen, inside, done = [], Event(), Event()

    def other():
        with lean():
            inside.set()
            done.wait(10)
            seen.append(is_lean())

    thread = Thread(target=other)
    thread.start()
    inside.wait(10)
    assert not is_lean()
    with lean():  # ends after the other's, which began before it
        done.set()
        thread.join()
    assert seen == [True] and not is_lean()


def test_second_derivatives():
    """Unpacked results take their place in the graph again."""
    x = torch.tensor([0.3, 1.2], dtype=torch.float64, requires_grad=True)

    def f(x):
        return cheap(torch.exp, x).square().sum()

    def spared(x):
        with lean():
            return f(x)

    expected = torch.autograd.functional.hessian(f, x)
    torch.testing.assert_close(torch.autograd.functional.hessian(spared, x), expected)


def test_copies_stand_alone():
    made = block('plain')
    x = torch.randn(2, 5, 16)
    twin = copy.deepcopy(made)
    assert all(map(torch.equal, gradients(made, x, is_lean=True), gradients(twin, x, is_lean=True)))
