import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmav.engine.memory.fused_sdpa import fused_sdpa
from tests.models.ops.test_sdpa_backends import A100, H100, make


def saved_bytes(run):
    """What autograd keeps of a call, each storage once."""
    kept = {}

    def keep(x):
        kept[x.untyped_storage()._cdata] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        out = run()
    return sum(kept.values()), out


@pytest.mark.parametrize(
    ('backend', 'rows'), [('flash', 33), ('efficient', 64), ('cudnn', 33)]
)  # one float32 a row; memory-efficient rounds up to 32 rows
def test_fake_tensors_keep_what_the_kernel_keeps(backend, rows):
    capability = H100 if backend == 'cudnn' else A100
    only = getattr(SDPBackend, f'{backend.upper()}_ATTENTION')
    with FakeTensorMode(), fused_sdpa(capability=capability), sdpa_kernel(only):
        q, k, v = make(64, device='cuda')
        kept, out = saved_bytes(lambda: F.scaled_dot_product_attention(q, k, v, scale=1.0))
    assert out.shape == q.shape and out.dtype == torch.bfloat16 and out.device.type == 'cuda'
    seeds = 3 * 8
    assert 0 <= kept - (2 * (q.numel() + k.numel() + v.numel() + out.numel()) + 4 * 2 * 3 * rows) <= seeds


def test_auto_follows_the_rules_call_by_call():
    with FakeTensorMode(), fused_sdpa():
        wide, _ = saved_bytes(lambda: F.scaled_dot_product_attention(*make(384, 96, device='cuda')))
        plain, _ = saved_bytes(lambda: F.scaled_dot_product_attention(*make(64, 64, torch.float64, device='cuda')))
    assert wide < 2 * 6 * (33 * (384 + 96) + 65 * (384 + 96)) + 4 * 6 * 64 + 32
    assert plain > 8 * 6 * 33 * 65 * 2  # the math form keeps the scores


def test_autocast_padding_and_masks_are_as_in_pytorch(monkeypatch):
    # what else switches autocast off where there is no GPU
    monkeypatch.setattr('torch.cuda.amp.common.amp_definitely_not_available', lambda: False)
    with FakeTensorMode(), fused_sdpa():
        with torch.autocast('cuda', torch.float16):
            q, k, v = make(61, dtype=torch.float32, device='cuda')
            out = F.scaled_dot_product_attention(q, k, v)
        assert out.dtype == torch.float16 and out.shape == q.shape
        q, k, v = make(64, device='cuda')
        mask = torch.ones(33, 65, dtype=torch.bool, device='cuda')
        assert F.scaled_dot_product_attention(q, k, v, attn_mask=mask).shape == q.shape
        with pytest.raises(ValueError, match='is_causal=True'):
            F.scaled_dot_product_attention(q, k, v, is_causal=True)


def test_the_math_form_computes_the_same():
    q, k, v = (torch.randn(2, 3, n, 8, generator=torch.Generator().manual_seed(n)) for n in (5, 7, 7))
    mask = torch.ones(5, 7, dtype=torch.bool).tril()
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3)
    with fused_sdpa(), sdpa_kernel(SDPBackend.MATH):
        torch.testing.assert_close(F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3), expected)
