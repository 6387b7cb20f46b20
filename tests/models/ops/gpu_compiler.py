"""Compiles the Triton kernels for GPUs on a machine that has none."""

from __future__ import annotations

import math
import re

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mmav.models.ops import triton_launch

TYPES = {torch.float16: 'fp16', torch.bfloat16: 'bf16', torch.float32: 'fp32'}
# bytes of shared memory that a program may have
ROOM = {80: 163 * 1024, 90: 227 * 1024}
# architecture, type, and what else compile_pass takes
CASES = [
    (80, torch.bfloat16, dict(q_grid=(8, 14, 14), k_grid=(8, 7, 7), batch=2, heads=4, num_cls=1)),
    (90, torch.float16, dict(q_grid=(16, 128), k_grid=(32, 256), batch=2, heads=2, num_cls=0)),
    (80, torch.float32, dict(q_grid=(5,), k_grid=(20,), batch=1, heads=1, num_cls=1)),
]


class Launch:
    """Stands in for a kernel: compiles what is launched as Triton would, and launches nothing."""

    def __init__(self, kernel, arch, compiled):
        self.kernel, self.arch, self.compiled = kernel, arch, compiled

    def __getitem__(self, grid):
        return self

    def __call__(self, *given, **options):
        launch = {key: options.pop(key) for key in ('num_warps', 'num_stages')}
        names = self.kernel.arg_names
        assert len(given) + len(options) == len(names)
        signature, constants, hints = {}, dict(options), {}
        for place, name in enumerate(names):
            value = options[name] if name in options else given[place]
            if name in options or (type(value) is int and value == 1):
                signature[name], constants[name] = 'constexpr', value
            elif isinstance(value, float):
                signature[name] = 'fp32'
            else:
                is_tensor = isinstance(value, torch.Tensor)
                signature[name] = '*' + TYPES[value.dtype] if is_tensor else 'i32'
                if is_tensor or value % 16 == 0:
                    hints[place,] = [['tt.divisibility', 16]]
        source = ASTSource(self.kernel, signature, constants, hints)
        target = GPUTarget('cuda', self.arch, 32)
        self.compiled[self.kernel.__name__] = triton.compile(source, target=target, options=launch)


def compile_pass(name, monkeypatch, *, arch, dtype, q_grid, k_grid, batch, heads, num_cls):
    """Compiles the kernels that ``triton_launch.forward`` or ``backward`` launches, for heads 96 wide, with TF32.

    Returns the kernels by name, after checking that the pass returns tensors of the right shapes.
    """
    monkeypatch.setenv('TRITON_INTERPRET', '0')
    load, compiled = triton_launch.load_kernel, {}
    monkeypatch.setattr(triton_launch, 'load_kernel', lambda kernel: Launch(load(kernel), arch, compiled))

    def empty(*shape, dtype=dtype):
        return torch.empty(shape, dtype=dtype, device='meta')

    q, k, v = (empty(batch, math.prod(grid), heads, 96) for grid in (q_grid, k_grid, k_grid))
    classes = [empty(batch, 1, heads, 96) if num_cls else None for _ in range(3)]
    sizes = [2 * max(pair) - 1 for pair in zip(q_grid, k_grid, strict=True)]
    tables = [empty(size, 96, dtype=torch.float32) for size in sizes]
    length = q.shape[1] + num_cls
    out, lse = empty(batch, length, heads, 96), empty(batch, heads, length, dtype=torch.float32)
    given = (q, k, v, *classes, tables, q_grid, k_grid, True)
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        if name == 'forward':
            results = triton_launch.forward(*given)
            like = [out, lse]
        else:
            results = triton_launch.backward(out, *given, out, lse)
            like = [x for x in (q, k, v, *classes, *tables) if x is not None]
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
    assert [(x.shape, x.dtype) for x in results] == [(x.shape, x.dtype) for x in like]
    return compiled


def check_kernel(kernel, arch):
    """It fits, multiplies in matrix units and adds nothing up by atomic operations."""
    assert kernel.metadata.shared <= ROOM[arch]
    code = kernel.asm['ptx']
    assert re.search(r'\bwgmma\.' if arch == 90 else r'\bmma\.sync', code)
    assert not re.search(r'\b(atom|red)\.', code)
