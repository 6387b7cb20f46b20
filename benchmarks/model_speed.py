"""How long the passes of a config's model take, how near that is to what the machine can do, and what memory they take.

Inputs and labels are generated; nothing is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from benchmarks.machine_peak import matmul_peak
from benchmarks.model_passes import MODES, Case, Run, Setup, check_device, own_dtype
from benchmarks.rounds import quartiles, time_in_turn
from mmav.analysis.complexity import count_model
from mmav.engine.precision import DTYPES, decide, this_hardware
from mmav.errors import ConfigError

# the backward pass has two products for each of the forward pass; what the optimizer does is not counted
PASSES = dict(forward=1, backward=3, step=3)
NO_MEMORY = 'out of memory'


def measure_model(
    cfg: Config,
    *,
    device: str = 'cpu',
    dtypes: Sequence[str] = (),
    batch_sizes: Sequence[int] = (1,),
    modes: Sequence[str] = MODES,
    rounds: int = 5,
    views: int = 1,
    part: str | None = None,
    checkpointing: bool = False,
    compiled: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Times passes of a model in turn, on inputs that are on the device already, and measures their memory before.

    Args:
        cfg: Config of an experiment, with numbers of classes; not changed.
        device: 'cpu' or 'cuda'.
        dtypes: Of ``DTYPES``: float32, or autocast; what the config trains in on the device if empty. TF32 and cuDNN's
            benchmark are as in its training, see :mod:`mmav.engine.precision`.
        batch_sizes: Clips at once.
        modes: 'forward': probabilities, in inference mode. 'backward': the config's losses and their gradients, the
            clips in as many views as the training pipeline gives. 'step': the same, and the config's optimizer.
        rounds: How often each case is timed, after a round that does not count.
        views: Views of the video in 'forward'; the sound has one.
        part: Name of a backbone, which is then measured alone; the loss is the mean square of its tokens.
        checkpointing: Whether blocks are computed again in the backward pass.
        compiled: Whether ``torch.compile`` is used.
        progress: Whether to show a progress bar.

    Returns:
        ``peaks``: dtype -> operations a second of a matrix product. ``results``: one dict a case: ``mode``, ``dtype``,
        ``batch_size``, ``views`` (modality -> number), ``operations`` (two for each multiply-accumulate, relative
        positions written out), ``peak_bytes``, ``saved_bytes``, ``seconds`` (of each round), ``median``, ``low``,
        ``high`` (quartiles), ``operations_per_second``, ``share_of_peak``; or ``error`` where memory did not suffice.

        ``peak_bytes``: of all tensors that are there at once at most, weights, gradients and optimizer's state
        included. On a GPU what PyTorch's allocator held; on a CPU what was there plus what was allocated and not yet
        freed in a run under PyTorch's profiler, without what libraries take for themselves. ``saved_bytes``: what the
        forward pass keeps for the backward pass, see :func:`~benchmarks.training_cost.saved_bytes`; None in
        'forward' and where it is compiled.

    Raises:
        ConfigError: The model is of another type or has no such part, or the device is not there or lacks a type.
    """
    init_default_scope('mmav')
    _check(device, dtypes, modes)
    dtypes = tuple(dtypes) or (own_dtype(cfg, device),)
    setup = Setup(cfg, torch.device(device), part, views=views, checkpointing=checkpointing, compiled=compiled)
    cases = [Case(*values) for values in product(modes, dtypes, batch_sizes)]
    macs = {cost.part: cost.explicit for cost in count_model(cfg.model)}
    runs = {case: Run(setup, case) for case in cases}
    # each case may be compiled twice: what a model caches at first is there then
    often = torch._dynamo.config.patch(recompile_limit=2 * len(cases) + 1) if compiled else contextlib.nullcontext()
    with often, decide(cfg, this_hardware(device)).in_force():
        memory = {case: run.measure_memory() for case, run in runs.items()}
        peaks = {dtype: matmul_peak(device, DTYPES[dtype]) for dtype in dtypes}
        ways = {case: run for case, run in runs.items() if not run.failed}
        seconds = time_in_turn(ways, rounds, after=setup.drop_gradients, progress=progress)
        # the better of before and after, as the machine may have been busy
        peaks = {dtype: max(peak, matmul_peak(device, DTYPES[dtype])) for dtype, peak in peaks.items()}
    results = []
    for case, run in runs.items():
        operations = 2 * PASSES[case.mode] * case.batch_size * setup.macs(macs, case.mode)
        result: dict[str, Any] = dict(
            mode=case.mode,
            dtype=case.dtype,
            batch_size=case.batch_size,
            views=setup.views(case.mode),
            operations=operations,
        )
        if run.failed:
            result.update(error=NO_MEMORY)
        else:
            spread = quartiles(seconds[case])
            speed = operations / spread['median']
            result.update(memory[case], seconds=seconds[case], **spread)
            result.update(operations_per_second=speed, share_of_peak=speed / peaks[case.dtype])
        results.append(result)
    return dict(peaks=peaks, results=results)


def _check(device: str, dtypes: Sequence[str], modes: Sequence[str]) -> None:
    for names, known, what in ((dtypes, DTYPES, 'types'), (modes, MODES, 'modes')):
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(f'unknown {what} {", ".join(unknown)}: choose of {", ".join(known)}')
    check_device(device, dtypes)


def speed_rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A table of what :func:`measure_model` found; the first row is the header."""
    rows: list[tuple[str, ...]] = [
        ('pass', 'numbers', 'clips', 'ms', 'quartiles', 'ms a clip', 'GFLOP/s', 'of the peak', 'memory', 'kept'),
    ]
    for result in results:
        start = (result['mode'], result['dtype'], str(result['batch_size']))
        if 'error' in result:
            rows.append((*start, result['error'], *[''] * 6))
            continue
        span = f'{_ms(result["low"])} to {_ms(result["high"])}'
        rows.append(
            (
                *start,
                _ms(result['median']),
                span,
                _ms(result['median'] / result['batch_size']),
                f'{result["operations_per_second"] / 1e9:.3g}',
                f'{result["share_of_peak"]:.0%}',
                _mib(result['peak_bytes']),
                _mib(result['saved_bytes']),
            )
        )
    return rows


def _ms(seconds: float) -> str:
    return f'{seconds * 1e3:.0f}' if seconds >= 0.1 else f'{seconds * 1e3:.1f}'


def _mib(number: int | None) -> str:
    return '-' if number is None else f'{number / 2**20:.0f} MiB'
