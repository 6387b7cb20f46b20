import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from mmav.engine.memory.fake_gpu import fake_gpu
from mmav.engine.memory.optimizer import optimizer_bytes
from mmav.errors import ConfigError

BYTES = 4 * (3 * 64 * 64 + 256)


def counted(**options):
    init_default_scope('mmav')
    with fake_gpu():
        return optimizer_bytes(options, [nn.Parameter(torch.empty(size)) for size in [(64, 64)] * 3 + [(256,)]])


@pytest.mark.parametrize(
    ('options', 'states', 'beyond'),
    [
        (dict(type='AdamW', fused=True), 2, 0),
        (dict(type='AdamW', foreach=True), 2, 1),  # its square roots
        (dict(type='SGD', lr=0.1, momentum=0.9), 1, 0),
        (dict(type='SGD', lr=0.1, momentum=0.9, fused=True), 1, 0),  # whose kernel knows no fake tensors
        (dict(type='SGD', lr=0.1), 0, 0),
    ],
)
def test_states_and_what_a_step_takes_beyond(options, states, beyond):
    state, most = counted(**options)
    # the number of steps is a number on the GPU for fused kernels
    assert state == pytest.approx(states * BYTES, rel=0.05)
    assert most == pytest.approx(beyond * BYTES, rel=0.1, abs=1)


def test_a_step_that_looks_at_numbers_is_refused():
    with pytest.raises(
        ConfigError, match=r"type='RAdam': its step cannot be counted without a GPU \([^\n]*\); plan with"
    ):
        counted(type='RAdam', lr=0.1)
