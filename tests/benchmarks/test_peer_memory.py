from concurrent.futures.process import BrokenProcessPool
from functools import partial

import pytest
import torch
from torch import nn

from benchmarks import peer_memory
from benchmarks.peer_memory import (
    FIXED_BYTES,
    PAPER,
    Measured,
    Setting,
    add_ratios,
    measure_memory,
    memory_rows,
    training_step,
)
from benchmarks.peers import DoesNotFit
from mmav.errors import MmavError
from mmav.models import AST, MAT
from mmav.structures import Tokens
from tests.benchmarks.peer_cases import ARCH

# one block of 12.6 M parameters for a single patch: weights, gradients and moments are nearly all there is
WIDE = Setting('wide', 'AST', partial(AST, (16, 16), embed_dims=1024, num_layers=1, num_heads=8), shape=(1, 16, 16))
SMALL = dict(build=partial(MAT, ARCH, (64, 96), q_strides=[(2, 2)]), shape=(1, 64, 96))


def test_peak_of_a_process_of_its_own():
    (result,) = measure_memory(dict(AST=2), settings=[WIDE])
    assert result['parameters'] == sum(p.numel() for p in WIDE.build().parameters()) > 12e6
    assert result['fixed'] == 16 * result['parameters']
    assert result['fixed'] < result['peak'] < 1.05 * result['fixed']
    assert 0.95 * result['fixed'] < result['resident'] < result['fixed'] + 60e6


def test_settings_that_were_measured_one_by_one_have_the_same_ratios(monkeypatch):
    peaks = dict(MAT=Measured(8e9, None, 0), AST=Measured(4e9, None, 0))
    monkeypatch.setattr(peer_memory, '_cpu_peak', lambda setting, batch_size, dtype: peaks[setting.model])
    settings, batches = [Setting('MAT', 'MAT', MAT), Setting('AST', 'AST', AST)], dict(MAT=8, AST=2)
    one_by_one = [result for setting in settings for result in measure_memory(batches, settings=[setting])]
    assert one_by_one[0]['ratio_per_clip'] == 1.0
    assert add_ratios(one_by_one) == measure_memory(batches, settings=settings)
    assert one_by_one[0]['ratio_per_clip'] == 2.0


def test_figures_per_clip(monkeypatch):
    peaks = dict(MAT=Measured(16.8e9, 32e9, 0), AST=Measured(5.5e9, 6e9, 10**8))
    monkeypatch.setattr(peer_memory, '_cpu_peak', lambda setting, batch_size, dtype: peaks[setting.model])
    settings = [Setting('MAT', 'MAT', MAT), Setting('AST, plain attention', 'AST', AST)]
    mat, ast = measure_memory(dict(MAT=64, AST=2), settings=settings)
    assert mat['at_paper_batch'] == mat['per_clip'] == 0.2625e9
    # 1.6 GB do not depend on the clips, which take 3.9 / 2 each
    assert (ast['fixed'], ast['beyond'], ast['per_clip']) == (1.6e9, 1.95e9, 2.75e9)
    assert ast['at_paper_batch'] == 1.6e9 / 8 + 1.95e9 and ast['paper_batch'] == PAPER['AST']['batch_size'] == 8
    assert mat['ratio_per_clip'] == pytest.approx(2.75 / 0.2625) and ast['ratio_per_clip'] == 1
    assert mat['ratio_resident_per_clip'] == 6.0
    assert mat['ratio_at_paper_batch'] == pytest.approx(2.15 / 0.2625)
    rows = memory_rows([mat, ast])
    assert rows[0][4] == 'AST takes'
    assert rows[2][:4] == ['AST, plain attention', '2', '5.50 GB', '2.750 GB']
    assert rows[1][5:8] == ['32.00 GB', '0.500 GB', '6.00 x']
    assert rows[2][8:] == ['1.60 GB', '1.950 GB', '2.150 GB of 8', '1.00 x']
    # the paper says 9.8
    assert rows[3][:5] == ['the paper: MAT', '64', '16.8 GB', '0.263 GB', '9.81 x']
    assert len({len(row) for row in rows}) == 1 and len(rows) == 5


