"""Works on many files in other processes, with a progress bar; a crash or hang affects no other file."""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, TypeVar, cast

import cv2
import torch
from tqdm import tqdm

from mmav.errors import ConfigError, one_line
from mmav.threads import cpu_count

Item = TypeVar('Item')
Result = TypeVar('Result')

NO_SHARED_MEMORY = 'mount /dev/shm, a larger one where it is full (a container: --shm-size=8g)'


class Lost(NamedTuple):
    """An item of which there is no result.

    Attributes:
        reason: Goes on after the name of the work: 'takes longer than 60 s'.
        timed_out: It took longer than the time limit; else it killed the process.
    """

    reason: str
    timed_out: bool = False


def shared_memory_problem(*tensors: torch.Tensor) -> str | None:
    """Moves tensors to shared memory.

    Args:
        *tensors: The tensors; defaults to a small one, as a test. Tensors that cannot be moved stay as they are.

    Returns:
        Why it failed; None if it did not.
    """
    try:
        for tensor in tensors or (torch.zeros(1),):
            tensor.share_memory_()
    except (RuntimeError, OSError) as error:
        return one_line(error)
    return None


def worker_problem() -> str | None:
    """Why this machine cannot run processes that share memory and locks; None if it can."""
    try:
        multiprocessing.get_context().Lock()
    except (OSError, ImportError) as error:
        return one_line(error)
    return shared_memory_problem()


def _end_opencv_threads() -> None:
    _OPENCV_THREADS.append(cv2.getNumThreads())
    cv2.setNumThreads(1)


def _settle_child() -> None:
    _OPENCV_THREADS.clear()
    gc.freeze()


_OPENCV_THREADS: list[int] = []
# Threads do not survive a fork, and a child that waits for one of them waits forever. OpenCV's end before
# the fork. FFmpeg's belong to objects; those that are garbage in the parent must not be collected in the child: PyAV's
# frames, which refer to themselves, hold scalers with threads. tests/test_parallel.py guards both.
if hasattr(os, 'register_at_fork'):  # not on Windows
    os.register_at_fork(
        before=_end_opencv_threads,
        after_in_parent=lambda: cv2.setNumThreads(_OPENCV_THREADS.pop()),
        after_in_child=_settle_child,
    )


def settle_worker() -> None:
    """Prepares a worker process: a single thread, as the processes are the parallelism, and an end with its parent."""
    # A crash is reported with its item; a stack trace would only break the progress bar.
    faulthandler.disable()
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)
    torch.set_num_threads(1)
    # Ctrl-C is for the parent, which ends its workers; otherwise each of them would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def run_parallel(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int | None = None,
    time_limit: float | None = None,
    label: str = '',
    done_before: int = 0,
    progress: bool = True,
) -> Iterator[tuple[int, Result | Lost]]:
    """Works on all items in other processes, with a progress bar on stderr.

    Args:
        work: A function of a module, or a partial of one, so that other processes can find it; its errors end the run.
        items: Its arguments.
        jobs: Processes; defaults to one per core.
        time_limit: Seconds after which an item is given up; None for no limit.
        label: Label of the progress bar.
        done_before: Items that an earlier run has done, for the progress bar.
        progress: Whether to show a progress bar.

    Yields:
        Index of an item and its result, as they arrive; :class:`Lost` if the item killed its process twice or took too
        long.

    Raises:
        ConfigError: ``jobs`` is below 1, or ``time_limit`` not above 0.
    """
    jobs = cpu_count() if jobs is None else jobs
    if jobs < 1:
        raise ConfigError(f'jobs must be at least 1, got {jobs}')
    if time_limit is not None and not time_limit > 0:
        raise ConfigError(f'the time limit must be above 0 seconds, got {time_limit:g}')
    if jobs > 1 and (problem := worker_problem()) is not None:
        print(f'one process alone does the work, as others cannot be started here: {problem}', file=sys.stderr)
        jobs = 1
    total = done_before + len(items)
    with tqdm(
        total=total, initial=done_before, desc=label, unit='file', file=sys.stderr, smoothing=0.1, disable=not progress
    ) as bar:
        for index, result in _in_processes(work, items, jobs, time_limit):
            bar.update()
            yield index, result


