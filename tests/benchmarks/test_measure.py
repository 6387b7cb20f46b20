import pytest
import torch
from torch import nn

from benchmarks.measure import TimedPass, live_bytes, quartiles, ratio, saved_bytes, time_in_turn
from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.engine.memory.meter import MemoryMeter
from mmav.models.layers import TransformerBlock
from mmav.models.ops.lean import watching


def test_ways_take_turns_and_the_first_round_does_not_count(monkeypatch):
    order, clock = [], [0.0]
    monkeypatch.setattr('benchmarks.measure.time.perf_counter', lambda: clock[0])

    def way(name, seconds):
        def run():
            order.append(name)
            clock[0] += seconds * (10 if order.count(name) == 1 else 1)

        return run

    def after():
        order.append('after')
        clock[0] += 100

    seconds = time_in_turn(dict(a=way('a', 1.0), b=way('b', 2.0)), 2, after=after)
    assert order == ['a', 'after', 'b', 'after'] * 3
    assert seconds == dict(a=[1.0, 1.0], b=[2.0, 2.0])


def test_ratios_are_taken_within_rounds():
    # the machine was ten times as slow in the last round
    assert ratio([2.0, 2.2, 20.0], [1.0, 1.0, 10.0])['median'] == 2.0
    with pytest.raises(ValueError, match='longer'):
        ratio([1.0], [1.0, 2.0])
    assert quartiles([4.0]) == dict(median=4.0, low=4.0, high=4.0)


def test_saved_bytes_by_hand():
    layer, x = nn.Linear(4, 8), torch.randn(2, 4, requires_grad=True)
    assert saved_bytes(lambda: layer(x))[0] - saved_bytes(lambda: layer(x), list(layer.parameters()))[0] == 4 * 4 * 8
    saved, out = saved_bytes(lambda: layer(x).relu(), list(layer.parameters()))
    assert out.shape == (2, 8)
    assert saved == 4 * (2 * 4 + 2 * 8)  # the input of the layer and the output of relu
    shared = torch.randn(10, requires_grad=True)
    assert saved_bytes(lambda: shared[:5] * shared[5:])[0] == 4 * 10  # two views of one memory count once


def test_live_bytes_by_hand():
    def run():
        a = torch.zeros(1000)
        b = a.exp()
        del a
        return b.sum()  # 4 bytes, beside b alone

    assert live_bytes(run) == 2 * 4000
    before = torch.zeros(10_000)
    assert live_bytes(lambda: before.exp().exp()) == 2 * 40_000
    assert live_bytes(lambda: before.zero_()) == 0


@pytest.mark.parametrize('option', ['lean', 'checkpointing'])
def test_what_lean_and_checkpointed_blocks_keep_is_counted(option):
    """The same as of the tensors that are left after the forward pass."""
    block = TransformerBlock(64, 2).train()
    turn_on_activation_checkpointing(block, True if option == 'checkpointing' else 'lean')
    x = torch.randn(4, 100, 64, requires_grad=True)
    meter = MemoryMeter('cpu')
    for tensor in (x, *block.parameters()):
        meter.weigh(tensor)
    before = meter.now
    with meter:
        counted, result = saved_bytes(lambda: block(x), list(block.parameters()))
    left = meter.now - before - result.untyped_storage().nbytes() + x.untyped_storage().nbytes()
    assert counted == pytest.approx(left, rel=0.02)
    seen = []
    with watching(seen.append):
        pass
    assert saved_bytes(lambda: block(x), list(block.parameters()))[0] == counted and not seen


def test_a_pass_counts_what_is_there_and_what_it_keeps():
    model, x = nn.Linear(1000, 500, bias=False), torch.randn(10, 1000)
    weights, tied = 4 * 500_000, nn.Module()
    tied.weight = model.weight

    def loss():
        return model(x).square().sum()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = TimedPass(loss, 'step', [model, tied], inputs=[x], optimizer=optimizer)
    assert step.held_bytes() == weights + x.nbytes  # the weights once
    assert step.warm_up() == x.nbytes + 4 * 5000  # the input of the layer, and what is squared
    assert model.weight.grad is None
    assert step.held_bytes() == 2 * weights + x.nbytes  # with the momentum
    assert step.peak_bytes() >= 3 * weights
    compiled = TimedPass(loss, 'backward', [model], inputs=[x])
    compiled.compiled = True
    assert compiled.warm_up() is None and TimedPass(loss, 'forward', [model], inputs=[x]).warm_up() is None


def test_a_loss_is_computed_outside_autocast():
    model, seen = nn.Linear(4, 2), []

    def loss(out):
        seen.append((out.dtype, torch.is_autocast_enabled('cpu')))
        return out.float().sum()

    x = torch.randn(3, 4)
    TimedPass(lambda: model(x), 'backward', [model], inputs=[x], loss=loss, dtype=torch.bfloat16)()
    assert seen == [(torch.bfloat16, False)]
