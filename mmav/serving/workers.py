"""The processes that read clips: started anew when they die, and ended when a clip takes too long."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from mmav.errors import MmavError
from mmav.parallel import worker_context
from mmav.serving.reading import ClipJob, ReaderSettings, receive, serve_jobs

START_SECONDS = 120.0  # for a process to start, which has to import PyTorch where there is no fork server
PAUSE = 1.0  # seconds between two attempts to start one
_CHECK_SECONDS = 0.05  # how often is looked whether a client has gone


class ReaderLost(Exception):
    """A clip was not read to its end.

    Args:
        cause: ``crash``, ``late`` or ``dropped``.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class ReaderProcess:
    """A process that reads one clip at a time.

    Args:
        settings: What it needs.
        clips: After so many it is replaced, so that what decoders leak does not add up.
        note_end: Told why, each time that a process had to be replaced: ``crash``, ``late``, ``dropped`` or ``age``.

    Attributes:
        pid: Its number; None while there is none.
    """

    def __init__(
        self, settings: ReaderSettings, *, clips: int = 1000, note_end: Callable[[str], None] = lambda cause: None
    ) -> None:
        self.settings, self.clips, self.note_end = settings, clips, note_end
        self._most = settings.megabytes * 2**20
        self._process: Any = None
        self._connection: Any = None
        self._done = 0

    @property
    def pid(self) -> int | None:
        """Its number; None while there is none."""
        process = self._process
        return None if process is None else process.pid

    def start(self) -> None:
        """Starts it, if it does not run.

        Raises:
            MmavError: It cannot be started.
        """
        if self._process is not None and self._process.is_alive():
            return
        self.end()
        context = worker_context(serve_jobs.__module__)
        try:
            self._connection, theirs = context.Pipe()
            process = context.Process(target=serve_jobs, args=(self.settings, theirs), daemon=True)
            process.start()
        except (OSError, EOFError, RuntimeError) as error:
            raise MmavError(f'no process that reads clips can be started: {error}') from error
        self._process, self._done = process, 0
        theirs.close()
        with suppress(EOFError, OSError, ValueError):
            if self._connection.poll(START_SECONDS) and receive(self._connection, most=0)['kind'] == 'ready':
                return
        raise MmavError(f'a process that reads clips does not start: {self.end()}')

    def read(
        self, job: ClipJob, *, deadline: float, dropped: Callable[[], bool]
    ) -> Generator[dict[str, Any], None, None]:
        """Reads a clip; the process is ended when this takes too long or nobody waits for it any more.

        Args:
            job: The clip.
            deadline: By ``time.monotonic``.
            dropped: Whether its client has gone.

        Yields:
            Messages, see :func:`mmav.serving.reading.read_job`.

        Raises:
            ReaderLost: It was not read to its end.
        """
        cause = 'dropped'  # where the caller stops to listen
        try:
            self._connection.send(job)
            while True:
                while not self._connection.poll(_CHECK_SECONDS):
                    if time.monotonic() > deadline:
                        cause = 'late'
                        raise ReaderLost(cause)
                    if dropped():
                        raise ReaderLost(cause)
                    if not self._process.is_alive() and not self._connection.poll():
                        raise EOFError
                message = receive(self._connection, most=self._most)
                if message['kind'] in ('end', 'refused'):
                    cause = ''
                yield message
                if not cause:
                    break
        except (EOFError, OSError, ValueError, KeyError, TypeError) as error:
            cause = 'crash'
            raise ReaderLost(cause) from error
        finally:
            self._done += 1
            if not cause and self._done >= self.clips:
                cause = 'age'
            if cause:
                how = self.end()
                self.note_end(cause)
                if cause == 'crash':
                    logging.getLogger('mmav').warning('a clip ended the process that read it: %s', how)

    def end(self) -> str:
        """Ends it; returns how it ended."""
        process, self._process = self._process, None
        if process is None:
            return ''
        with suppress(OSError):
            self._connection.close()
        process.join(0.2)  # it may be about to end by itself
        process.kill()
        process.join()
        code = process.exitcode or 0
        process.close()
        with suppress(ValueError):
            return signal.Signals(-code).name
        return f'exit status {code}'


class ReaderPool:
    """Threads, each with a process that reads clips.

    Args:
        settings: What the processes need.
        workers: How many.
        take: Waits for the next piece of work and gives it; None ends the thread that asked.
        work: Does it with a process that runs.
        note_end: See :class:`ReaderProcess`.
    """

    def __init__(
        self,
        settings: ReaderSettings,
        workers: int,
        *,
        take: Callable[[], Any],
        work: Callable[[ReaderProcess, Any], None],
        note_end: Callable[[str], None] = lambda cause: None,
    ) -> None:
        self._take, self._work = take, work
        self._ending = threading.Event()
        self.processes = [ReaderProcess(settings, note_end=note_end) for _ in range(workers)]
        self._threads = [
            threading.Thread(target=self._run, args=(process,), name='mmav-reader', daemon=True)
            for process in self.processes
        ]

    def start(self) -> None:
        """Starts all.

        Raises:
            MmavError: A process cannot be started.
        """
        for process in self.processes:
            process.start()
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Waits until each thread was told to end, and ends the processes."""
        self._ending.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        for process in self.processes:
            process.end()

    @property
    def running(self) -> int:
        """How many processes there are."""
        return sum(process.pid is not None for process in self.processes)

    def _run(self, process: ReaderProcess) -> None:
        while (piece := self._take()) is not None:
            while not _runs(process):
                # such as for lack of memory; its requests get their answer when their time is up
                if self._ending.wait(PAUSE):
                    return
            try:
                self._work(process, piece)
            except Exception:
                logging.getLogger('mmav').exception('a request failed')
            _runs(process)  # now, rather than when the next one waits for it


def _runs(process: ReaderProcess) -> bool:
    """Starts a process if there is none; returns whether there is one."""
    try:
        process.start()
    except MmavError as error:
        logging.getLogger('mmav').error('%s', error)
        return False
    return True
