"""The memory that training takes: the paper's comparison of MAT at 64 clips and AST at 8, on a GPU or a CPU.

The peak is the most that PyTorch's allocator held. On a CPU there is also the peak of the resident memory of a process
that does nothing else, minus what it had before the model was built; it includes libraries' scratch space and gaps.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from benchmarks.machine import resident_memory
from benchmarks.measure import TimedPass, live_bytes, time_in_turn
from benchmarks.peer_timing import model_pass
from benchmarks.peers import ClassEmbedding, DoesNotFit, draw_parameters
from mmav.engine import turn_on_activation_checkpointing
from mmav.errors import MmavError
from mmav.models import AST, MAT
from mmav.tables import size

# the paper (Table 2), on a V100: 16.8 GB at 64 clips and 20.6 GB at 8, which is 9.8 times as much for a clip
PAPER = dict(MAT=dict(batch_size=64, bytes=16.8e9), AST=dict(batch_size=8, bytes=20.6e9))
# Per parameter in float32: itself, its gradient, and AdamW's two moments. At the peak some gradients may not exist yet:
# what is counted beyond these bytes is then too small by 4 bytes for each of them.
FIXED_BYTES = 4 * 4
_STEPS = 2  # AdamW's moments exist from the first on
_TIMED = 3  # steps on a GPU, after a first one


@dataclass(frozen=True)
class Setting:
    """What is trained.

    Attributes:
        name: In words.
        model: 'MAT' or 'AST', as in ``PAPER``.
        build: Makes the encoder; a function of a module, so that another process can import it.
        shape: Of one input (C, F, T).
        checkpointing: What blocks keep, see :func:`~mmav.engine.turn_on_activation_checkpointing`; None for the default
            of training: lean on a GPU, all on a CPU.
        plain: Whether attention writes out its matrix, as in 2021, instead of a fused kernel.
    """

    name: str
    model: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (1, 128, 1024)
    checkpointing: bool | str | Mapping[str, bool] | None = None
    plain: bool = False


class Measured(NamedTuple):
    """Bytes of the allocator's peak and of the resident memory's, the number of parameters, and seconds of a step."""

    peak: int
    resident: int | None
    parameters: int
    seconds: float | None = None


SETTINGS = (
    Setting('MAT', 'MAT', MAT),
    Setting('MAT, activation checkpointing', 'MAT', MAT, checkpointing=True),
    Setting('MAT, the same, attention kept', 'MAT', MAT, checkpointing=dict(keep_attention=True)),
    Setting('AST, plain attention', 'AST', AST, checkpointing=False, plain=True),
)


def measure_memory(
    batches: Mapping[str, int],
    *,
    settings: Sequence[Setting] = SETTINGS,
    device: str = 'cpu',
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Measures the peak of training steps (forward and backward pass, AdamW).

    Args:
        batches: 'MAT' and 'AST' -> clips at once.
        settings: What is trained; the others are compared with the last one.
        device: 'cpu' or 'cuda'.
        dtype: float32, or a half type for autocast.
        progress: Whether to show a progress bar.

    Returns:
        One dict per setting: ``name``, ``batch_size``, ``parameters``, ``peak`` and ``resident`` (bytes, measured; the
        latter None on a GPU), ``per_clip`` and ``resident_per_clip`` (these per clip), ``fixed`` (bytes of weights,
        gradients and AdamW's moments, computed), ``beyond`` (bytes per clip that the peak has beyond that),
        ``paper_batch`` and ``at_paper_batch`` (bytes per clip at the paper's batch size, computed from the two), and
        ``ratio_per_clip``, ``ratio_resident_per_clip`` and ``ratio_at_paper_batch`` (how many times as much the last
        setting takes).

    Raises:
        DoesNotFit: The memory did not suffice.
        MmavError: This system does not say how much memory a process takes.
    """
    results = []
    for setting in tqdm(settings, desc='memory', unit='model', disable=not progress):
        batch_size = batches[setting.model]
        measure = _gpu_peak if device == 'cuda' else _cpu_peak
        results.append(_summary(setting, batch_size, measure(setting, batch_size, dtype)))
    return add_ratios(results)


