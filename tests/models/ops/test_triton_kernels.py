"""The kernels of the forward pass compiled for GPUs, which takes none. Their values: test_triton_attention.py."""

import pytest

pytest.importorskip('triton')
from tests.models.ops.gpu_compiler import CASES, check_kernel, compile_pass


@pytest.mark.parametrize(('arch', 'dtype', 'sizes'), CASES)
def test_compiles_as_it_is_launched(arch, dtype, sizes, monkeypatch, tmp_path):
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    compiled = compile_pass('forward', monkeypatch, arch=arch, dtype=dtype, **sizes)
    assert set(compiled) == {'attention_forward'}
    for kernel in compiled.values():
        check_kernel(kernel, arch)
