"""The memory that training takes: the paper's comparison of MAT at 64 clips and AST at 8, on a GPU or a CPU.

On a GPU the peak is what PyTorch's allocator held at most. On a CPU it is the peak of the resident memory of a process
that does nothing else, less what the process had before the model was built; scratch space of libraries is in it.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from mmav.analysis.peer_timing import Pass
from mmav.analysis.peers import ClassEmbedding, DoesNotFit, draw_parameters
from mmav.analysis.speed_report import resident_memory
from mmav.engine import turn_on_activation_checkpointing
from mmav.errors import MmavError
from mmav.models import AST, MAT

# the paper (Table 2), on a V100: 16.8 GB at 64 clips and 20.6 GB at 8, which is 9.8 times as much for a clip
PAPER = dict(MAT=dict(batch_size=64, bytes=16.8e9), AST=dict(batch_size=8, bytes=20.6e9))
# Of a parameter in float32: itself, its gradient, and AdamW's two moments. When the peak is reached not all gradients
# need be there: what is counted beyond these bytes is too small by 4 bytes of each that is not.
FIXED_BYTES = 4 * 4
_STEPS = 2  # AdamW's moments are there from the first on


@dataclass(frozen=True)
class Setting:
    """What is trained.

    Attributes:
        name: In words.
        model: 'MAT' or 'AST', as in ``PAPER``.
        build: Makes the encoder; a function of a module, so that another process can find it.
        shape: Of one input (C, F, T).
        checkpointing: Whether the blocks are computed again in the backward pass.
        plain: Whether the attention writes its matrix out, as that of 2021 did, in place of a fused kernel.
    """

    name: str
    model: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (1, 128, 1024)
    checkpointing: bool = False
    plain: bool = False


SETTINGS = (
    Setting('MAT', 'MAT', MAT),
    Setting('MAT, activation checkpointing', 'MAT', MAT, checkpointing=True),
    Setting('AST, plain attention', 'AST', AST, plain=True),
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
        settings: What is trained; the last one is what the others are compared with.
        device: 'cpu' or 'cuda'.
        dtype: float32, or a half type for autocast.
        progress: Whether to show a progress bar.

    Returns:
        One dict a setting: ``name``, ``batch_size``, ``parameters``, ``peak`` (bytes, measured), ``per_clip`` (peak
        over clips), ``fixed`` (bytes of weights, gradients and AdamW's moments, computed), ``beyond`` (for each clip
        what the peak has beyond that), ``paper_batch`` and ``at_paper_batch`` (bytes per clip there, computed of the
        two), ``ratio`` and ``ratio_at_paper_batch`` (how many times as much the last setting takes for a clip).

    Raises:
        DoesNotFit: The memory did not suffice.
        MmavError: It cannot be told on this system.
    """
    results = []
    for setting in tqdm(settings, desc='memory', unit='model', disable=not progress):
        batch_size = batches[setting.model]
        measure = _gpu_peak if device == 'cuda' else _cpu_peak
        peak, parameters = measure(setting, batch_size, dtype)
        results.append(_summary(setting, batch_size, peak, parameters))
    for key, ratio in (('per_clip', 'ratio'), ('at_paper_batch', 'ratio_at_paper_batch')):
        for result in results:
            result[ratio] = results[-1][key] / result[key]
    return results


def _summary(setting: Setting, batch_size: int, peak: int, parameters: int) -> dict[str, Any]:
    fixed = FIXED_BYTES * parameters
    beyond = (peak - fixed) / batch_size
    paper_batch = int(PAPER[setting.model]['batch_size'])
    return dict(
        name=setting.name,
        batch_size=batch_size,
        parameters=parameters,
        peak=peak,
        per_clip=peak / batch_size,
        fixed=fixed,
        beyond=beyond,
        paper_batch=paper_batch,
        at_paper_batch=fixed / paper_batch + beyond,
    )