@dataclass
class _Worker:
    """A process that has one item at a time, so that it is known which item killed it."""

    process: Any
    connection: Connection
    ready: bool = False
    index: int | None = None
    started: float = 0.0

    def end(self) -> str:
        """Ends the process; returns how it ended."""
        self.process.kill()
        self.process.join()
        self.connection.close()
        code = self.process.exitcode
        with suppress(ValueError):
            return signal.Signals(-code).name
        return f'exit status {code}'


def _in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], jobs: int, time_limit: float | None
) -> Iterator[tuple[int, Result | Lost]]:
    context = _context(getattr(work, 'func', work).__module__, jobs)
    waiting, died_once = deque(range(len(items))), set[int]()
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.index is not None for worker in workers):
            while len(workers) < jobs and len(waiting) > sum(worker.index is None for worker in workers):
                workers.append(_started(context, work))
            for worker in workers:
                if worker.ready and worker.index is None and waiting:
                    worker.index, worker.started = waiting.popleft(), time.monotonic()
                    # A process that has just died is found below.
                    with suppress(OSError):
                        worker.connection.send(items[worker.index])
            under_way = [worker.started for worker in workers if worker.index is not None]
            patience = None
            if time_limit and under_way:
                patience = max(0.0, min(under_way) + time_limit - time.monotonic())
            heard = wait([worker.connection for worker in workers], timeout=patience)
            for worker in list(workers):
                index = worker.index
                if worker.connection in heard:
                    try:
                        done, result = worker.connection.recv()
                    except (EOFError, OSError):
                        workers.remove(worker)
                        worker.process.join()
                        how = worker.end()
                        if index is None:
                            raise RuntimeError(f'a process for {work} cannot start: {how}') from None
                        if index in died_once:
                            yield index, Lost(f'kills the process ({how})')
                        else:
                            # Others may have used up the memory: try once more, after them.
                            died_once.add(index)
                            waiting.append(index)
                        continue
                    if not worker.ready:
                        worker.ready = True
                        continue
                    worker.index = None
                    if not done:
                        error, trace = result
                        raise error from RuntimeError(f'in another process:\n{trace}')
                    yield cast(int, index), result
                elif index is not None and time_limit and time.monotonic() - worker.started > time_limit:
                    if worker.connection.poll():
                        # It arrived while the caller was busy.
                        continue
                    workers.remove(worker)
                    worker.end()
                    yield index, Lost(f'takes longer than {time_limit:g} s', timed_out=True)
    finally:
        for worker in workers:
            worker.end()


def _started(context: Any, work: Callable[[Item], Result]) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _serve(work: Callable[[Item], Result], connection: Connection) -> None:
    settle_worker()
    # Starting takes seconds that do not count for an item.
    connection.send((True, None))
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            answer: tuple[bool, Any] = True, work(item)
        except BaseException as error:  # noqa: BLE001, it is raised again in the parent
            answer = False, (_portable(error), traceback.format_exc())
        connection.send(answer)


def _portable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PicklingError, AttributeError, TypeError):
        return RuntimeError(f'{type(error).__name__}: {error}')
    return error


def _context(module: str, jobs: int) -> Any:
    """As :func:`worker_context`; a single process is forked from this one, as torch's DataLoader does."""
    if jobs == 1 and sys.platform == 'linux':
        return multiprocessing.get_context('fork')
    return worker_context(module)


def worker_context(module: str) -> Any:
    """A way to start processes quickly, and without locks that threads of this process hold.

    A fork server that has loaded the module takes seconds to start, once.

    Args:
        module: What the processes import.
    """
    if 'forkserver' not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context('spawn')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([module])
    return context


def _die_with_parent() -> None:
    """Ends this worker if its parent was killed; otherwise it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
