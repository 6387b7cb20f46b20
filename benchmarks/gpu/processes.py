"""Long checks in sections, each in its own process with a time limit, so that none loses the results of another.

On a GPU, a kernel that reads out of bounds leaves its process without a GPU, one that hangs cannot be interrupted, and
the next section lacks memory that the one before has fragmented.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch

from mmav.errors import ConfigError, one_line
from mmav.files import atomic_write

Found = TypeVar('Found')
DONE, FAILED, TIMED_OUT, LEFT_OUT = 'done', 'failed', 'out of time', 'left out'
# seconds that a section has to end by itself before it is killed, and seconds for the start and end of the whole run
GRACE, RESERVE = 10.0, 10.0
_POLL = 0.1


class OutOfTime(BaseException):
    """The time of a part is over; not an Exception, so that the part does not catch it as one of its own."""


@dataclass
class Outcome:
    """What became of a section.

    Attributes:
        status: ``DONE``, ``FAILED`` (of some part at least), ``TIMED_OUT`` (it was killed) or ``LEFT_OUT``.
        seconds: How long it took.
        results: What it found until it ended.
        errors: A line for each part that failed.
        left_out: A line for each part that was not started, with the reason.
    """

    status: str
    seconds: float = 0.0
    results: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class Report:
    """What a section reports about its parts; written after each, so that a kill loses only the part that was running.

    Args:
        path: JSON file of the report so far.
        seconds: How long the section may take from now on.
        scratch: Folder for its files, which are removed afterwards.
    """

    def __init__(self, path: Path, seconds: float, scratch: Path) -> None:
        self.path, self.scratch = path, scratch
        self._end = time.monotonic() + seconds
        self.results: dict[str, Any] = {}
        self.errors: list[str] = []
        self.left_out: list[str] = []

    @property
    def left(self) -> float:
        """Seconds that the section has left."""
        return self._end - time.monotonic()

    def put(self, **results: Any) -> None:
        """Adds results; replaces those of the same name."""
        self.results |= results
        self._write()

    def skip(self, what: str, reason: str) -> None:
        """Notes that a part was not started."""
        self.left_out.append(f'{what}: {reason}')
        self._write()

    def fail(self, what: str, reason: str) -> None:
        """Notes that a part failed."""
        self.errors.append(f'{what}: {reason}')
        self._write()

    def part(
        self,
        what: str,
        run: Callable[[], Found],
        *,
        least: float = 0.0,
        most: float = float('inf'),
        optional: bool = False,
    ) -> Found | None:
        """Runs a part of the section; if it fails or takes too long, notes that, and the section goes on.

        Args:
            what: Its name.
            run: What it does.
            least: It is not started with fewer seconds left.
            most: Seconds that it may take.
            optional: Whether a ConfigError means that the part is unavailable, such as a missing package.

        Returns:
            What ``run`` returned; None if it failed.
        """
        if self.left <= least:
            self.skip(what, f'{max(self.left, 0):.0f} s are left, it takes {least:.0f}')
            return None
        seconds = min(most, self.left)
        try:
            with _alarm(seconds):
                return run()
        except OutOfTime:
            self.fail(what, f'took more than {seconds:.0f} s')
        except ConfigError as error:
            (self.skip if optional else self.fail)(what, one_line(error))
        except Exception as error:  # noqa: BLE001  # anything that a kernel, a compiler or a driver raises
            traceback.print_exc()
            self.fail(what, f'{type(error).__name__}: {_shortened(one_line(error))}')
        # only here are the frames of the failure, and their tensors, gone
        gc.collect()
        if torch.cuda.is_initialized():
            with suppress(RuntimeError):  # a kernel left the process without a GPU: the next part will say so
                torch.cuda.empty_cache()
        return None

    def _write(self) -> None:
        content = dict(results=self.results, errors=self.errors, left_out=self.left_out)
        atomic_write(self.path, json.dumps(content).encode())


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raises :class:`OutOfTime` in the main thread after these seconds."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _shortened(text: str, length: int = 300) -> str:
    return text if len(text) <= length else text[:length] + ' ...'


class Child:
    """A process that has imported what it needs and waits for the order to begin.

    Args:
        command: What to run; it calls :func:`follow_orders`.
        log: File for its output.
    """

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        with open(log, 'wb') as file:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )

    def begin(self, report: Path, seconds: float, scratch: Path) -> None:
        """Lets it begin."""
        order = dict(report=str(report), seconds=seconds, scratch=str(scratch))
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):  # it has died, as its status shows
            stdin.write(json.dumps(order).encode() + b'\n')
            stdin.close()

    def status(self) -> int | None:
        """Its exit status; negative for a signal, None while it runs."""
        return self._process.poll()

    def end(self) -> None:
        """Kills it and all processes that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()