def _train(setting: Setting, batch_size: int, device: str, dtype: torch.dtype) -> int:
    """Builds a model, takes training steps, and returns the number of its parameters."""
    encoder = draw_parameters(setting.build()).to(device)
    x = torch.randn(batch_size, *setting.shape, device=device)
    turn_on_activation_checkpointing(encoder, setting.checkpointing)
    step = Pass(ClassEmbedding(encoder), 'step', x, dtype=dtype)
    for _ in range(_STEPS):
        with sdpa_kernel(SDPBackend.MATH) if setting.plain else contextlib.nullcontext():
            step()
        step.drop_gradients()
    return sum(parameter.numel() for parameter in encoder.parameters())


def _gpu_peak(setting: Setting, batch_size: int, dtype: torch.dtype) -> tuple[int, int]:
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    try:
        parameters = _train(setting, batch_size, 'cuda', dtype)
    except torch.OutOfMemoryError as error:
        raise _too_large(setting, batch_size, 'GPU') from error
    return torch.cuda.max_memory_allocated() - before, parameters


def _cpu_peak(setting: Setting, batch_size: int, dtype: torch.dtype) -> tuple[int, int]:
    """As :func:`resident_peak`, in a process of its own: this one's peak is that of all it has done."""
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(resident_peak, setting, batch_size, dtype, torch.get_num_threads()).result()
        except BrokenProcessPool as error:  # the kernel ends what takes too much
            raise _too_large(setting, batch_size, 'memory') from error


def resident_peak(setting: Setting, batch_size: int, dtype: torch.dtype, threads: int) -> tuple[int, int]:
    """Trains on the CPU and returns by how many bytes the peak lies above what this process has now.

    Also returns the number of parameters.

    Raises:
        MmavError: The system does not tell.
    """
    torch.set_num_threads(threads)
    Pass(nn.Linear(2, 2), 'step', torch.zeros(1, 2))()  # what torch loads at the first step is not the model's
    before = resident_memory()
    parameters = _train(setting, batch_size, 'cpu', dtype)
    peak = resident_memory(peak=True)
    if before is None or peak is None:
        raise MmavError('the memory of a process on a CPU is read from /proc, which is not there: take a GPU')
    return peak - before, parameters


def _too_large(setting: Setting, batch_size: int, where: str) -> DoesNotFit:
    return DoesNotFit(
        f'{setting.name}: training with {batch_size} clips does not fit into the {where}; give smaller --memory-batches'
    )


def memory_rows(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A table of what :func:`measure_memory` found; the first row is the header."""
    rows = [
        [
            'training of',
            'clips',
            'peak',
            'peak / clips',
            f'{results[-1]["name"].split(",")[0]} takes',
            'weights, gradients, AdamW (computed)',
            'a clip beyond these',
            "a clip in the paper's batch (computed)",
            f'{results[-1]["name"].split(",")[0]} takes (computed)',
        ]
    ]
    for result in results:
        rows.append(
            [
                result['name'],
                str(result['batch_size']),
                f'{result["peak"] / 1e9:.2f} GB',
                f'{result["per_clip"] / 1e9:.3f} GB',
                f'{result["ratio"]:.2f} x',
                f'{result["fixed"] / 1e9:.2f} GB',
                f'{result["beyond"] / 1e9:.3f} GB',
                f'{result["at_paper_batch"] / 1e9:.3f} GB of {result["paper_batch"]}',
                f'{result["ratio_at_paper_batch"]:.2f} x',
            ]
        )
    per_clip = {model: figures['bytes'] / figures['batch_size'] for model, figures in PAPER.items()}
    for model, figures in PAPER.items():
        cells = [f'{figures["bytes"] / 1e9:.1f} GB', f'{per_clip[model] / 1e9:.3f} GB']
        ratio = f'{per_clip["AST"] / per_clip[model]:.2f} x'
        rows.append([f'the paper: {model}', str(figures['batch_size']), *cells, ratio, *['-'] * 4])
    return rows
