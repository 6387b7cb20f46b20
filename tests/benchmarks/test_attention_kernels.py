import pytest
import torch

from benchmarks.attention_kernels import expected_kernels, folded_kernels, kernel_name, kernel_rows, read_capability
from benchmarks.attention_shapes import Shape, make_inputs
from mmav.engine.cli import load_config
from mmav.errors import ConfigError
from tests import toys


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
