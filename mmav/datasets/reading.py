"""Which clip each data worker is reading, so that its death can name it."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.utils.data.dataloader

from mmav.parallel import shared_memory_problem

# More workers at a time than any machine has; process numbers that are near each other do not meet.
SLOTS = 1024
# Seconds that are waited for the end of a process.
PATIENCE = 2.0
# As torch writes of workers that died, and of a time limit that was passed.
DEAD_WORKER = re.compile(r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)')
TIMED_OUT = re.compile(r'DataLoader timed out after')

_tables: weakref.WeakSet[ReadingTable] = weakref.WeakSet()


class ReadingTable:
    """A table in shared memory: process number of a worker and the index that it reads.

    Workers, forked or spawned, persistent or not, write into it; the process that has made it can tell after a worker's
    death.

    Args:
        describe: Names the clip of an index.
    """

    def __init__(self, describe: Callable[[int], str]) -> None:
        self._describe = describe
        self._slots = torch.zeros(SLOTS, 2, dtype=torch.int64)
        # Without shared memory there are no workers.
        shared_memory_problem(self._slots)
        _tables.add(self)

    @contextmanager
    def reading(self, index: int) -> Iterator[None]:
        """Notes that this process reads a clip."""
        pid = os.getpid()
        slot = self._slots[pid % SLOTS]
        slot[1], slot[0] = index, pid
        try:
            yield
        finally:
            slot[0] = 0

    def pids(self) -> set[int]:
        """Numbers of the processes that read, or died of it."""
        return set(self._slots[self._slots[:, 0] > 0, 0].tolist())

    def clips_of(self, pids: set[int]) -> list[str]:
        """The clips that processes of these numbers were reading."""
        rows = self._slots[self._slots[:, 0] > 0].tolist()
        return [self._describe(index) for pid, index in rows if pid in pids]


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
        clips = [clip for table in list(_tables) for clip in table.clips_of(table.pids() - living)]
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
    return [clip for table in list(_tables) for clip in table.clips_of(pids)]
