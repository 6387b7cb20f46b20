import pytest

from benchmarks.training import StepCost, cost_table, measure_steps
from mmav.errors import ConfigError
from mmav.models.layers import TransformerBlock

ARCH = dict(embed_dims=16, num_layers=3, num_heads=1, stage_blocks=(1, 2))
MODEL = dict(
    type='AVClassifier',
    backbones=dict(audio=dict(type='MAT', arch=ARCH, input_size=(32, 64), q_strides=[(2, 2), (1, 2)])),
    neck=dict(type='Avg'),
    head=dict(type='ClsHead', num_classes=2),
)


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
    with pytest.raises(ConfigError, match='unknown options fp8: choose one of lean, checkpointing, bfloat16'):
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
