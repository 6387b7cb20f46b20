import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmav.engine import AutocastOptimWrapper


def test_forward_in_bfloat16_weights_in_float32():
    model = nn.Linear(4, 4)
    wrapper = AutocastOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), clip_grad=dict(max_norm=1.0))
    before = model.weight.clone()
    with wrapper.optim_context(model):
        out = model(torch.randn(2, 4))
    assert out.dtype is torch.bfloat16
    assert model(torch.randn(2, 4)).dtype is torch.float32  # only inside
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype is torch.float32
    assert not torch.equal(model.weight, before)


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match=r"'float16'; for float16 .*AmpOptimWrapper"):
        AutocastOptimWrapper(dtype='float16', optimizer=None)


def test_no_weight_decay_on_vectors_tokens_and_positions():
    """What the MViTv2 recipe asks for is a matter of MMEngine's ``paramwise_cfg``; this is how."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = nn.Linear(2, 3), nn.LayerNorm(3)
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 3))
            self.rel_pos_t = nn.Parameter(torch.zeros(5, 3))

    net = Net()
    wrapper = build_optim_wrapper(
        net,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.05),
            paramwise_cfg=dict(
                norm_decay_mult=0.0,
                bias_decay_mult=0.0,
                flat_decay_mult=0.0,
                custom_keys=dict(cls_token=dict(decay_mult=0.0), rel_pos=dict(decay_mult=0.0)),
            ),
        ),
    )
    decayed = {id(p) for g in wrapper.optimizer.param_groups if g['weight_decay'] > 0 for p in g['params']}
    assert [name for name, p in net.named_parameters() if id(p) in decayed] == ['linear.weight']
