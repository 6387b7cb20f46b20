import pytest
import torch
from torch import nn

from benchmarks.training_cost import StepCost, cost_table, live_bytes, measure_steps, saved_bytes
from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.engine.memory.meter import MemoryMeter
from mmav.errors import ConfigError
from mmav.models.layers import TransformerBlock
from mmav.models.ops.lean import watching

ARCH = dict(embed_dims=16, num_layers=3, num_heads=1, stage_blocks=(1, 2))
MODEL = dict(
    type='AVClassifier',
    backbones=dict(audio=dict(type='MAT', arch=ARCH, input_size=(32, 64), q_strides=[(2, 2), (1, 2)])),
    neck=dict(type='Avg'),
    head=dict(type='ClsHead', num_classes=2),
)


def test_saved_bytes_by_hand():
    layer, x = nn.Linear(4, 8), torch.randn(2, 4, requires_grad=True)
    assert saved_bytes(lambda: layer(x))[0] - saved_bytes(lambda: layer(x), list(layer.parameters()))[0] == 4 * 4 * 8
    saved, out = saved_bytes(lambda: layer(x).relu(), list(layer.parameters()))
    assert out.shape == (2, 8)
    assert saved == 4 * (2 * 4 + 2 * 8)  # the input of the layer and the output of relu
    shared = torch.randn(10, requires_grad=True)
    assert saved_bytes(lambda: shared[:5] * shared[5:])[0] == 4 * 10  # two views of one memory count once


def test_checkpointing_and_bfloat16_save_memory():
    plain, checkpointed, bfloat16, both = measure_steps(
        MODEL, [[], ['checkpointing'], ['bfloat16'], ['bfloat16', 'checkpointing']], rounds=2
    )
    assert [cost.options for cost in (plain, both)] == ['plain', 'bfloat16+checkpointing']
    assert both.saved <= checkpointed.saved < bfloat16.saved < plain.saved
    assert plain.ratio == 1.0 and plain.spread == (1.0, 1.0)
    assert all(cost.seconds > 0 for cost in (plain, checkpointed, bfloat16, both))


def test_options_reach_the_model(monkeypatch):
    forms = []
    forward = TransformerBlock.forward
    monkeypatch.setattr(TransformerBlock, 'forward', lambda *args: (forms.append(1), forward(*args))[1])
    backbone = dict(type='AST', input_size=(32, 32), embed_dims=8, num_layers=1, num_heads=2)
    measure_steps(dict(MODEL, backbones=dict(audio=backbone)), [[], ['checkpointing']], rounds=1)
    assert len(forms) == 3 * (1 + 2)  # one step to count and two rounds: once plain, twice with checkpointing


def test_mistakes():
    with pytest.raises(ConfigError, match='unknown options fp8: choose of lean, checkpointing, bfloat16'):
        measure_steps(MODEL, [['fp8']])
    with pytest.raises(ConfigError, match='only an AVClassifier can be measured'):
        measure_steps(dict(type='Avg', in_dims=dict(audio=4)), [[]])


def test_table():
    rows = cost_table(
        [StepCost('plain', 2**21, None, 1.5, 1.0, (1.0, 1.0)), StepCost('compile', None, 2**30, 0.5, 0.25, (0.2, 0.3))]
    ).splitlines()
    assert rows[2:] == [
        '| plain | 2 MiB | - | 1.50 s | 1.00 (1.00-1.00) |',
        '| compile | - | 1024 MiB | 0.50 s | 0.25 (0.20-0.30) |',
    ]


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
