"""Work on many files in several processes: results as they come, a progress bar, a dying worker harms no other."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch
from tqdm import tqdm

from mmav.errors import ConfigError, MmavError, OutputError, one_line

Item = TypeVar('Item')
Result = TypeVar('Result')

# What to do about it.
NO_SHARED_MEMORY = 'mount /dev/shm, a larger one where it is full (a container: --shm-size=8g)'
# Items handed to the pool at once, for each process: enough that none waits.
AHEAD = 4


def cpu_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def shared_memory_problem(*tensors: torch.Tensor) -> str | None:
    """Moves tensors to memory that other processes see.

    Args:
        *tensors: What is moved; a small one is tried where there is none. What cannot be moved stays as it is.

    Returns:
        What is wrong, None where all went well.
    """
    try:
        for tensor in tensors or (torch.zeros(1),):
            tensor.share_memory_()
    except (RuntimeError, OSError) as error:
        return one_line(error)
    return None


def worker_problem() -> str | None:
    """Why this machine cannot run processes that share memory and locks; None where it can."""
    try:
        multiprocessing.get_context().Lock()
    except (OSError, ImportError) as error:
        return one_line(error)
    return shared_memory_problem()


def start_worker() -> None:
    """Prepares a process of a pool: one thread, since the processes are the parallelism, and an end with its parent."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    # Ctrl-C is for the parent, which ends its workers; each of them would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def run_parallel(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int | None = None,
    label: str = '',
    done_before: int = 0,
) -> Iterator[tuple[int, Result | None]]:
    """Works on all items, under a progress bar on stderr.

    Args:
        work: A function of a module, or a partial of one, so that other processes can find it; what it raises ends all.
        items: What it is called with.
        jobs: Processes; None for one a core; 1 for this process itself.
        label: Says in the progress bar what is done.
        done_before: Items that an earlier run has done, for the progress bar.

    Yields:
        Index of an item and its result, as they come; None where the process died of it, twice.

    Raises:
        ConfigError: ``jobs`` is below 1.
    """
    jobs = cpu_count() if jobs is None else jobs
    if jobs < 1:
        raise ConfigError(f'jobs must be at least 1, got {jobs}')
    if jobs > 1 and (problem := worker_problem()) is not None:
        print(f'one process alone does the work, as others cannot be started here: {problem}', file=sys.stderr)
        jobs = 1
    total = done_before + len(items)
    with tqdm(total=total, initial=done_before, desc=label, unit='file', file=sys.stderr, smoothing=0.1) as bar:
        results = ((i, work(item)) for i, item in enumerate(items)) if jobs == 1 else _in_pools(work, items, jobs)
        for index, result in results:
            bar.update()
            yield index, result


def _in_pools(work: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> Iterator[tuple[int, Result | None]]:
    waiting = deque(range(len(items)))
    while waiting:
        lost = yield from _in_one_pool(work, items, waiting, jobs)
        for index in lost:
            # One of these killed its process, and with it the pool: each alone tells which.
            alone = deque([index])
            if (yield from _in_one_pool(work, items, alone, 1)):
                yield index, None


def _in_one_pool(work: Callable[[Item], Result], items: Sequence[Item], waiting: deque[int], jobs: int) -> Any:
    """Works until nothing waits or the pool breaks; returns the items that were under way then."""
    pool = ProcessPoolExecutor(jobs, _context(getattr(work, 'func', work).__module__), initializer=start_worker)
    running: dict[Future[Result], int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < AHEAD * jobs:
                running[pool.submit(work, items[waiting[0]])] = waiting[0]
                waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = future.result()
                yield running.pop(future), result
    except BrokenProcessPool:
        return list(running.values())
    finally:
        pool.shutdown(cancel_futures=True)
    return []


def _context(module: str) -> Any:
    """Processes forked from a clean server that has the module loaded: quick to start, and no locks are inherited."""
    if 'forkserver' not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context('spawn')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([module])
    return context


def _die_with_parent() -> None:
    """Ends this worker when its parent was killed: a pool's workers would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def read_settings(path: str | Path) -> dict[str, Any] | None:
    """The settings of the run that wrote a journal; None where there is none."""
    lines = _read_lines(Path(path))
    return lines[0].get('settings') if lines else None


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return []
    lines: list[dict[str, Any]] = []
    for line in text.splitlines():
        with suppress(ValueError):
            lines.append(json.loads(line))
    return lines


class Journal:
    """Results of a long run, one JSON object a line, written as they come: a killed run goes on where it was.

    Args:
        path: The file. Its first line holds the settings.
        settings: What the results depend on; a journal of other settings is started anew.

    Raises:
        MmavError: The file cannot be written.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.settings = dict(settings)
        self._refuse_another()
        self.entries = self._read()
        # Written anew, which drops a line that a kill has torn.
        lines = [dict(settings=self.settings), *self.entries]
        part = self.path.with_name(self.path.name + '.part')
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(''.join(json.dumps(line) + '\n' for line in lines), encoding='utf-8')
            os.replace(part, self.path)
            self._file = self.path.open('a', encoding='utf-8')
        except OSError as error:
            is_file = self.path.parent.is_file()
            reason = 'its folder is a file' if is_file else error.strerror or str(error)
            raise MmavError(f"cannot write '{self.path}': {reason}; give another folder to write to") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, entry: Mapping[str, Any]) -> None:
        """Writes a result down."""
        self._file.write(json.dumps(entry) + '\n')
        self._file.flush()

    def _refuse_another(self) -> None:
        """What was not written as a journal is not replaced by one."""
        lines = _read_lines(self.path)
        if self.path.is_file() and self.path.stat().st_size and not (lines and 'settings' in lines[0]):
            raise OutputError(f"'{self.path}' is not the journal of an earlier run: give another folder to write to")

    def _read(self) -> list[dict[str, Any]]:
        lines = _read_lines(self.path)
        same = bool(lines) and lines[0].get('settings') == json.loads(json.dumps(self.settings))
        return lines[1:] if same else []
