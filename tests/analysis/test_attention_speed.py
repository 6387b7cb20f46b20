import re

import pytest
import torch

from mmav.analysis import attention_speed
from mmav.analysis.attention_speed import (
    Shape,
    attend,
    attention_rows,
    attention_shapes,
    difference,
    make_inputs,
    measure_attention,
)
from mmav.analysis.complexity import count_macs
from mmav.errors import ConfigError, MmavError
from mmav.models.layers import MultiscaleAttention
from mmav.registry import MODELS
from tests.analysis.test_model_passes import tiny


@pytest.fixture
def peak(monkeypatch):
    monkeypatch.setattr(attention_speed, 'matmul_peak', lambda *_: 1e9)


def two_stages(**changes):
    """Its encoders: one block each, and three with a pooled one."""
    arch = dict(embed_dims=8, num_layers=3, num_heads=1, stage_blocks=(1,))
    return tiny(**{'model.backbones.audio.arch': arch, 'model.backbones.audio.q_strides': ((1, 2),), **changes})


def test_shapes_are_those_that_the_blocks_meet():
    cfg = two_stages()
    shapes = attention_shapes(cfg)
    assert shapes[Shape('audio', (4, 2), (2, 4), 2, 8)] == 1  # (2, 2) // (1, 2) is the stride of keys from here on
    assert shapes[Shape('audio', (4, 2), (2, 2), 2, 8)] == 1
    seen = []

    def note(module, args, out):
        seen.append((module.pool_q.out_grid(args[1]), module.pool_k.out_grid(args[1]), module.num_heads))

    for name, size in (('video', (3, 4, 16, 16)), ('audio', (1, 32, 32))):
        encoder = MODELS.build(cfg.model.backbones[name])
        for module in encoder.modules():
            if isinstance(module, MultiscaleAttention):
                module.register_forward_hook(note)
        encoder(torch.zeros(1, *size))
    assert seen == [(s.q_grid, s.k_grid, s.heads) for s, blocks in shapes.items() for _ in range(blocks)]


def test_equal_blocks_are_counted():
    shapes = attention_shapes(two_stages(**{'model.backbones.audio.kv_stride': (1, 1)}))
    assert [blocks for shape, blocks in shapes.items() if shape.encoder == 'audio'] == [1, 1, 1]
    arch = dict(embed_dims=8, num_layers=3, num_heads=1, stage_blocks=())
    shapes = attention_shapes(tiny(**{'model.backbones.audio.arch': arch, 'model.backbones.audio.rel_pos': False}))
    assert shapes[Shape('audio', (4, 4), (2, 2), 1, 8, rel_pos=False)] == 3


@pytest.mark.parametrize('num_cls', [0, 1])
@pytest.mark.parametrize('rel_pos', [False, True])
def test_forms_agree_and_operations_are_those_of_the_products(num_cls, rel_pos):
    shape = Shape('audio', (4, 6), (2, 3), 2, 8, num_cls, rel_pos)
    inputs = make_inputs(shape, 3)
    assert len(inputs.leaves()) == 3 + 3 * num_cls + 2 * rel_pos
    for form in attention_speed.FORMS:
        assert attend(form, inputs).shape == (3, num_cls + 24, 16)
        assert difference(form, inputs) < 1e-6
    macs, _ = count_macs(lambda: attend('explicit', inputs))
    assert 2 * macs == 3 * shape.operations
    assert 1e-6 < difference('folded', make_inputs(shape, dtype='bfloat16')) < attention_speed.tolerance('bfloat16')


def test_forms_take_turns(peak, monkeypatch):
    modes = []
    forward = attend
    monkeypatch.setattr(
        attention_speed,
        'attend',
        lambda form, inputs: modes.append((form, torch.is_inference_mode_enabled())) or forward(form, inputs),
    )
    clock = iter(range(10**6))
    monkeypatch.setattr('mmav.analysis.rounds.time.perf_counter', lambda: float(next(clock)))
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


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(forms=['tiled'], dtype='bfloat16'), '--forms tiled: with cpu and bfloat16 choose of explicit, folded'),
        (dict(dtype='float16'), 'float16 needs a GPU'),
        (dict(device='cuda'), '--device cuda: there is no GPU'),
    ],
)
def test_mistakes(options, message, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(ConfigError, match=message):
        measure_attention(tiny(), **options)


def test_a_form_that_computes_something_else_or_takes_too_much(peak, monkeypatch):
    monkeypatch.setattr(
        attention_speed, 'folded_attention', lambda *args: 1.1 * attention_speed.explicit_attention(*args)
    )
    results = measure_attention(tiny(), rounds=1)['results']
    wrong = results[0]['forms']['folded']
    assert re.match(r'folded attention is off by .* \(video, 2x2x2 queries, 2x1x1 keys\)', wrong['disagreement'])
    assert wrong['forward']['median'] > 0 and results[0]['forms']['tiled']['disagreement'] is None
    assert '(!)' in ' '.join(attention_rows(results)[1])

    def fail(*_):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(attention_speed, 'folded_attention', fail)
    with pytest.raises(MmavError, match='video 2x2x2: out of memory with --batch-size 1: take less'):
        measure_attention(tiny(), rounds=1)
