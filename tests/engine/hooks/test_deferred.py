from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import LoggerHook

from mmav.engine.hooks.deferred import DeferredScalars, should_read


def test_values_keep_their_order_and_their_notes():
    deferred = DeferredScalars()
    deferred.add('a', dict(loss=torch.tensor(1.5, requires_grad=True), top1=torch.tensor([0.25])))
    deferred.add('b', {})
    deferred.add('c', dict(loss=torch.tensor(1 / 3, dtype=torch.float64)))
    assert deferred.take() == [('a', dict(loss=1.5, top1=0.25)), ('b', {}), ('c', dict(loss=1 / 3))]
    assert deferred.take() == []


def test_the_graph_of_a_loss_is_not_kept():
    deferred = DeferredScalars()
    loss = torch.ones(3, requires_grad=True).sum()
    deferred.add(None, dict(loss=loss))
    assert not deferred._kept[0][1]['loss'].requires_grad


@pytest.mark.parametrize(('index', 'expected'), [(0, False), (3, False), (4, True), (11, True), (12, False)])
def test_on_a_gpu_it_should_read_when_the_log_is_written(index, expected):
    """Every 5 iterations, and at the end of an epoch of 12."""
    runner = SimpleNamespace(hooks=[LoggerHook(interval=5)], train_dataloader=range(12))
    # a tensor of no memory, which is not on the CPU
    assert should_read(runner, index, dict(loss=torch.zeros((), device='meta'))) is expected
    assert should_read(runner, index, dict(loss=torch.zeros(())))
