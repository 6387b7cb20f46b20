"""Processes that compute together, two or more, for tests of what happens between them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import cv2
import torch
from torch import distributed, multiprocessing

from tests import toys


def run_pair(work: Callable[..., None], *args: object) -> None:
    """Calls ``work(rank, *args)`` in two processes, see :func:`run_several`."""
    run_several(2, work, *args)


def run_several(count: int, work: Callable[..., None], *args: object) -> None:
    """Calls ``work(rank, *args)`` in several processes and waits for all; what one of them raises is raised here.

    They are forks of this one, which spares them the import of torch. A CUDA context does not survive a fork: where
    there is a GPU they are new.
    """
    toys.import_all()
    method = 'spawn' if torch.cuda.is_available() else 'fork'
    multiprocessing.start_processes(work, args=args, nprocs=count, start_method=method)


@contextmanager
def join_pair(rank: int, file: str) -> Iterator[None]:
    """Joins a gloo group of two through a file, as the body of what :func:`run_pair` starts."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{file}', rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def run_tool_in_pair(folder: Path, tool: str, *arguments: object) -> None:
    """Runs a tool in two processes with the variables that torchrun sets for each, in a current folder.

    What tools/dist_train.sh and tools/dist_test.sh run, but for torchrun itself, whose call is tested in
    tests/tools/test_launchers.py and which is really run by tests/test_distributed.py and tests/test_end_to_end.py.
    """
    run_tools(2, folder, (tool, *arguments, '--launcher', 'pytorch'))


def run_tools(count: int, folder: Path, *commands: Sequence[object]) -> None:
    """Runs tools one after the other in several processes with the variables that torchrun sets for each.

    Args:
        count: How many processes.
        folder: Their current folder.
        commands: Tool and arguments, ``--launcher pytorch`` included.
    """
    run_several(count, _be_one_of_torchrun, count, [free_port() for _ in commands], folder, commands)


def _be_one_of_torchrun(
    rank: int, count: int, ports: Sequence[int], folder: Path, commands: Sequence[Sequence[object]]
) -> None:
    os.chdir(folder)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count))
    torch.set_num_threads(1)
    cv2.setNumThreads(1)  # its threads do not survive a fork
    for port, (tool, *arguments) in zip(ports, commands, strict=True):
        os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        status = toys.run_tool(str(tool), *arguments)
        if status:
            raise SystemExit(status)
