"""Which clip a data worker was reading when it died or stopped to answer."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
import weakref
from collections.abc import Collection
from typing import Any

import torch.utils.data.dataloader

# More workers at a time than any machine has; process numbers that are near each other do not meet.
SLOTS = 1024
# Seconds that are waited for the end of a process.
PATIENCE = 2.0
# As torch writes of workers that died, and of a time limit that was passed.
DEAD_WORKER = re.compile(r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)')
TIMED_OUT = re.compile(r'DataLoader timed out after')

_datasets: weakref.WeakSet[Any] = weakref.WeakSet()


def remember(dataset: Any) -> None:
    """Has a dataset asked for the clips that died with their readers.

    Args:
        dataset: An AVDataset: ``readers`` in shared memory, in which workers, forked or spawned, persistent or not,
            note what they read, and ``describe``, which names a clip. It is let go of with its last user.
    """
    _datasets.add(dataset)


def clips_of(pids: Collection[int] | None = None, *, but: Collection[int | None] = ()) -> list[str]:
    """The clips that processes of these numbers, or of all numbers but some, read, or read when they died."""
    return [
        dataset.describe(index)
        for dataset in list(_datasets)
        for pid, index in dataset.readers[dataset.readers[:, 0] > 0].tolist()
        if (pids is None or pid in pids) and pid not in but
    ]


def clips_of_lost_workers(error: BaseException) -> list[str]:
    """The clips that workers read whose connection broke: torch has not noticed yet that they died.

    Args:
        error: What the process met that reads from them.

    Returns:
        Path and place of each in its manifest; none where the error came from elsewhere.
    """
    trace = error.__traceback__
    files = []
    while trace is not None:
        files.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    if torch.utils.data.dataloader.__file__ not in files:
        return []
    # A connection breaks before its process has quite ended.
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
        message: What torch says of workers that died, or that did not answer in time.

    Returns:
        Path and place of each in its manifest; None where the message is another.
    """
    dead = DEAD_WORKER.search(message)
    if dead is None and TIMED_OUT.search(message) is None:
        return None
    # A worker that died earlier has left its row behind.
    children = {process.pid for process in multiprocessing.active_children() if process.pid is not None}
    pids = {int(pid) for pid in dead[1].split(',')} if dead else children
    return clips_of(pids)
