import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.sdpa_calls import noted_sdpa, taken_backend
from mmav.models.ops.sdpa_backends import BACKENDS, expected_backend
from tests.models.ops.test_sdpa_backends import make


def test_pytorch_is_asked_where_the_tensors_lie():
    q, k, v = torch.randn(3, 1, 1, 4, 8)
    with sdpa_kernel(SDPBackend.MATH):
        assert taken_backend(q, k, v) == 'math'
    assert taken_backend(q, k, v) in BACKENDS


def test_calls_are_noted():
    with sdpa_kernel(SDPBackend.MATH), noted_sdpa() as asked, noted_sdpa((8, 0)) as noted:
        F.scaled_dot_product_attention(*torch.randn(3, 1, 1, 4, 8))
        torch.randn(3).sum()
    assert asked.calls == [(8, 8, 'math')] == noted.calls
    with FakeTensorMode(), noted_sdpa((9, 0)) as noted:
        F.scaled_dot_product_attention(*make(120, 96, device='cuda'))
        F.scaled_dot_product_attention(*make(64, dtype=torch.float32, device='cuda'))
    assert noted.calls == [(120, 96, 'cudnn'), (64, 64, 'efficient')]


def test_noted_are_the_tensors_that_reach_a_kernel_and_all_that_it_is_chosen_by():
    q, k, v = torch.randn(3, 1, 1, 16, 32)
    with noted_sdpa((8, 0)) as noted:
        F.scaled_dot_product_attention(q, key=k, value=v)
        with torch.autocast('cpu', torch.bfloat16):
            F.scaled_dot_product_attention(query=q, key=k, value=v)
            F.scaled_dot_product_attention(q, k, v, torch.ones(16, 16, dtype=torch.bool))
    assert noted.calls == [(32, 32, 'efficient'), (32, 32, 'flash'), (32, 32, 'efficient')]
    with noted_sdpa((9, 0)) as noted:
        F.scaled_dot_product_attention(*(x.bfloat16() for x in (q, k, v)), dropout_p=0)
    assert noted.calls == [(32, 32, 'cudnn')]


@pytest.mark.gpu
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('needs_grad', [False, True])
@pytest.mark.parametrize('length', [1, 64, 65])
def test_rules_are_those_of_pytorch(dtype, needs_grad, length):
    capability = torch.cuda.get_device_capability()
    wrong = {}
    for width in (61, 64, 96, 118, 120, 128, 136, 192, 200, 232, 240, 256, 264, 384):
        for v_width in {64, 96, 128, width}:
            tensors = make(width, v_width, dtype, keys=length, device='cuda', needs_grad=needs_grad)
            answers = expected_backend(*tensors, capability=capability), taken_backend(*tensors)
            if answers[0] != answers[1]:
                wrong[width, v_width] = answers
    assert not wrong