class Spy(nn.Module):
    """An encoder that remembers which kernels its attention may choose from."""

    def __init__(self, seen):
        super().__init__()
        self.layer, self.seen = nn.Linear(4, 4), seen

    def forward(self, x):
        fused = torch.backends.cuda.flash_sdp_enabled() or torch.backends.cuda.mem_efficient_sdp_enabled()
        self.seen.append(('fused' if fused else 'plain', self.training, len(x)))
        return Tokens(self.layer(x), x, ())


@pytest.mark.parametrize('plain', [True, False])
def test_plain_attention_is_that_without_fused_kernels(plain):
    seen = []
    setting = Setting('spy', 'AST', lambda: Spy(seen), shape=(4,), plain=plain)
    step = training_step(setting, 3, 'cpu', dtype=torch.float32)
    peer_memory._run(setting, step)
    assert peer_memory._parameters(step) == 20
    assert seen == [('plain' if plain else 'fused', True, 3)]


def test_checkpointing_computes_the_blocks_twice():
    counts = []
    for checkpointing in (False, True):
        calls = []

        def build(calls=calls):
            model = SMALL['build']()
            model.blocks[0].mlp.register_forward_pre_hook(lambda *args: calls.append(1))
            return model

        setting = Setting('MAT', 'MAT', build, shape=SMALL['shape'], checkpointing=checkpointing)
        training_step(setting, 1, 'cpu', dtype=torch.float32)()
        counts.append(len(calls))
    assert counts == [1, 2]


def test_gpu_peak_is_what_was_added(monkeypatch):
    log = []

    class Step:
        modules = (nn.Linear(4, 1),)

        def __init__(self, setting, batch_size, device, *, dtype):
            log.append(device)

        def __call__(self):
            log.append('step')

        def drop_gradients(self): ...

    for name in ('empty_cache', 'reset_peak_memory_stats'):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: log.append(name))
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda: 100)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: 350)
    monkeypatch.setattr(peer_memory, 'training_step', Step)
    results = measure_memory(dict(MAT=2), settings=[Setting('MAT', 'MAT', MAT)], device='cuda')
    assert log == ['empty_cache', 'reset_peak_memory_stats', 'cuda', *['step'] * 4]  # of which three are timed
    assert (results[0]['peak'], results[0]['fixed'], results[0]['resident']) == (250, 5 * FIXED_BYTES, None)
    assert 0 <= results[0]['seconds'] < 1
    rows = memory_rows([results[0] | dict(seconds=0.25)])
    assert rows[0][5:7] == ['step', 'step / clips'] and rows[1][5:7] == ['250.0 ms', '125.0 ms']
    assert 'resident' not in memory_rows(results)[0] and len({len(row) for row in memory_rows(results)}) == 1


@pytest.mark.parametrize(
    ('device', 'function', 'error'),
    [('cuda', 'training_step', torch.OutOfMemoryError('')), ('cpu', 'ProcessPoolExecutor', BrokenProcessPool(''))],
)
def test_too_little_memory_is_told(monkeypatch, device, function, error):
    def fail(*args, **kwargs):
        raise error

    class Pool:
        def __init__(self, *args, **kwargs): ...
        def __enter__(self):
            return self

        def __exit__(self, *args): ...

        submit = fail

    monkeypatch.setattr(peer_memory, function, Pool if function == 'ProcessPoolExecutor' else fail)
    for name in ('empty_cache', 'reset_peak_memory_stats', 'memory_allocated'):
        monkeypatch.setattr(torch.cuda, name, lambda: 0)
    with pytest.raises(DoesNotFit, match='MAT: training with 64 clips does not fit into .*smaller --memory-b'):
        measure_memory(dict(MAT=64), settings=[Setting('MAT', 'MAT', MAT)], device=device)


def test_system_that_does_not_tell(monkeypatch):
    monkeypatch.setattr(peer_memory, 'resident_memory', lambda peak=False: None)
    with pytest.raises(MmavError, match='read from /proc, which is not there'):
        peer_memory.cpu_peak(Setting('MAT', 'MAT', **SMALL), 1, torch.float32, 1)
