import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from mmav.models.ops.eager import MOST_CACHED, cached, halved, normalised, on_eager_cpu, under_transform


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
