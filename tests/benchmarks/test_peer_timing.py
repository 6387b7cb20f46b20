import contextlib

import pytest
import torch
from torch import nn

from benchmarks import peer_timing
from benchmarks.model_passes import MODES
from benchmarks.peer_timing import Pass, compare, peak_bytes, timing_rows
from benchmarks.peers import Case, DoesNotFit
from tests.benchmarks.peer_cases import CASES

SECONDS = dict(mmav=[1.0, 2.0, 4.0], slow=[3.0, 6.0, 8.0], fast=[0.5, 1.0, 1.0])


class Toy(nn.Linear):
    """A linear layer that remembers in which state it ran."""

    def __init__(self, error=None):
        super().__init__(4, 2)
        nn.init.ones_(self.weight)
        nn.init.ones_(self.bias)
        self.error, self.seen = error, []

    def forward(self, x):
        if self.error is not None:
            raise self.error
        self.seen.append((self.training, torch.is_inference_mode_enabled(), torch.is_autocast_enabled('cpu')))
        return super().forward(x)


def toys(names=('mmav', 'slow', 'fast'), **kwargs):
    return Case('toys', (4,), {name: Toy() for name in names}, **kwargs)


@pytest.fixture
def fixed_times(monkeypatch):
    monkeypatch.setattr(
        peer_timing, 'time_in_turn', lambda passes, rounds, **kwargs: {name: SECONDS[name] for name in passes}
    )


def test_ratio_is_above_one_where_ours_is_faster(fixed_times):
    fast, slow = compare(toys(), modes=['forward'])
    assert (fast['peer'], slow['peer']) == ('fast', 'slow')
    assert slow['median'] == dict(mmav=2.0, slow=6.0) and slow['ratio_of_medians'] == 3.0
    assert slow['ratio'] == dict(median=3.0, low=2.5, high=3.0, least=2.0, greatest=3.0)
    assert fast['ratio_of_medians'] == 0.5 and fast['ratio']['greatest'] == 0.5
    assert (fast['fastest'], slow['fastest']) == (True, False)
    rows = timing_rows([dict(result, case='toys') for result in (fast, slow)])
    assert rows[2][:6] == ['toys', 'forward', 'mmav', '2.00 s', 'slow', '6.00 s']
    assert rows[2][6:10] == ['3.00', '2.50 to 3.00', '2.00 to 3.00', '0e+00']
    assert rows[1][4] == 'fast (fastest)'
    (only,) = timing_rows([dict(fast, case='toys', median=dict(mmav=0.0123456, fast=1e-5))])[1:]
    assert only[3:6] == ['12.3 ms', 'fast', '0.01 ms']


@pytest.mark.parametrize('name', CASES)
def test_every_case_is_timed(name):
    case = CASES[name]()
    results = compare(case, rounds=1, batch_size=2)
    ours, *others = case.contenders
    assert {(r['mode'], r['ours'], r['peer']) for r in results} == {
        (mode, ours, other) for mode in case.modes for other in others
    }
    assert all(len(seconds) == 1 for r in results for seconds in r['seconds'].values())
    assert all(bool(r['differences']) == case.same for r in results)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_a_pass_does_what_its_mode_says(mode, dtype):
    model = Toy()
    one = Pass(model, mode, torch.randn(3, 4), dtype=dtype)
    one()
    assert model.seen == [(mode != 'forward', mode == 'forward', dtype == torch.bfloat16)]
    assert all((parameter.grad is not None) == (mode != 'forward') for parameter in model.parameters())
    assert (one.optimizer is not None and len(one.optimizer.state) == 2) == (mode == 'step')
    one.drop_gradients()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_may_fail_is_left_out_and_nothing_else(fixed_times):
    case = toys(optional=frozenset({'slow', 'absent'}))
    case.contenders['slow'].error = ImportError('flash_attn')
    assert [result['peer'] for result in compare(case, modes=['forward'])] == ['fast']
    case.contenders['fast'].error = RuntimeError('broken')
    with pytest.raises(RuntimeError, match='broken'):
        compare(case)


def test_too_little_memory_is_told():
    case = toys()
    case.contenders['mmav'].error = torch.OutOfMemoryError('CUDA out of memory')
    with pytest.raises(DoesNotFit, match='toys: 16 inputs do not fit into the GPU; lower --batch-size'):
        compare(case, batch_size=16)


class OnGPU(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    @property
    def device(self):
        return torch.device('cuda')


def test_peak_on_a_gpu_is_that_of_a_warm_run_alone(monkeypatch):
    log = []
    for name in ('empty_cache', 'reset_peak_memory_stats', 'synchronize'):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: log.append(name))
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: len(log))
    case = toys(('mmav', 'slow'))
    for name, model in case.contenders.items():
        model.register_forward_hook(lambda *args, name=name: log.append(name))
        monkeypatch.setattr(model, 'cpu', lambda name=name: log.append(f'{name} away'))
        monkeypatch.setattr(
            model, 'to', lambda device, name=name, model=model: log.append(f'{name} to {device}') or model
        )
    monkeypatch.setattr(peer_timing, 'autocast', lambda device, dtype: contextlib.nullcontext())
    monkeypatch.setattr(peer_timing, 'loss_of', lambda out: out.as_subclass(torch.Tensor).sum())
    peaks = peak_bytes(case.contenders, 'step', torch.randn(1, 4).as_subclass(OnGPU))
    runs = [
        [f'{n} to cuda', n, 'empty_cache', 'reset_peak_memory_stats', n, 'synchronize', f'{n} away']
        for n in case.contenders
    ]
    assert log == ['mmav away', 'slow away', *runs[0], *runs[1], 'mmav to cuda', 'slow to cuda']
    assert peaks == dict(mmav=8, slow=15)
    assert all(parameter.grad is None for model in case.contenders.values() for parameter in model.parameters())


def test_peak_on_a_cpu_counts_weights_input_activations_gradients_and_state():
    model = nn.Sequential(nn.Linear(1000, 500, bias=False), nn.Linear(500, 1, bias=False))
    x = torch.randn(1000, 1000)
    forward, backward, step = (peak_bytes(dict(mmav=model), mode, x)['mmav'] for mode in MODES)
    weights, hidden = 4 * 500_500, 4 * 500_000
    assert 4_000_000 + weights + hidden <= forward < 4_000_000 + weights + 1.1 * hidden
    # the gradient of what is hidden has taken its place by the time that the weights get theirs
    assert 0 <= backward - forward - weights < 2e5
    assert 0 <= step - backward - 2 * weights < 2e5
    assert model[0].weight.grad is None


def test_row_of_half_precision_and_memory():
    result = dict(case='toys', mode='step', ours='mmav', peer='slow', fastest=True, ratio_of_medians=1.0)
    result |= dict(median=dict(mmav=1.0, slow=1.0), differences=dict(output=4e-7, half=5e-3, half_peer=6e-3))
    result |= dict(ratio=dict(low=1.0, high=1.0, least=1.0, greatest=1.0), peak_bytes=dict(mmav=2e9, slow=5e9))
    header, row = timing_rows([result])
    assert row[-4:] == ['4e-07; 5e-03 / 6e-03', '2.00 GB', '5.00 GB', '2.50'] and len(row) == len(header)
