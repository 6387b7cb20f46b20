import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmav.models.ops.sdpa_backends import expected_backend

V100, T4, A100, A10, RTX_4090, H100 = (7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0)


def make(width, v_width=None, dtype=torch.bfloat16, *, keys=65, device='meta', needs_grad=True):
    q, k, v = (
        torch.empty(2, 3, length, size, dtype=dtype, device=device, requires_grad=needs_grad)
        for length, size in ((33, width), (keys, width), (keys, v_width or width))
    )
    return q, k, v


# as the rules of PyTorch's sdp_utils.cpp were read by hand
@pytest.mark.parametrize(
    ('width', 'v_width', 'dtype', 'capability', 'expected'),
    [
        # folded attention as it was: flash takes one width only
        (120, 96, torch.bfloat16, A100, 'efficient'),
        (120, 96, torch.bfloat16, H100, 'cudnn'),
        (136, 96, torch.bfloat16, H100, 'efficient'),
        (384, 96, torch.bfloat16, H100, 'efficient'),
        # with values of the same width
        (120, 120, torch.bfloat16, A100, 'flash'),
        (240, 240, torch.bfloat16, A100, 'flash'),
        (256, 256, torch.float16, A100, 'flash'),
        (264, 264, torch.float16, A100, 'efficient'),
        (120, 120, torch.bfloat16, H100, 'cudnn'),
        (136, 136, torch.bfloat16, H100, 'flash'),
        (192, 128, torch.bfloat16, H100, 'cudnn'),
        (192, 128, torch.bfloat16, A100, 'efficient'),
        (256, 256, torch.bfloat16, H100, 'cudnn'),
        # cards with less shared memory: no backward pass of 193 to 224
        (192, 192, torch.bfloat16, RTX_4090, 'flash'),
        (200, 200, torch.bfloat16, RTX_4090, 'efficient'),
        (240, 240, torch.bfloat16, A10, 'flash'),
        # rows of whole operands
        (118, 118, torch.bfloat16, A100, 'flash'),
        (118, 96, torch.bfloat16, A100, 'math'),
        (120, 118, torch.bfloat16, A100, 'math'),
        (118, 118, torch.float32, A100, 'math'),
        (116, 96, torch.float32, A100, 'efficient'),
        (117, 95, torch.float32, T4, 'efficient'),
        (117, 117, torch.float16, T4, 'math'),
        (120, 120, torch.float16, V100, 'efficient'),
        (120, 120, torch.bfloat16, V100, 'math'),
        (64, 64, torch.float64, A100, 'math'),
    ],
)
def test_rules(width, v_width, dtype, capability, expected):
    assert expected_backend(*make(width, v_width, dtype), capability=capability) == expected


def test_rules_beside_widths():
    q, k, v = make(64)
    assert expected_backend(q, k, v) == 'flash'
    assert expected_backend(q, k, v, mask=True) == 'efficient'
    assert expected_backend(q, k, v, capability=H100, mask=True) == 'cudnn'
    assert expected_backend(q, k, v, capability=H100, dropout=0.1) == 'flash'  # cuDNN has sixteenths only
    assert expected_backend(*make(64, keys=1), capability=H100) == 'flash'
    assert expected_backend(*make(64, keys=0), capability=H100) == 'math'
    assert expected_backend(q, k, v.transpose(-1, -2).contiguous().transpose(-1, -2)) == 'math'
    assert expected_backend(q, k.expand(2, 3, 65, 64)[:1], v) == 'math'
    assert expected_backend(q, k, v.half()) == 'math'
    odd = torch.empty(v.numel() + 1, dtype=v.dtype, device='meta')[1:].view_as(v)
    assert expected_backend(q, k, odd, mask=True) == 'math'


def test_the_backward_pass_narrows_the_choice():
    with torch.no_grad():
        assert expected_backend(*make(200), capability=RTX_4090) == 'flash'
        assert expected_backend(*make(136, 96), capability=H100) == 'cudnn'
    assert expected_backend(*make(200, needs_grad=False), capability=RTX_4090) == 'flash'


def test_what_is_switched_off_is_not_taken(monkeypatch):
    q, k, v = make(64)
    with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        assert expected_backend(q, k, v) == expected_backend(q, k, v, capability=H100) == 'efficient'
    with sdpa_kernel(SDPBackend.MATH):
        assert expected_backend(q, k, v) == 'math'
    monkeypatch.setattr(torch, 'are_deterministic_algorithms_enabled', lambda: True)
    assert expected_backend(q, k, v, capability=H100) == 'flash'
