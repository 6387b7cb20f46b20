import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmav.engine.memory.meter import ROUND, MemoryMeter


def test_storages_count_once_until_they_are_freed():
    with MemoryMeter('cpu') as meter:
        x = torch.zeros(1024)  # 4096 bytes
        view = x[2:].view(2, 511)
        assert meter.now == 4096
        y = x + 1
        del x
        assert meter.now == 8192  # the view holds it
        del view
        assert meter.now == 4096 and meter.peak == 8192
        meter.reset()
        assert meter.peak == 4096
        torch.zeros(1)
        assert meter.peak == 4096 + ROUND
        with meter.paused():
            z = torch.zeros(1024)
        assert meter.now == 4096
    del y, z
    assert meter.now == 0


def test_what_was_there_before_is_weighed_on_request():
    x, meter = torch.zeros(1024), MemoryMeter('cpu')
    meter.weigh(x)
    with meter:
        x.view(2, 512).add_(1)
    assert meter.now == 4096


def test_only_the_device_that_is_asked_for():
    with MemoryMeter('meta') as meter:
        torch.zeros(1024)
        x = torch.zeros(1024, device='meta')
    assert meter.now == x.numel() * 4


@pytest.mark.parametrize('rank', [1, 2, 3])
def test_operations_are_those_of_the_flop_counter_but_for_depthwise_gradients(rank):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    dense, depthwise = conv(4, 6, 3, padding=1), conv(6, 6, 3, padding=1, groups=6)
    linear = nn.Linear(4, 5)
    x = torch.randn(2, 4, *[4] * rank, requires_grad=True)
    counter = FlopCounterMode(display=False)
    with MemoryMeter('cpu') as meter, counter:
        y = dense(x)
        linear(torch.randn(3, 4)).sum().backward()
        y.sum().backward()
    # without the gradient of the linear layer's input, which nothing asks for
    assert meter.macs == counter.get_total_flops() // 2
    with MemoryMeter('cpu') as meter:
        depthwise(y.detach().requires_grad_()).sum().backward()
    assert meter.macs == 3 * y.numel() * 3**rank  # of each number of the result the kernel's, three times
