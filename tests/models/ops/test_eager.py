import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.utils import parametrizations, prune

from mmav.models.ops.eager import MOST_CACHED, cached, halved, is_plain, normalised, on_eager_cpu, under_transform


class Tagged(torch.Tensor):
    """A tensor that computes something else, as quantized weights do."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return super().__torch_function__(func, types, args, kwargs or {})


def with_forward(module):
    module.forward = lambda x: 2 * x
    return module


def with_hook(module, name):
    getattr(module, name)(lambda *args: None)
    return module


def with_weight(module, weight):
    del module.weight
    module.weight = weight
    return module


CHANGED = dict(
    subclass=lambda: type('Mine', (nn.Linear,), {})(2, 2),
    wrapped=lambda: nn.Sequential(nn.Linear(2, 2)),
    other=lambda: nn.Dropout(),
    forward=lambda: with_forward(nn.Linear(2, 2)),
    before=lambda: with_hook(nn.Linear(2, 2), 'register_forward_pre_hook'),
    after=lambda: with_hook(nn.LayerNorm(2), 'register_forward_hook'),
    gradient=lambda: with_hook(nn.Conv2d(2, 2, 1), 'register_full_backward_hook'),
    gradient_before=lambda: with_hook(nn.Conv1d(2, 2, 1), 'register_full_backward_pre_hook'),
    pruned=lambda: prune.random_unstructured(nn.Linear(2, 2), 'weight', 0.5),
    parametrized=lambda: parametrizations.orthogonal(nn.Linear(2, 2)),
    old_spectral_norm=lambda: nn.utils.spectral_norm(nn.Linear(2, 2)),
    weight_of_another_kind=lambda: with_weight(nn.Linear(2, 2), torch.ones(2, 2).as_subclass(Tagged)),
)


@pytest.mark.parametrize('change', CHANGED)
def test_changed_modules_are_not_plain(change):
    assert not is_plain(CHANGED[change]())


def test_plain_modules(monkeypatch):
    assert all(
        map(is_plain, (nn.Linear(2, 2), nn.Conv3d(2, 2, 1), nn.LayerNorm(2, elementwise_affine=False), nn.GELU()))
    )
    pruned = prune.remove(CHANGED['pruned'](), 'weight')
    assert is_plain(pruned)
    with FakeTensorMode():
        assert is_plain(nn.Linear(2, 2))
    handle = nn.modules.module.register_module_forward_hook(lambda *args: None)
    assert not is_plain(nn.Linear(2, 2))
    handle.remove()
    assert is_plain(nn.Linear(2, 2).to('meta'))
    # a library that patches the type
    monkeypatch.setattr(nn.Linear, 'forward', lambda self, x: x)
    assert not is_plain(nn.Linear(2, 2))


@pytest.mark.parametrize('hooked', [False, True])
def test_compilers_and_exporters_see_hooks(hooked):
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x):
            return x + (1 if is_plain(self.linear) else 2)

    layer = Layer()
    if hooked:
        with_hook(layer.linear, 'register_forward_hook')
    expected, x = torch.full((2,), 2.0 if hooked else 1.0), torch.zeros(2)
    assert torch.equal(torch.compile(layer, backend='eager', fullgraph=True)(x), expected)
    assert torch.equal(torch.export.export(layer, (x,)).module()(x), expected)


def test_eager_cpu_is_outside_of_compilers_and_autocast():
    x = torch.zeros(2)
    assert on_eager_cpu(x) and on_eager_cpu(x.double())
    assert not on_eager_cpu(x.half())
    assert not on_eager_cpu(x.to('meta'))
    with torch.autocast('cpu', torch.bfloat16):
        assert not on_eager_cpu(x)
    compiled = torch.compile(lambda value: value + (1 if on_eager_cpu(value) else 2), backend='eager', fullgraph=True)
    assert compiled(x).tolist() == [2, 2]
    traced = torch.jit.trace(lambda value: value + (1 if on_eager_cpu(value) else 2), x)
    assert traced(x).tolist() == [2, 2]


def test_transforms_of_functions_are_noticed():
    x, seen = torch.zeros(1), []

    def look(value):
        seen.append((under_transform(), on_eager_cpu(x)))
        return value

    torch.func.jvp(look, (x,), (x,))
    torch.func.vmap(look)(x)
    with torch.autograd.forward_ad.dual_level():
        look(x)
    assert seen == [(True, False)] * 3
    assert not under_transform() and on_eager_cpu(x)


def test_casts_are_those_of_autocast():
    linear, norm, x = nn.Linear(8, 8), nn.LayerNorm(8), torch.randn(2, 8)
    assert halved(x) is x
    with torch.autocast('cpu', torch.bfloat16):
        assert halved(x).dtype == torch.bfloat16
        assert torch.equal(linear(halved(normalised(norm, x))), linear(norm(x)))
    assert halved(torch.zeros(2, dtype=torch.int64)).dtype == torch.int64


def test_made_once_and_fit_for_training():
    cache = {}
    with torch.inference_mode():
        first = cached(cache, 1, lambda: torch.ones(2))
    assert cached(cache, 1, lambda: torch.zeros(2)) is first
    assert not first.is_inference()
    (first * torch.ones(2, requires_grad=True)).sum().backward()
    for key in range(3 * MOST_CACHED):
        cached(cache, key, lambda: torch.ones(1))
    assert 0 < len(cache) <= MOST_CACHED


def test_stand_ins_and_real_ones_do_not_mix():
    cache = {}
    with FakeTensorMode():
        assert isinstance(cached(cache, 1, lambda: torch.ones(2)), FakeTensor)
    real = cached(cache, 1, lambda: torch.ones(2))
    assert type(real) is torch.Tensor
    with FakeTensorMode():
        assert isinstance(cached(cache, 1, lambda: torch.ones(2)), FakeTensor)


def test_a_constant_of_a_compiled_graph():
    cache = {}

    @torch.compile(fullgraph=True, backend='eager')
    def run(x):
        return x + cached(cache, len(x), lambda: torch.arange(len(x)))

    assert run(torch.zeros(3)).tolist() == [0, 1, 2]
    assert not cache
