"""The number of compute threads and how they wait for each other, unless the user has set them.

Threads that compute an operation together wait at its end for the last of them. OpenMP's (libgomp in PyTorch's packages
for Linux) spin for 3 ms before they sleep. That is fastest as long as each has its own core; on a shared core it keeps
the very thread from running that all wait for, in every operation. So there are as many threads as the data workers
leave cores, and they spin for 100 us (docs/training.md has the figures).
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# if one of them is set, the user has decided how threads wait; the second is libgomp's, the third LLVM's and Intel's
WAITING = ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME')
COUNTS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
# number of cores for this process, set by a launcher that also has to set the counts
CORES = 'MMAV_CORES'
SPINS = '10000'


def cpu_count() -> int:
    """Number of cores that this process may use: its affinity, or the quota of its container if that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(min(cores, math.ceil(quota)), 1)


def cpu_quota(root: Path = Path('/sys/fs/cgroup'), own: Path = Path('/proc/self/cgroup')) -> float | None:
    """Cores' worth of time that the control groups of this process allow on Linux; None where there is no limit.

    Args:
        root: Where control groups are mounted.
        own: The file that says which are those of this process.
    """
    try:
        lines = [line.split(':', 2) for line in own.read_text().splitlines()]
    except OSError:
        return None
    found = []
    for _, kinds, path in lines:
        if kinds and 'cpu' not in kinds.split(','):
            continue
        base = root / 'cpu' if kinds else root  # of the first version, or of the second
        # inside a container the root is the group itself
        for folder in {base / path.strip('/'), *(base / path.strip('/')).parents, base}:
            if folder == base or base in folder.parents:
                found.append(_quota_of(folder))
    return min((quota for quota in found if quota is not None), default=None)


def _quota_of(folder: Path) -> float | None:
    try:
        if (folder / 'cpu.max').is_file():
            quota, period = (folder / 'cpu.max').read_text().split()
        else:
            quota, period = ((folder / f'cpu.cfs_{name}_us').read_text() for name in ('quota', 'period'))
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):  # 'max', and -1, stand for no limit
        return None


def wait_briefly() -> None:
    """Lets OpenMP's threads spin for 100 us; has no effect once PyTorch is imported.

    Child processes inherit it. Nothing changes if the environment says how threads wait.
    """
    if 'torch' not in sys.modules and not any(name in os.environ for name in WAITING):
        os.environ['GOMP_SPINCOUNT'] = SPINS


def threads_beside(workers: int, environment: Mapping[str, str] = os.environ) -> tuple[int | None, str]:
    """How many threads should compute while data workers of the same process run.

    Args:
        workers: Data workers, each of which keeps a core busy.
        environment: Environment variables; a user's settings are kept.

    Returns:
        The number, at least 1, or None if a variable has set it; and the reason, for the log.

    >>> threads_beside(2, dict(MMAV_CORES='8', OMP_NUM_THREADS='8'))
    (6, '8 cores less 2 data workers')
    >>> threads_beside(2, dict(OMP_NUM_THREADS='8'))
    (None, 'OMP_NUM_THREADS=8')
    """
    share = environment.get(CORES, '')
    if not share.isdecimal():
        given = [f'{name}={environment[name]}' for name in COUNTS if environment.get(name)]
        if given:
            return None, ', '.join(given)
    cores = int(share) if share.isdecimal() else _cores(environment)
    return max(cores - workers, 1), f'{cores} cores less {workers} data workers'


def _cores(environment: Mapping[str, str]) -> int:
    """Cores of this process: its share if a launcher says how many processes this machine runs."""
    for name in ('LOCAL_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE'):
        if environment.get(name, '').isdecimal():
            return max(cpu_count() // max(int(environment[name]), 1), 1)
    return cpu_count()


@contextmanager
def sharing_cores(workers: int) -> Iterator[str]:
    """Lets PyTorch compute with the threads of :func:`threads_beside` in the body.

    Yields:
        A line for the log.
    """
    import torch

    before = torch.get_num_threads()
    threads, why = threads_beside(workers)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield f'Threads that compute: {threads or before} ({why})'
    finally:
        torch.set_num_threads(before)
