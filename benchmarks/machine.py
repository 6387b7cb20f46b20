"""The machine that benchmarks run on: its peak, its devices, memory of its processes, and its description."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import scipy
import torch

from benchmarks.measure import time_in_turn
from mmav.errors import ConfigError

PEAK_SIZES = (512, 1024, 2048, 4096, 8192)
PROC = Path('/proc')


def matmul_peak(
    device: str | torch.device = 'cpu',
    dtype: torch.dtype = torch.float32,
    *,
    sizes: Sequence[int] = PEAK_SIZES,
    rounds: int = 5,
    limit: float = 3.0,
) -> float:
    """Operations per second of the fastest product of two square matrices: what the machine can do at most.

    A multiplication and an addition count as two. A CPU uses the threads that torch has now; float32 on a GPU has the
    precision that ``torch.backends.cuda.matmul`` allows, full by default.

    Args:
        device: 'cpu' or 'cuda'.
        dtype: Of the matrices.
        sizes: Rows and columns, increasing.
        rounds: Products of each size, of which the fastest counts.
        limit: Seconds that a size may take, estimated from the size before; larger ones are left out.
    """
    best = 0.0
    previous: tuple[int, float] | None = None
    for size in sizes:
        if previous is not None and previous[1] * (size / previous[0]) ** 3 * (rounds + 1) > limit:
            break
        a, b = torch.randn(2, size, size, device=device).to(dtype)
        seconds = min(time_in_turn({size: lambda a=a, b=b: a @ b}, rounds)[size])  # type: ignore[misc]
        best = max(best, 2 * size**3 / seconds)
        previous = (size, seconds)
    return best


def resident_memory(process: int | str = 'self', *, peak: bool = False) -> int | None:
    """Resident memory of a process in bytes, now or at its ``peak``; None on a system without ``/proc``."""
    try:
        status = (PROC / str(process) / 'status').read_text()
    except OSError:
        return None
    field = 'VmHWM:' if peak else 'VmRSS:'
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith(field)]
    return int(sizes[0]) * 1024 if sizes else None


def proportional_memory(process: int | str = 'self') -> int | None:
    """Memory of a process in bytes, without the files that it maps, such as libraries; None where it is unknown.

    A page that N processes share counts as 1/N, so that figures of several processes add up to what they take together.
    """
    try:
        rollup = (PROC / str(process) / 'smaps_rollup').read_text()
    except OSError:
        return None
    sizes = [line.split()[1] for line in rollup.splitlines() if line.startswith(('Pss_Anon:', 'Pss_Shmem:'))]
    return sum(map(int, sizes)) * 1024 if sizes else None


def check_device(device: str, dtypes: Iterable[str]) -> None:
    """Makes sure that a device exists and computes in some types.

    Raises:
        ConfigError: There is no GPU, or float16 is requested on a CPU.
    """
    if device == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('--device cuda: there is no GPU that PyTorch can use; take --device cpu')
    if device == 'cpu' and 'float16' in dtypes:
        raise ConfigError('float16 needs a GPU: take --dtype bfloat16 or float32')


def check_names(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Makes sure that all names are known.

    Raises:
        ConfigError: Some are not.
    """
    known = list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f'unknown {what} {", ".join(sorted(set(unknown)))}: choose one of {", ".join(known)}')


def check_counts(args: argparse.Namespace, *names: str) -> None:
    """Makes sure that options of a tool, numbers or lists of them, are positive where they are given.

    Raises:
        ConfigError: One is not.
    """
    for name in names:
        values = getattr(args, name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and value < 1:
                raise ConfigError(f'--{name.replace("_", "-")} {value}: give 1 or more')


def place(device: str) -> str:
    """Where a pass runs, in words: the GPU's name, or the number of threads."""
    return torch.cuda.get_device_name() if device == 'cuda' else f'{torch.get_num_threads()} threads of the CPU'


def about(options: Mapping[str, Any], device: str) -> dict[str, Any]:
    """How figures were measured, for the file that holds them: options of the tool, device, threads, versions."""
    given = {key: value for key, value in options.items() if key not in ('json', 'page')}
    return dict(given, device=device, where=place(device), threads=torch.get_num_threads(), **machine())


def machine() -> dict[str, Any]:
    """Name of the processor and versions of the libraries that do the work."""
    cpu = platform.processor() or platform.machine()
    if (PROC / 'cpuinfo').is_file():
        lines = (PROC / 'cpuinfo').read_text().splitlines()
        cpu = next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), cpu)
    libraries = dict(av=av, numpy=np, opencv=cv2, scipy=scipy, torch=torch)
    versions = {name: library.__version__ for name, library in libraries.items()}
    ffmpeg = {name: '.'.join(map(str, version)) for name, version in av.library_versions.items()}
    return dict(cpu=cpu, python=platform.python_version(), versions={**versions, **ffmpeg})
