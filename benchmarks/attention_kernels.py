"""Which kernel of PyTorch's computes folded attention at the sizes that the encoders of a config have, on which GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from mmengine.config import Config
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.attention_shapes import Inputs, attend, attention_shapes, grid_name, make_inputs
from benchmarks.sdpa_calls import noted_sdpa
from mmav.engine.memory.fused_sdpa import fused_sdpa
from mmav.errors import ConfigError

# what a forward pass alone may do with another kernel
PASSES = dict(forward=False, backward=True)


def read_capability(text: str) -> tuple[int, int]:
    """``8.0`` as (8, 0).

    Raises:
        ConfigError: It is something else.
    """
    major, dot, minor = text.partition('.')
    if not dot or not (major.isdecimal() and minor.isdecimal()):
        raise ConfigError(f'--capability {text}: give it as NVIDIA writes it, 8.0 for an A100, 9.0 for an H100')
    return int(major), int(minor)


def folded_kernels(inputs: Inputs, capability: tuple[int, int] | None = None) -> dict[str, tuple[int, int, str]]:
    """What computes folded attention in a forward pass alone, and in one that gradients are wanted of.

    Args:
        inputs: On a GPU, where PyTorch is asked; or fake ones.
        capability: Of a GPU that is not there, whose rules then count.

    Returns:
        ``forward`` and ``backward``: width of queries and keys, width of values, kernel.
    """
    found = {}
    for name, needs_grad in PASSES.items():
        with torch.set_grad_enabled(needs_grad), noted_sdpa(capability) as noted:
            attend('folded', inputs)
        (found[name],) = noted.calls
    return found


def expected_kernels(
    cfg: Config, capability: tuple[int, int], *, dtype: str = 'bfloat16', batch_size: int = 1
) -> list[dict[str, Any]]:
    """The kernels that PyTorch takes at a config's sizes on a GPU of some capability, by its rules; needs no GPU.

    Returns:
        One dict for each size: the attributes of :class:`~benchmarks.attention_shapes.Shape`, ``blocks``, and
        ``forward`` and ``backward`` as :func:`folded_kernels` has them.

    Raises:
        ConfigError: No backbone has multiscale attention.
    """
    results = []
    for shape, blocks in attention_shapes(cfg).items():
        with FakeTensorMode(), fused_sdpa(capability=capability):
            inputs = make_inputs(shape, batch_size, device='cuda', dtype=dtype)
            found = folded_kernels(inputs, capability)
        results.append(dict(asdict(shape), blocks=blocks, **found))
    return results


def kernel_rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A table of what :func:`expected_kernels` found; the first row is the header."""
    rows: list[tuple[str, ...]] = [
        ('encoder', 'blocks', 'queries', 'keys', 'heads', 'q, k', 'v', 'kernel', 'in a forward pass alone')
    ]
    for result in results:
        sizes = (grid_name(result['q_grid']), grid_name(result['k_grid']), f'{result["heads"]} x {result["dim"]}')
        *widths, kernel = result['backward']
        alone = result['forward'][-1]
        rows.append((result['encoder'], str(result['blocks']), *sizes, *map(str, widths), kernel, alone))
    return rows


def kernel_name(found: Mapping[str, Sequence[Any]]) -> str:
    """The kernel in words: one, or that of a forward pass alone before the other."""
    return ' / '.join(dict.fromkeys(found[name][-1] for name in PASSES))
