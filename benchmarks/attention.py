"""How long each form of multiscale attention takes at the sizes that the encoders of a config have.

Inputs are generated: pooled queries, keys and values, and the tables of relative positions. The projections and the
pooling around the attention are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from typing import Any

import torch
from mmengine.config import Config
from tqdm import tqdm

from benchmarks.attention_shapes import (
    Inputs,
    Shape,
    attend,
    attention_shapes,
    first_cells,
    folded_kernels,
    grid_name,
    kernel_name,
    make_inputs,
)
from benchmarks.machine import check_device, matmul_peak
from benchmarks.measure import quartiles, ratio, time_in_turn
from mmav.engine.precision import DTYPES
from mmav.errors import ConfigError, MmavError
from mmav.models.ops import attention
from mmav.tables import milliseconds

FORMS = tuple(form for form in attention.FORMS if form != 'auto')
# the backward pass has two products for each of the forward pass
PASSES = dict(forward=1, backward=3)


def difference(form: str, inputs: Inputs) -> float:
    """Largest difference of a form's result from explicit attention in float32, over the largest value; one clip."""
    with torch.inference_mode():
        expected = attend('explicit', inputs.first(torch.float32))
        got = attend(form, inputs.first(inputs.patches[0].dtype)).float()
    return float((got - expected).abs().max() / expected.abs().max())


def tolerance(dtype: str) -> float:
    """What :func:`difference` must stay below: 1e-4, or a few roundings of a half type."""
    return max(1e-4, 8 * torch.finfo(DTYPES[dtype]).eps)


def measure_attention(
    cfg: Config,
    *,
    forms: Sequence[str] = (),
    device: str = 'cpu',
    dtype: str = 'float32',
    batch_size: int = 1,
    rounds: int = 5,
    progress: bool = False,
) -> dict[str, Any]:
    """Times forms of multiscale attention in turn, in inference mode and with the backward pass.

    Args:
        cfg: Config of an experiment; not changed.
        forms: Of ``FORMS``; by default those that run on the device in this type, without ``flex``.
        device: 'cpu' or 'cuda'.
        dtype: Of all tensors but the tables, which are in float32 as parameters are.
        batch_size: Clips per batch.
        rounds: How often each form is timed at each size, after a warm-up round.
        progress: Whether to show a progress bar.

    Returns:
        ``peak``: operations per second of a matrix product. ``results``: one dict per size: the attributes of
        :class:`Shape`, ``blocks``, ``operations`` and ``floor`` (seconds at the peak) for each of ``PASSES``, and
        ``forms``: form -> ``difference``, ``disagreement`` (a line where the form computes something else than
        explicit attention, else None), on a GPU ``kernel`` of the folded form (see
        :func:`~benchmarks.attention_shapes.folded_kernels`), and, for each of ``PASSES``, ``seconds`` of each
        round, their quartiles, and ``gain``, quartiles of how many times as long the first of the forms took.

    Raises:
        ConfigError: See :func:`attention_shapes`; or a form does not run on the device in this type.
        MmavError: Memory does not suffice.
    """
    forms = _checked_forms(forms, device, dtype)
    shapes = attention_shapes(cfg)
    peak = matmul_peak(device, DTYPES[dtype])
    results = []
    for shape, blocks in tqdm(shapes.items(), desc='sizes', unit='size', disable=not progress):
        try:
            found = _measure_shape(shape, forms, batch_size=batch_size, device=device, dtype=dtype, rounds=rounds)
        except torch.OutOfMemoryError as error:
            raise MmavError(
                f'{shape.encoder} {grid_name(shape.q_grid)}: out of memory with --batch-size {batch_size}: take less'
            ) from error
        results.append(dict(asdict(shape), blocks=blocks, forms=found))
    # the better of before and after, as the machine may have been busy
    peak = max(peak, matmul_peak(device, DTYPES[dtype]))
    for shape, result in zip(shapes, results, strict=True):
        operations = {name: times * batch_size * shape.operations for name, times in PASSES.items()}
        result.update(operations=operations, floor={name: number / peak for name, number in operations.items()})
    return dict(peak=peak, results=results)