def add_ratios(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds to what :func:`measure_memory` found, perhaps one setting at a time, the ratios to the last setting."""
    for key in ('per_clip', 'at_paper_batch', 'resident_per_clip'):
        for result in results:
            result[f'ratio_{key}'] = None if result[key] is None else results[-1][key] / result[key]
    return results


def _summary(setting: Setting, batch_size: int, measured: Measured) -> dict[str, Any]:
    peak, resident, fixed = measured.peak, measured.resident, FIXED_BYTES * measured.parameters
    beyond = (peak - fixed) / batch_size
    paper_batch = int(PAPER[setting.model]['batch_size'])
    return dict(
        name=setting.name,
        batch_size=batch_size,
        parameters=measured.parameters,
        peak=peak,
        per_clip=peak / batch_size,
        seconds=measured.seconds,
        resident=resident,
        resident_per_clip=None if resident is None else resident / batch_size,
        fixed=fixed,
        beyond=beyond,
        paper_batch=paper_batch,
        at_paper_batch=fixed / paper_batch + beyond,
    )


def training_step(setting: Setting, batch_size: int, device: str, *, dtype: torch.dtype) -> TimedPass:
    """A training step of one setting on random inputs."""
    encoder = draw_parameters(setting.build()).to(device)
    by_default = 'lean' if device == 'cuda' else False
    turn_on_activation_checkpointing(
        encoder, setting.checkpointing if setting.checkpointing is not None else by_default
    )
    x = torch.randn(batch_size, *setting.shape, device=device)
    return model_pass(ClassEmbedding(encoder), 'step', x, dtype=dtype)


def _run(setting: Setting, step: TimedPass) -> None:
    with sdpa_kernel(SDPBackend.MATH) if setting.plain else contextlib.nullcontext():
        step()
    step.drop_gradients()


def _parameters(step: TimedPass) -> int:
    return sum(parameter.numel() for module in step.modules for parameter in module.parameters())


def _gpu_peak(setting: Setting, batch_size: int, dtype: torch.dtype) -> Measured:
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    try:
        step = training_step(setting, batch_size, 'cuda', dtype=dtype)
        seconds = statistics.median(time_in_turn({'step': partial(_run, setting, step)}, _TIMED)['step'])
    except torch.OutOfMemoryError as error:
        raise _too_large(setting, batch_size, 'GPU') from error
    return Measured(torch.cuda.max_memory_allocated() - before, None, _parameters(step), seconds)


def _cpu_peak(setting: Setting, batch_size: int, dtype: torch.dtype) -> Measured:
    """:func:`cpu_peak` in a new process, as the peak of this one is that of all it has done."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(cpu_peak, setting, batch_size, dtype, torch.get_num_threads()).result()
        except BrokenProcessPool as error:  # the kernel kills what takes too much
            raise _too_large(setting, batch_size, 'memory') from error


def cpu_peak(setting: Setting, batch_size: int, dtype: torch.dtype, threads: int) -> Measured:
    """Trains in this process, which should have done nothing else.

    Raises:
        MmavError: The system has no ``/proc``.
    """
    torch.set_num_threads(threads)
    model_pass(nn.Linear(2, 2), 'step', torch.zeros(1, 2))()  # what torch loads at the first step is not the model's
    before = resident_memory()
    step = training_step(setting, batch_size, 'cpu', dtype=dtype)
    for _ in range(_STEPS):
        _run(setting, step)
    resident = resident_memory(peak=True)
    if before is None or resident is None:
        raise MmavError('the memory of a process on a CPU is read from /proc, which is not there: take a GPU')
    # last, as the profiler takes memory of its own
    peak = step.held_bytes() + live_bytes(partial(_run, setting, step))
    return Measured(peak, resident - before, _parameters(step))


def _too_large(setting: Setting, batch_size: int, where: str) -> DoesNotFit:
    return DoesNotFit(
        f'{setting.name}: training with {batch_size} clips does not fit into the {where}; give smaller --memory-batches'
    )


def memory_rows(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A table of what :func:`measure_memory` found; the first row is the header."""
    takes = f'{results[-1]["name"].split(",")[0]} takes'
    cpu = results[-1]['resident'] is not None
    header = ['training of', 'clips', 'peak', 'peak / clips', takes]
    header += ['resident', 'resident / clips', takes] if cpu else ['step', 'step / clips']
    header += ['weights, gradients, AdamW (computed)', 'a clip beyond these']
    rows = [[*header, "a clip in the paper's batch (computed)", f'{takes} (computed)']]
    for result in results:
        row = [result['name'], str(result['batch_size']), *_pair(result['peak'], result['per_clip'])]
        row.append(f'{result["ratio_per_clip"]:.2f} x')
        if cpu:
            row += [*_pair(result['resident'], result['resident_per_clip'])]
            row.append(f'{result["ratio_resident_per_clip"]:.2f} x')
        else:
            row += [f'{result["seconds"] * 1e3 / clips:.1f} ms' for clips in (1, result['batch_size'])]
        row += [*_pair(result['fixed'], result['beyond'])]
        row += [f'{size(result["at_paper_batch"], "GB", 3)} of {result["paper_batch"]}']
        rows.append([*row, f'{result["ratio_at_paper_batch"]:.2f} x'])
    per_clip = {model: figures['bytes'] / figures['batch_size'] for model, figures in PAPER.items()}
    for model, figures in PAPER.items():
        peaks = size(figures['bytes'], 'GB', 1), size(per_clip[model], 'GB', 3)
        cells = [f'the paper: {model}', str(figures['batch_size']), *peaks]
        cells.append(f'{per_clip["AST"] / per_clip[model]:.2f} x')
        rows.append([*cells, *['-'] * (len(rows[0]) - len(cells))])
    return rows


def _pair(whole: float, one: float) -> tuple[str, str]:
    return size(whole, 'GB', 2), size(one, 'GB', 3)
