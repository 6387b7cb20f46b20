"""How many threads compute, and how they wait for each other, where nobody has said so.

Threads that compute an operation together wait at its end for the last of them. OpenMP's (libgomp in PyTorch's packages
for Linux) spin there for 3 ms before they sleep. That is quickest as long as each has a core of its own; on a core that
others use, too, the one for which all wait does not run meanwhile, at every operation of a step. So there are as many
threads as cores are left beside the data workers, and they spin for 100 us (docs/training.md has the figures).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# any of them tells that a user has decided how threads wait; the second is libgomp's, the third that of LLVM and Intel
WAITING = ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME')
COUNTS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
# cores of this process among others on the machine, from a launcher that also had to set the counts
CORES = 'MMAV_CORES'
SPINS = '10000'


def wait_briefly() -> None:
    """Lets OpenMP's threads spin for 100 us; called before PyTorch is imported, after which it has no effect.

    Processes that this one starts inherit it. Where the environment says how threads wait, or PyTorch is there already,
    nothing changes.
    """
    if 'torch' not in sys.modules and not any(name in os.environ for name in WAITING):
        os.environ['GOMP_SPINCOUNT'] = SPINS


def threads_beside(workers: int, environment: Mapping[str, str] = os.environ) -> tuple[int | None, str]:
    """How many threads should compute beside data workers of the same process.

    Args:
        workers: Data workers, each of which keeps a core busy.
        environment: Variables; those that a user has set stand.

    Returns:
        The number, at least 1, or None where a variable has decided already; and the reason, for the log.

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
    """Cores of this process, shared out among the processes of this machine where a launcher tells of them."""
    from mmav.parallel import cpu_count

    for name in ('LOCAL_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE'):
        if environment.get(name, '').isdecimal():
            return max(cpu_count() // max(int(environment[name]), 1), 1)
    return cpu_count()


@contextmanager
def sharing_cores(workers: int) -> Iterator[str]:
    """Lets PyTorch compute with the threads that :func:`threads_beside` gives, while the body runs.

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