def _checked_forms(forms: Sequence[str], device: str, dtype: str) -> tuple[str, ...]:
    check_device(device, [dtype])
    usable = attention.usable_forms(device, DTYPES[dtype])
    for form in forms:
        if form not in usable:
            raise ConfigError(f'--forms {form}: with {device} and {dtype} choose one of {", ".join(usable)}')
    # flex compiles for minutes, anew for each size and pass: only on request
    return tuple(dict.fromkeys(forms)) or tuple(form for form in usable if form != 'flex')


def _measure_shape(
    shape: Shape, forms: Sequence[str], *, batch_size: int, device: str, dtype: str, rounds: int
) -> dict[str, dict[str, Any]]:
    inputs = make_inputs(shape, batch_size, device=device, dtype=dtype)
    found: dict[str, dict[str, Any]] = {}
    for form in forms:
        off = difference(form, inputs)
        line = None
        if not off < tolerance(dtype):
            where = f'{shape.encoder}, {grid_name(shape.q_grid)} queries, {grid_name(shape.k_grid)} keys'
            bound = f'more than {tolerance(dtype):.0e}: do not use it here'
            line = f'{form} attention is off by {off:.1e} from explicit ({where}), {bound}'
        found[form] = dict(difference=off, disagreement=line)
        if form == 'folded' and device == 'cuda':
            found[form]['kernel'] = folded_kernels(inputs)
    with torch.no_grad():
        weights = torch.ones_like(attend(forms[0], inputs))

    def run(name: str, form: str) -> None:
        with torch.inference_mode(name == 'forward'):
            out = attend(form, inputs)
        if name == 'backward':
            torch.autograd.grad(out, inputs.leaves(), weights)

    seconds = time_in_turn({way: partial(run, *way) for way in product(PASSES, forms)}, rounds)
    for (name, form), values in seconds.items():
        found[form][name] = dict(seconds=values, **quartiles(values), gain=ratio(seconds[name, forms[0]], values))
    return found


def attention_rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A table of what :func:`measure_attention` found; the first row is the header.

    Pairs are milliseconds of a forward pass and of one with its backward pass. The last row of an encoder is the sum
    over its blocks. On a GPU the last column is the kernel of folded attention.
    """
    forms = list(results[0]['forms'])
    with_kernel = 'kernel' in results[0]['forms'].get('folded', {})
    compared = [form for form in forms if form != 'explicit']
    header = ['encoder', 'blocks', 'queries', 'keys', 'heads', 'floor, ms', *(f'{form}, ms' for form in forms)]
    header += [f'{form} off by' for form in compared] + ['folded by'] * with_kernel
    rows = [tuple(header)]
    for encoder in dict.fromkeys(result['encoder'] for result in results):
        total: defaultdict[tuple[str, str], float] = defaultdict(float)
        own = [result for result in results if result['encoder'] == encoder]
        for result in own:
            found = result['forms']
            times = {(form, name): found[form][name]['median'] for form, name in product(forms, PASSES)}
            times.update({('floor', name): result['floor'][name] for name in PASSES})
            for key, value in times.items():
                total[key] += value * result['blocks']
            offs = [
                f'{found[form]["difference"]:.0e}' + (' (!)' if found[form].get('disagreement') else '')
                for form in compared
            ]
            kernel = [kernel_name(found['folded']['kernel'])] if with_kernel else []
            rows.append((*first_cells(result), *_pairs(times, forms), *offs, *kernel))
        blocks = str(sum(result['blocks'] for result in own))
        empty = [''] * (len(compared) + with_kernel)
        rows.append((f'{encoder}, all', blocks, '', '', '', *_pairs(total, forms), *empty))
    return rows


def _pairs(times: Mapping[tuple[str, str], float], forms: Sequence[str]) -> list[str]:
    return [' / '.join(milliseconds(times[key, name], 3) for name in PASSES) for key in ('floor', *forms)]
