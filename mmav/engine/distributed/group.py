"""Process groups on machines without a GPU, where MMEngine's setup fails."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed

from mmav.errors import ConfigError

_DEFAULT_PORT = '29500'
# launcher -> its variables for the rank, the number of processes and the rank on this machine
_VARIABLES = dict(
    pytorch=('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    slurm=('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    mpi=('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
)
# Seconds between two checks of gloo's threads, and how often in a row they must be asleep.
_NAP, _TIMES_ASLEEP = 0.005, 3


def init_gloo(launcher: str, timeout: float | None = None) -> None:
    """Joins the gloo process group that a launcher started, unless that is already done.

    Args:
        launcher: ``pytorch`` (torchrun), ``slurm`` or ``mpi``.
        timeout: Seconds after which a collective call that waits for another process fails.

    Raises:
        ConfigError: The launcher did not start this process, or is unknown.
    """
    if distributed.is_initialized():
        return
    export_ranks(launcher)
    distributed.init_process_group('gloo', timeout=None if timeout is None else timedelta(seconds=timeout))


def export_ranks(launcher: str) -> None:
    """Sets the environment variables that torch.distributed reads, from the launcher's.

    Args:
        launcher: ``pytorch`` (torchrun), ``slurm`` or ``mpi``.

    Raises:
        ConfigError: The launcher did not start this process, or is unknown.
    """
    try:
        _export_ranks(launcher)
    except KeyError as error:
        raise ConfigError(
            f"launcher '{launcher}' needs the environment variable {error.args[0]}: start with torchrun "
            "(`torchrun --nproc_per_node 8 -m mmav train ...`), srun or mpirun, or leave '--launcher' out for one "
            'process'
        ) from error


def _export_ranks(launcher: str) -> None:
    env = os.environ
    if launcher not in _VARIABLES:
        raise ConfigError(f"launcher must be 'none', 'pytorch', 'slurm' or 'mpi', got {launcher!r}")
    for name, given in zip(('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), _VARIABLES[launcher], strict=True):
        env[name] = env[given]
    if launcher == 'slurm' and 'MASTER_ADDR' not in env:
        env['MASTER_ADDR'] = _first_node(env['SLURM_NODELIST'])
    if launcher != 'pytorch':
        env.setdefault('MASTER_PORT', _DEFAULT_PORT)
    for name in ('MASTER_ADDR', 'MASTER_PORT'):
        env[name]


def _first_node(nodes: str) -> str:
    command = ['scontrol', 'show', 'hostnames', nodes]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise ConfigError(
            f"cannot tell the first node of '{nodes}', as {' '.join(command)} fails: set MASTER_ADDR to its address"
        ) from error


def without_gpu() -> bool:
    """Whether this process computes on the CPU."""
    return not torch.cuda.is_available()


def leave() -> None:
    """Leaves the process group, if one was joined."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
        if without_gpu():
            _let_gloo_rest()


def _let_gloo_rest(tasks: Path = Path('/proc/self/task'), patience: float = 10.0) -> None:
    """Waits until gloo's threads sleep: on a busy machine they may still be freeing their last tensors.

    Freeing needs the GIL, and a thread that requests it during interpreter shutdown aborts the process ("terminate
    called without an active exception"): torchrun then kills the others and reports a failure. DistributedDataParallel
    keeps a reference to the group, so destroying it does not end its threads.

    Args:
        tasks: Where Linux lists this process's threads; other systems just wait briefly.
        patience: Seconds after which it gives up.
    """
    deadline = time.monotonic() + patience
    asleep = 0
    # a thread that waits for the GIL also looks asleep: each of our sleeps releases it
    while asleep < _TIMES_ASLEEP and time.monotonic() < deadline:
        time.sleep(_NAP)
        asleep = 0 if _gloo_works(tasks) else asleep + 1


def _gloo_works(tasks: Path) -> bool:
    for stat in tasks.glob('*/stat'):
        with suppress(OSError):  # the thread has just ended
            # such as '71 (pt_gloo_runloop) S 1 ...', S for asleep
            name, _, rest = stat.read_text().partition('(')[2].rpartition(')')
            if 'gloo' in name and rest.split()[0] != 'S':
                return True
    return False
