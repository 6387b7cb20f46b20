"""Which clip a data loader worker was reading when it died or stopped responding."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
import weakref
from collections.abc import Collection
from typing import Any

import torch.utils.data.dataloader

# More workers than any machine runs at a time, so that nearby process ids do not collide.
SLOTS = 1024
# Seconds to wait for a process to end.
PATIENCE = 2.0
# torch's messages about workers that died and about timeouts.
DEAD_WORKER = re.compile(r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)')
TIMED_OUT = re.compile(r'DataLoader timed out after')

_datasets: weakref.WeakSet[Any] = weakref.WeakSet()


def remember(dataset: Any) -> None:
    """Registers a dataset to be asked which clips its dead workers were reading.

    Args:
        dataset: An AVDataset: has ``readers`` in shared memory, where workers (forked or spawned, persistent or not)
            record what they read, and ``describe``, which names a clip. It is only referenced weakly.
    """
    _datasets.add(dataset)


def clips_of(pids: Collection[int] | None = None, *, but: Collection[int | None] = ()) -> list[str]:
    """The clips that processes with these ids, or all ids except some, are reading or were reading when they died."""
    return [
        dataset.describe(index)
        for dataset in list(_datasets)
        for pid, index in dataset.readers[dataset.readers[:, 0] > 0].tolist()
        if (pids is None or pid in pids) and pid not in but
    ]


def clips_of_lost_workers(error: BaseException) -> list[str]:
    """The clips that workers with a broken connection were reading, before torch has noticed that they died.

    Args:
        error: The error of the process that reads from them.

    Returns:
        Path of each and its row in the manifest; empty if the error has another cause.
    """
    trace = error.__traceback__
    files = []
    while trace is not None:
        files.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    if torch.utils.data.dataloader.__file__ not in files:
        return []
    # A connection breaks shortly before its process has ended.
    deadline = time.monotonic() + PATIENCE
    clips: list[str] = []
    while not clips and time.monotonic() < deadline:
        living = {process.pid for process in multiprocessing.active_children()} | {os.getpid()}
        clips = clips_of(but=living)
        time.sleep(0.02)
    return clips


def clips_of_workers(message: str) -> list[str] | None:
    """The clips that the workers of this process's data loaders were reading.

    Args:
        message: torch's message about workers that died or timed out.

    Returns:
        Path of each and its row in the manifest; None for any other message.
    """
    dead = DEAD_WORKER.search(message)
    if dead is None and TIMED_OUT.search(message) is None:
        return None
    # A worker that died earlier has left its row behind.
    children = {process.pid for process in multiprocessing.active_children() if process.pid is not None}
    pids = {int(pid) for pid in dead[1].split(',')} if dead else children
    return clips_of(pids)
