import pytest
import torch

from benchmarks.model_speed import measure_model, speed_rows
from mmav.analysis.complexity import count_model
from mmav.errors import ConfigError
from tests.benchmarks.test_model_passes import tiny


def test_cases_take_turns_and_operations_are_those_of_get_flops(monkeypatch):
    monkeypatch.setattr('benchmarks.model_speed.matmul_peak', lambda *_: 1e12)
    clock = iter(range(10**6))
    monkeypatch.setattr('benchmarks.rounds.time.perf_counter', lambda: float(next(clock)))
    cfg = tiny()
    found = measure_model(cfg, batch_sizes=(1, 3), modes=('forward', 'step'), rounds=2)
    assert found['peaks'] == dict(float32=1e12)
    total = count_model(cfg.model)[-1].explicit
    for result, (mode, size) in zip(
        found['results'], [(m, n) for m in ('forward', 'step') for n in (1, 3)], strict=True
    ):
        assert (result['mode'], result['batch_size'], result['dtype']) == (mode, size, 'float32')
        assert result['operations'] == 2 * (1 if mode == 'forward' else 3) * size * total
        assert result['seconds'] == [1.0, 1.0] and result['median'] == 1.0
        assert result['operations_per_second'] == result['operations']
        assert result['share_of_peak'] == pytest.approx(result['operations'] / 1e12)
        assert result['peak_bytes'] > 0


def test_what_fails_is_a_row(monkeypatch):
    monkeypatch.setattr('benchmarks.model_speed.matmul_peak', lambda *_: 1e12)
    monkeypatch.setattr(
        'benchmarks.model_passes.Setup.inputs',
        lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError('CUDA out of memory')),
    )
    (result,) = measure_model(tiny(), modes=('forward',), rounds=1)['results']
    assert result['error'] == 'out of memory' and 'seconds' not in result
    assert speed_rows([result])[1] == ('forward', 'float32', '1', 'out of memory', *[''] * 6)


def test_compiled(monkeypatch):
    monkeypatch.setattr('benchmarks.model_speed.matmul_peak', lambda *_: 1e12)
    compiled = []
    monkeypatch.setattr('torch.compile', lambda function: compiled.append(function.__name__) or function)
    (result,) = measure_model(tiny(), part='audio', modes=('backward',), rounds=1, compiled=True)['results']
    assert compiled == ['_tensor', '_loss']
    assert result['saved_bytes'] is None and result['peak_bytes']


def test_table():
    numbers = dict(median=0.25, low=0.0996, high=0.3, operations_per_second=12.34e9, share_of_peak=0.456)
    rows = speed_rows([dict(numbers, mode='step', dtype='float32', batch_size=2, peak_bytes=2**21, saved_bytes=None)])
    assert rows[1] == ('step', 'float32', '2', '250', '99.6 to 300', '125', '12.3', '46%', '2 MiB', '-')
    assert len(rows[0]) == len(rows[1])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(dtypes=['float16']), 'float16 needs a GPU: take --dtype bfloat16 or float32'),
        (dict(dtypes=['fp8']), 'unknown types fp8: choose of float32, bfloat16'),
        (dict(modes=['train']), 'unknown modes train: choose of forward'),
        (dict(device='cuda'), '--device cuda: there is no GPU that PyTorch can use; take --device cpu'),
    ],
)
def test_mistakes(options, message, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(ConfigError, match=message):
        measure_model(tiny(), **options)
