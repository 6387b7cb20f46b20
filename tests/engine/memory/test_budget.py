import dataclasses

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmav.engine.activation_checkpointing import read_bytes
from mmav.engine.memory import budget as memory_budget
from mmav.engine.memory.budget import joined, plan_for_budget, setting, settle_checkpointing, summary
from mmav.engine.memory.plan import GIB, plan_step
from mmav.errors import ConfigError
from mmav.models.layers import TransformerBlock
from tests import toys
from tests.toys import ROOT
from tests.visualization.test_memory_plot import plan


@pytest.fixture
def cfg():
    return Config.fromfile(ROOT / 'configs/mat/mat_tiny_avsynth.py')


@pytest.mark.parametrize('text', [36, '36', 'GB', '0GB', '36 gigabytes', '-1GB', None])
def test_sizes_need_a_number_and_a_unit(text):
    with pytest.raises(ConfigError, match='give a number and one of GB, GiB, MB, MiB'):
        read_bytes(text)


def test_sizes():
    assert [read_bytes(text) for text in ('2GB', '1.5 GiB', '3MB', '4MiB')] == [
        2 * 10**9,
        3 * GIB // 2,
        3 * 10**6,
        2**22,
    ]


def test_names_are_joined_and_settings_can_be_read_again():
    assert joined(['a.0', 'a.1', 'b.1', 'b.3', 'c', 'a.2']) == ['a.0-1', 'b.1', 'b.3', 'c', 'a.2']
    assert setting(plan()) == dict(lean=['backbones.video.blocks.1'], full=['backbones.video.blocks.0'])
    assert '; blocks: 1 all, 1 lean, 1 full; ' in summary(plan())
    # a network without blocks, such as a ResNet
    assert '; blocks: none; ' in summary(dataclasses.replace(plan(), blocks=()))


def test_a_budget_becomes_levels(cfg):
    cfg.train_dataloader.batch_size = 256
    free, least = plan_step(cfg), plan_step(cfg, checkpointing=True)
    budget = (free.needed + least.needed) // 2
    cfg.activation_checkpointing = dict(budget=f'{budget // 2**20}MiB')
    value, line = plan_for_budget(cfg)
    assert value['lean'] is True and {'attention', 'full'} & set(value)
    assert line.startswith('Memory of a step, planned in float32')
    assert (', as on an A100, as there is no GPU: needs ' in line) is not torch.cuda.is_available()
    assert '% of the operations are computed again' in line
    assert plan_step(cfg, checkpointing=value).needed <= budget


def test_a_gpus_own_memory(cfg, monkeypatch):
    cfg.activation_checkpointing = dict(budget='auto')
    with pytest.raises(ConfigError, match="budget='auto' needs a GPU, and there is none: give a size"):
        plan_for_budget(cfg)
    monkeypatch.setattr(memory_budget, 'without_gpu', lambda: False)
    monkeypatch.setattr(memory_budget, '_gpu_bytes', lambda: 40 * GIB)
    monkeypatch.setattr('torch.cuda.get_device_capability', lambda: (7, 0))
    seen = []
    monkeypatch.setattr(memory_budget, 'plan_step', lambda *a, **k: seen.append(k['capability']) or plan_step(*a, **k))
    value, line = plan_for_budget(cfg)
    assert value == dict(lean=True) and 'of 40.0 GiB' in line and seen == [(7, 0)]


def test_mistakes(cfg):
    cfg.activation_checkpointing = dict(budget='1100MiB', full=True)
    with pytest.raises(ConfigError, match='has both a budget and full: give one or the other'):
        plan_for_budget(cfg)
    cfg.activation_checkpointing = dict(budget='1025MiB')
    with pytest.raises(
        ConfigError, match=r'budget=.1025MiB.: a step of \d+ clips in float32 needs 1.\d GiB of 1.0, even if all blocks'
    ):
        plan_for_budget(cfg)
    assert torch.empty(1).device.type == 'cpu'


def test_what_a_config_means_on_this_machine(monkeypatch):
    model = nn.Sequential(TransformerBlock(8, 2))
    value, note = settle_checkpointing(Config(), model)
    assert value is None and note.startswith('Blocks keep everything for the backward pass, as on all CPUs')
    monkeypatch.setattr('mmav.engine.memory.budget.without_gpu', lambda: False)
    value, note = settle_checkpointing(Config(), model)
    assert value == 'lean' and note.startswith('Blocks are lean')
    assert settle_checkpointing(Config(), toys.ToyModel()) == (None, '')
    assert settle_checkpointing(Config(dict(compile=True)), model) == (None, '')
    named = settle_checkpointing(Config(dict(activation_checkpointing='backbones.video')), model)[0]
    assert named == dict(lean=True, full='backbones.video')
    assert settle_checkpointing(Config(dict(activation_checkpointing=False)), model)[0] is False
    for value in ('lean', dict(budget='8GB')):
        with pytest.raises(ConfigError, match='has no effect with compile, as the compiler decides what is kept'):
            settle_checkpointing(Config(dict(activation_checkpointing=value, compile=True)), model)