def follow_orders(run: Callable[[Report], None]) -> None:
    """In a :class:`Child`: waits for its order and follows it."""
    line = sys.stdin.readline()
    if not line:  # its parent is gone
        return
    order = json.loads(line)
    run(Report(Path(order['report']), order['seconds'], Path(order['scratch'])))


def run_section(
    child: Child, scratch: Path, seconds: float, *, tick: Callable[[float], None] = lambda seconds: None
) -> Outcome:
    """Lets a child run its section, and kills it if it does not end in time.

    Args:
        child: The process.
        scratch: Folder for its files.
        seconds: How long it may take; it should end by itself :data:`GRACE` earlier, but has at least half of them.
        tick: Called repeatedly with the seconds since the beginning.
    """
    report = scratch / 'report.json'
    begin = time.monotonic()
    child.begin(report, max(seconds - GRACE, seconds / 2), scratch)
    while (status := child.status()) is None and time.monotonic() - begin < seconds:
        tick(time.monotonic() - begin)
        time.sleep(_POLL)
    child.end()
    outcome = Outcome(DONE, round(time.monotonic() - begin, 1))
    if report.is_file():
        for name, value in json.loads(report.read_bytes()).items():
            setattr(outcome, name, value)
    if status is None:
        outcome.status = TIMED_OUT
        outcome.errors.append(f'killed after {seconds:.0f} s')
    elif status:
        outcome.status = FAILED
        how = f'signal {signal.Signals(-status).name}' if status < 0 else f'exit status {status}'
        outcome.errors.append(f'ended by {how}; last line: {_last_line(child.log) or "none"}')
    elif outcome.errors:
        outcome.status = FAILED
    return outcome


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding='utf-8', errors='replace').splitlines() if line.strip()]
    return _shortened(lines[-1]) if lines else ''


def run_sections(
    names: Sequence[str],
    start: Callable[[str, Path], Child],
    *,
    limits: dict[str, float],
    budget: float,
    scratch: Path,
    begun: Callable[[str, float, float], None],
    tick: Callable[[str, float], None],
    ended: Callable[[str, Outcome, Path | None], None],
) -> None:
    """Runs sections in turn. While one runs, the process of the next one starts, imports and waits.

    Args:
        names: The sections, most important first.
        start: Starts the process of a section; takes its name and its log.
        limits: Name -> seconds that it may take at most.
        budget: Seconds for all; sections that do not fit are left out.
        scratch: Folder for files.
        begun: Called with the name of a section, its seconds and the seconds left for all.
        tick: Called repeatedly with the name and the seconds since it began.
        ended: Called with the name of a section, its outcome and, if it was started, its log.
    """
    end = time.monotonic() + budget
    children: dict[str, Child] = {}

    def started(name: str) -> Child:
        if name not in children:
            children[name] = start(name, scratch / f'{name}.log')
        return children[name]

    try:
        for number, name in enumerate(names):
            left = end - time.monotonic() - RESERVE
            if left < min(GRACE, limits[name]):
                ended(name, Outcome(LEFT_OUT, left_out=[f'{max(left, 0):.0f} s of {budget:.0f} are left']), None)
                continue
            child, seconds = started(name), min(limits[name], left)
            if names[number + 1 : number + 2]:
                started(names[number + 1])
            begun(name, seconds, left)
            folder = scratch / name
            folder.mkdir()
            ended(name, run_section(child, folder, seconds, tick=partial(tick, name)), child.log)
    finally:
        for child in children.values():
            child.end()
