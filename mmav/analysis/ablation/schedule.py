"""Runs many runs: a few at a time, each in a process of its own, and what others need first."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from mmav.analysis.ablation.plan import Run
from mmav.analysis.ablation.results import Result
from mmav.analysis.ablation.single_run import Task, run_logged
from mmav.errors import MmavError
from mmav.parallel import _die_with_parent

# seconds that a run has to save its position once it is asked to stop
PATIENCE = 60.0
# and after which one that another process works on is looked at again
PAUSE = 10.0
# what a run imports on its way: once for all, before they fork
IMPORTS = ('torch._dynamo', 'sklearn.cluster', *(f'mmav.{name}' for name in ('datasets', 'evaluation', 'models')))


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        run: Its run.
        result: Its result; None if it has none.
        why: Why it has none; empty if it has.
    """

    run: Run
    result: Result | None
    why: str = ''


@dataclass
class _Running:
    run: Run
    process: Any
    connection: Connection


@dataclass
class _Queue:
    """The runs that have not begun, and whether they may."""

    todo: list[Run]
    needs: Mapping[Run, Sequence[Run]]
    lost: dict[Run, str] = field(default_factory=dict)
    under_way: set[Run] = field(default_factory=set)
    # those that another process works on, and when they are tried again
    elsewhere: dict[Run, float] = field(default_factory=dict)

    def next(self) -> Run | None:
        """The first whose needs have ended."""
        waiting = {*self.todo, *self.under_way}
        now = time.monotonic()
        for run in self.todo:
            due = self.elsewhere.get(run, now) <= now
            if due and not any(need in waiting for need in self.needs.get(run, ())):
                self.todo.remove(run)
                return run
        return None

    def put_off(self, run: Run) -> bool:
        """Puts a run that another process works on behind the others; whether it is the first time."""
        first = run not in self.elsewhere
        self.elsewhere[run] = time.monotonic() + PAUSE
        self.todo.append(run)
        return first

    def require_needs(self, run: Run) -> None:
        """Refuses a run that needs the checkpoint of one that has none.

        Raises:
            MmavError: It does.
        """
        for need in self.needs.get(run, ()):
            if need in self.lost:
                raise MmavError(f'it needs {need.name}, which has no checkpoint: {self.lost[need]}')


def run_all(
    runs: Sequence[Run],
    task_of: Callable[[Run], Task],
    *,
    needs: Mapping[Run, Sequence[Run]] | None = None,
    lost: Mapping[Run, str] | None = None,
    jobs: int = 1,
    waits: Callable[[Run], None] | None = None,
) -> Iterator[Ended]:
    """Runs runs, each in a process of its own.

    A run whose folder another process works on is put behind the others and tried again, so that several of these
    programs share the runs of one folder.

    On a CPU they are forks of this process, which has imported everything, and share what it has read into memory. A
    process that uses a GPU cannot be a fork and starts anew.

    Args:
        runs: In the order in which they begin.
        task_of: What a run takes; asked when it begins.
        needs: Run -> those that have to end before, where they are among ``runs``.
        lost: Run -> why nothing that needs it can begin, of earlier ones.
        jobs: How many at a time.
        waits: Called when another process works on a run, once for each.

    Yields:
        How each ended, as they end. A process that dies is one run without a result.
    """
    queue = _Queue(list(runs), needs or {}, dict(lost or {}))
    context = _context()
    running: list[_Running] = []
    with _stoppable():
        try:
            while queue.todo or running:
                while len(running) < jobs and (run := queue.next()) is not None:
                    try:
                        queue.require_needs(run)
                        task = task_of(run)
                    except MmavError as error:
                        queue.lost[run] = str(error)
                        yield Ended(run, None, str(error))
                        continue
                    queue.under_way.add(run)
                    running.append(_start(context, run, task))
                if not running:
                    if queue.todo:  # all that is left is at work elsewhere
                        time.sleep(0.2)
                    continue
                ready = wait([each.connection for each in running], timeout=PAUSE if queue.elsewhere else None)
                for each in [each for each in running if each.connection in ready]:
                    running.remove(each)
                    queue.under_way.discard(each.run)
                    ended = _end(each)
                    if ended is None:
                        if queue.put_off(each.run) and waits is not None:
                            waits(each.run)
                        continue
                    if ended.result is None or ended.result.killed:
                        queue.lost[each.run] = ended.why or str(ended.result and ended.result.killed)
                    yield ended
        finally:
            _stop(running)


def prepare_forks() -> None:
    """Does once, before the forks, what each of them would do for itself: imports, a look at the environment."""
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork, so there must be none
    for name in IMPORTS:
        importlib.import_module(name)
    from mmengine.utils.dl_utils import collect_env

    collect_env()  # MMEngine's, for the log
    gc.collect()


def forks() -> bool:
    """Whether runs are forks of this process: not where there is a GPU, whose driver does not survive one."""
    return sys.platform == 'linux' and not torch.cuda.is_available()


def _context() -> Any:
    return multiprocessing.get_context('fork' if forks() else 'spawn')


def _start(context: Any, run: Run, task: Task) -> _Running:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(task, theirs), name=run.name)
    process.start()
    theirs.close()
    return _Running(run, process, ours)


def _serve(task: Task, connection: Connection) -> None:
    # Ctrl-C is for the parent, which asks its runs to save their positions
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    connection.send(run_logged(task))


def _end(each: _Running) -> Ended | None:
    """How a process ended; None where another one works on its run."""
    try:
        how, what = each.connection.recv()
    except (EOFError, OSError):
        each.process.join()
        code = each.process.exitcode
        how, what = 'failed', f'its process ended with exit status {code}'
        with suppress(ValueError):
            name = signal.Signals(-code).name
            what = f'its process was killed ({name})' + (', perhaps for lack of memory' if name == 'SIGKILL' else '')
    each.process.join()
    each.connection.close()
    if how == 'busy':
        return None
    return Ended(each.run, what) if how == 'done' else Ended(each.run, None, str(what))


def _stop(running: Sequence[_Running]) -> None:
    """Asks what is still under way to save its position and end, and ends it if it does not."""
    for each in running:
        each.process.terminate()
    for each in running:
        each.process.join(PATIENCE)
        if each.process.is_alive():
            each.process.kill()
            each.process.join()
        each.connection.close()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Makes SIGTERM end this process as Ctrl-C does, so that its runs save their positions."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
