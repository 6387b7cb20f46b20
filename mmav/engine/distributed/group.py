"""Process groups on machines without a GPU, where MMEngine's own set-up fails."""

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
# Seconds from one look at gloo's threads to the next, and how often in a row they have to sleep.
_NAP, _TIMES_ASLEEP = 0.005, 3


def init_gloo(launcher: str, timeout: float | None = None) -> None:
    """Joins the gloo process group that a launcher started, unless it is joined already.

    Args:
        launcher: ``pytorch`` (torchrun), ``slurm`` or ``mpi``.
        timeout: Seconds after which a collective call that waits for another process fails.

    Raises:
        ConfigError: The process was not started by that launcher, or the launcher is unknown.
    """
    if distributed.is_initialized():
        return
    try:
        _export_ranks(launcher)
    except KeyError as error:
        raise ConfigError(
            f"launcher '{launcher}' needs the environment variable {error.args[0]}: start with tools/dist_train.sh "
            "(torchrun), srun or mpirun, or leave '--launcher' out for one process"
        ) from error
    distributed.init_process_group('gloo', timeout=None if timeout is None else timedelta(seconds=timeout))


def _export_ranks(launcher: str) -> None:
    """Sets the variables that torch.distributed reads from those that the launcher gave."""
    env = os.environ
    if launcher == 'pytorch':
        for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
            env[name]
    elif launcher == 'slurm':
        env['RANK'], env['WORLD_SIZE'] = env['SLURM_PROCID'], env['SLURM_NTASKS']
        env['LOCAL_RANK'] = env['SLURM_LOCALID']
        if 'MASTER_ADDR' not in env:
            env['MASTER_ADDR'] = _first_node(env['SLURM_NODELIST'])
        env.setdefault('MASTER_PORT', _DEFAULT_PORT)
    elif launcher == 'mpi':
        env['RANK'], env['WORLD_SIZE'] = env['OMPI_COMM_WORLD_RANK'], env['OMPI_COMM_WORLD_SIZE']
        env['LOCAL_RANK'] = env['OMPI_COMM_WORLD_LOCAL_RANK']
        env['MASTER_ADDR']
        env.setdefault('MASTER_PORT', _DEFAULT_PORT)
    else:
        raise ConfigError(f"launcher must be 'none', 'pytorch', 'slurm' or 'mpi', got {launcher!r}")


def _first_node(nodes: str) -> str:
    command = ['scontrol', 'show', 'hostnames', nodes]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise ConfigError(
            f"cannot tell the first node of '{nodes}', as {' '.join(command)} fails: set MASTER_ADDR to its address"
        ) from error


def without_gpu() -> bool:
    """Tells whether this process computes on the CPU."""
    return not torch.cuda.is_available()


def leave() -> None:
    """Leaves the process group, if one was joined."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
        if without_gpu():
            _let_gloo_rest()


def _let_gloo_rest(tasks: Path = Path('/proc/self/task'), patience: float = 10.0) -> None:
    """Waits until the threads of gloo sleep, as on a busy machine they may still have to free their last tensors.

    Freeing one takes Python's lock, and a thread that asks for it while the interpreter ends aborts the process
    ("terminate called without an active exception"): torchrun then ends the others and reports a failure.
    DistributedDataParallel keeps the group, so that leaving it does not end its threads.

    Args:
        tasks: Where Linux tells of this process's threads; elsewhere a short while has to do.
        patience: Seconds after which it gives up.
    """
    deadline = time.monotonic() + patience
    asleep = 0
    # a thread that waits for Python's lock sleeps, too: with each of ours it gets that lock
    while asleep < _TIMES_ASLEEP and time.monotonic() < deadline:
        time.sleep(_NAP)
        asleep = 0 if _gloo_works(tasks) else asleep + 1


def _gloo_works(tasks: Path) -> bool:
    for stat in tasks.glob('*/stat'):
        with suppress(OSError):  # a thread that has just ended
            # such as '71 (pt_gloo_runloop) S 1 ...', S for one that sleeps
            name, _, rest = stat.read_text().partition('(')[2].rpartition(')')
            if 'gloo' in name and rest.split()[0] != 'S':
                return True
    return False
