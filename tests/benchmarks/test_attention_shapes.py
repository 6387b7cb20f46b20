import math

import pytest
import torch

from benchmarks.attention_shapes import (
    Shape,
    attend,
    attention_shapes,
    expected_kernels,
    folded_kernels,
    grid_name,
    kernel_name,
    kernel_rows,
    make_inputs,
    read_capability,
)
from mmav.analysis.complexity import count_macs
from mmav.config.reading import load_config
from mmav.errors import ConfigError
from mmav.models.layers import MultiscaleAttention
from mmav.models.ops import attention
from mmav.registry import MODELS
from tests import toys
from tests.benchmarks.test_model import tiny


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
def test_every_form_from_tables_on(num_cls, rel_pos):
    shape = Shape('audio', (4, 6), (2, 3), 2, 8, num_cls, rel_pos)
    inputs = make_inputs(shape, 3)
    assert len(inputs.leaves()) == 3 + 3 * num_cls + 2 * rel_pos
    assert [tuple(table.shape) for table in inputs.tables] == [(7, 8), (11, 8)][: 2 * rel_pos]
    for form in attention.usable_forms('cpu', torch.float32):
        out = attend(form, inputs)
        assert out.shape == (3, num_cls + 24, 16)
        assert all(grad.any() for grad in torch.autograd.grad(out.square().sum(), inputs.leaves()))
    macs, _ = count_macs(lambda: attend('explicit', inputs))
    of_bias = 3 * 2 * 24 * 8 * (2 + 3) if rel_pos else 0
    assert 2 * macs == 3 * shape.operations + 2 * of_bias


def test_inputs_are_the_same_each_time_and_the_first_is_one_clip():
    shape = Shape('video', (2, 2, 2), (1, 2, 1), 2, 8)
    inputs, half = make_inputs(shape, 3), make_inputs(shape, 3, dtype='bfloat16')
    for x, other in zip(inputs.leaves(), half.leaves(), strict=True):
        torch.testing.assert_close(x.to(other.dtype), other)
    assert {x.dtype for x in half.tables} == {torch.float32}
    first = half.first(torch.float32)
    assert {(len(x), x.dtype) for x in (*first.patches, *first.classes)} == {(1, torch.float32)}
    assert math.prod(inputs.q_grid) == inputs.patches[0].shape[1] and grid_name(inputs.q_grid) == '2x2x2'


def test_none_to_measure():
    with pytest.raises(ConfigError, match=r'no backbone has multiscale attention \(none\): take a config with MAT'):
        attention_shapes(tiny(**{'model.backbones.video': None, 'model.backbones.audio': None}))


def test_the_flagship_on_an_a100_takes_flash_but_in_one_block():
    flagship = load_config(str(toys.ROOT / 'configs' / 'mmt' / 'mmt_k4_l4_vggsound.py'))
    results = expected_kernels(flagship, (8, 0), dtype='bfloat16')
    assert sum(result['blocks'] for result in results) == 48
    others = [result for result in results if result['backward'][-1] != 'flash']
    assert [(result['encoder'], result['q_grid'], result['k_grid'], result['blocks']) for result in others] == [
        ('audio', (16, 128), (32, 256), 1)
    ]
    assert others[0]['backward'] == others[0]['forward'] == (384, 96, 'efficient')
    rows = kernel_rows(results)
    assert rows[1] == ('video', '2', '8x56x56', '8x7x7', '1 x 96', '120', '120', 'flash', 'flash')


def test_a_forward_pass_alone_may_take_another_kernel():
    shape = Shape('audio', (4, 4), (8, 32), 2, 96)
    results = kernel_rows([dict(vars(shape), blocks=1, forward=(136, 96, 'cudnn'), backward=(136, 136, 'flash'))])
    assert results[1][-4:] == ('136', '136', 'flash', 'cudnn')
    assert kernel_name(dict(forward=[136, 96, 'cudnn'], backward=[136, 136, 'flash'])) == 'cudnn / flash'
    assert kernel_name(dict(forward=[120, 120, 'flash'], backward=[120, 120, 'flash'])) == 'flash'


def test_pytorch_is_asked_where_no_capability_is_given():
    found = folded_kernels(make_inputs(Shape('audio', (4, 6), (2, 3), 2, 8)))
    assert list(found) == ['forward', 'backward'] and found['backward'][:2] == (16, 8)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert folded_kernels(make_inputs(Shape('audio', (4, 6), (2, 3), 2, 8)))['forward'][-1] == 'math'


def test_capabilities_are_read_as_nvidia_writes_them():
    assert read_capability('8.0') == (8, 0) and read_capability('12.1') == (12, 1)
    for text in ('80', '8.', 'sm_80', '8.0.1', '-8.0'):
        with pytest.raises(ConfigError, match=f'--capability {text}: give it as NVIDIA writes it, 8.0 for an A100'):
            read_capability(text)
