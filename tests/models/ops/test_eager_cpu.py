import torch

from mmav.models.ops.eager_cpu import on_eager_cpu, under_transform


def test_only_plain_tensors_of_a_cpu_outside_of_compilers_and_autocast():
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


def test_transforms_of_functions_are_no_place_for_operators_of_our_own():
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
