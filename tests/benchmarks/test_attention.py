import re

import pytest
import torch

from benchmarks import attention as attention_benchmark
from benchmarks.attention import attention_rows, difference, measure_attention, tolerance
from benchmarks.attention_shapes import Shape, attend, make_inputs
from mmav.errors import ConfigError, MmavError
from mmav.models.ops import attention
from tests.benchmarks.test_model import tiny


@pytest.fixture
def peak(monkeypatch):
    monkeypatch.setattr(attention_benchmark, 'matmul_peak', lambda *_: 1e9)


@pytest.mark.parametrize('rel_pos', [False, True])
def test_forms_agree(rel_pos):
    shape = Shape('audio', (4, 6), (2, 3), 2, 8, rel_pos=rel_pos)
    inputs = make_inputs(shape, 3)
    for form in attention_benchmark.FORMS:
        if form != 'triton':  # for a GPU: tests/models/ops/test_triton_attention.py
            assert difference(form, inputs) < 1e-6
    assert 1e-6 < difference('folded', make_inputs(shape, dtype='bfloat16')) < tolerance('bfloat16')


def test_forms_take_turns(peak, monkeypatch):
    modes = []
    forward = attend
    monkeypatch.setattr(
        attention_benchmark,
        'attend',
        lambda form, inputs: modes.append((form, torch.is_inference_mode_enabled())) or forward(form, inputs),
    )
    clock = iter(range(10**6))
    monkeypatch.setattr('benchmarks.measure.time.perf_counter', lambda: float(next(clock)))
    found = measure_attention(tiny(), forms=['tiled', 'folded'], rounds=2, batch_size=2)
    assert modes[-4:] == [('tiled', True), ('folded', True), ('tiled', False), ('folded', False)]
    assert found['peak'] == 1e9
    for result in found['results']:
        assert list(result['forms']) == ['tiled', 'folded'] and result['blocks'] == 1
        assert result['forms']['tiled']['backward']['seconds'] == [1.0, 1.0]
        assert result['forms']['folded']['forward']['gain']['median'] == 1.0
        assert result['floor']['backward'] == pytest.approx(3 * result['floor']['forward'])
        assert result['floor']['forward'] == pytest.approx(result['operations']['forward'] / 1e9)
    video = found['results'][0]
    assert (video['encoder'], video['q_grid'], video['k_grid']) == ('video', (2, 2, 2), (2, 1, 1))
    assert video['operations']['forward'] == 2 * 4 * (8 + 1) * (2 + 1) * 8


def test_table():
    def result(encoder, blocks, scale):
        times = dict(forward=dict(median=0.001 * scale), backward=dict(median=0.05 * scale))
        return dict(
            encoder=encoder,
            blocks=blocks,
            q_grid=(8, 56, 56),
            k_grid=(8, 7, 7),
            heads=1,
            dim=96,
            floor=dict(forward=0.0005, backward=0.0015),
            forms=dict(explicit=dict(times, difference=0.0), tiled=dict(times, difference=3e-7)),
        )

    rows = attention_rows([result('video', 2, 1), result('video', 1, 3), result('audio', 1, 1)])
    assert rows[0][-3:] == ('explicit, ms', 'tiled, ms', 'tiled off by')
    sizes = ('8x56x56', '8x7x7', '1 x 96')
    times = '1.00 / 50.0'
    assert rows[1] == ('video', '2', *sizes, '0.500 / 1.50', times, times, '3e-07')
    assert rows[3] == ('video, all', '3', '', '', '', '1.50 / 4.50', '5.00 / 250', '5.00 / 250', '')
    assert rows[5][:2] == ('audio, all', '1') and {len(row) for row in rows} == {9}
    on_gpu = result('video', 2, 1)
    folded = dict(on_gpu['forms']['tiled'], kernel=dict(forward=[136, 96, 'cudnn'], backward=[136, 136, 'flash']))
    rows = attention_rows([dict(on_gpu, forms=dict(folded=folded))])
    assert [row[-1] for row in rows] == ['folded by', 'cudnn / flash', '']


@pytest.mark.gpu
def test_the_kernel_is_told_on_a_gpu(peak):
    results = measure_attention(tiny(), device='cuda', dtype='bfloat16', rounds=1, forms=['folded'])['results']
    assert {row[-1] for row in attention_rows(results)[1:]} <= {'flash', 'cudnn', ''}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(forms=['tiled'], dtype='bfloat16'),
            '--forms tiled: with cpu and bfloat16 choose one of explicit, folded',
        ),
        (dict(dtype='float16'), 'float16 needs a GPU'),
        (dict(device='cuda'), '--device cuda: there is no GPU'),
    ],
)
def test_mistakes(options, message, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(ConfigError, match=message):
        measure_attention(tiny(), **options)


def test_a_form_that_computes_something_else_or_takes_too_much(peak, monkeypatch):
    monkeypatch.setattr(attention, 'folded_attention', lambda *args: 1.1 * attention.explicit_attention(*args))
    results = measure_attention(tiny(), rounds=1)['results']
    wrong = results[0]['forms']['folded']
    assert re.match(r'folded attention is off by .* \(video, 2x2x2 queries, 2x1x1 keys\)', wrong['disagreement'])
    assert wrong['forward']['median'] > 0 and results[0]['forms']['tiled']['disagreement'] is None
    assert '(!)' in ' '.join(attention_rows(results)[1])

    def fail(*_):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(attention, 'folded_attention', fail)
    with pytest.raises(MmavError, match='video 2x2x2: out of memory with --batch-size 1: take less'):
        measure_attention(tiny(), rounds=1)
