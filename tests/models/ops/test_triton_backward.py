"""The kernels of the backward pass compiled for GPUs, which takes none. Their values: test_triton_attention.py."""

import re

import pytest
import torch

pytest.importorskip('triton')
from tests.models.ops.gpu_compiler import ROOM, compile_pass


@pytest.mark.parametrize(
    ('arch', 'dtype', 'q_grid', 'k_grid', 'batch', 'heads', 'num_cls'),
    [
        (80, torch.bfloat16, (8, 14, 14), (8, 7, 7), 2, 4, 1),
        (90, torch.float16, (16, 128), (32, 256), 2, 2, 0),
        (80, torch.float32, (5,), (20,), 1, 1, 1),
    ],
)
def test_compiles_as_it_is_launched(arch, dtype, q_grid, k_grid, batch, heads, num_cls, monkeypatch, tmp_path):
    """It fits, multiplies in matrix units and adds nothing up by atomic operations."""
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    sizes = dict(q_grid=q_grid, k_grid=k_grid, batch=batch, heads=heads, num_cls=num_cls)
    compiled = compile_pass('backward', monkeypatch, arch=arch, dtype=dtype, **sizes)
    assert set(compiled) == {'attention_backward_queries', 'attention_backward_keys'}
    for kernel in compiled.values():
        assert kernel.metadata.shared <= ROOM[arch]
        code = kernel.asm['ptx']
        assert re.search(r'\bwgmma\.' if arch == 90 else r'\bmma\.sync', code)
        assert not re.search(r'\b(atom|red)\.', code)
