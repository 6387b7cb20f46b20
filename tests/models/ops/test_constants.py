import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from mmav.models.ops.constants import MOST_KEPT, kept


def test_made_once_and_fit_for_training():
    cache = {}
    with torch.inference_mode():
        first = kept(cache, 1, lambda: torch.ones(2))
    assert kept(cache, 1, lambda: torch.zeros(2)) is first
    assert not first.is_inference()
    (first * torch.ones(2, requires_grad=True)).sum().backward()
    for key in range(3 * MOST_KEPT):
        kept(cache, key, lambda: torch.ones(1))
    assert 0 < len(cache) <= MOST_KEPT


def test_stand_ins_and_real_ones_do_not_mix():
    cache = {}
    with FakeTensorMode():
        assert isinstance(kept(cache, 1, lambda: torch.ones(2)), FakeTensor)
    real = kept(cache, 1, lambda: torch.ones(2))
    assert type(real) is torch.Tensor
    with FakeTensorMode():
        assert isinstance(kept(cache, 1, lambda: torch.ones(2)), FakeTensor)


def test_a_constant_of_a_compiled_graph():
    cache = {}

    @torch.compile(fullgraph=True, backend='eager')
    def run(x):
        return x + kept(cache, len(x), lambda: torch.arange(len(x)))

    assert run(torch.zeros(3)).tolist() == [0, 1, 2]
    assert not cache
