"""Reads live sources in threads, and opens again what breaks."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log

from mmav.datasets.media.live.buffer import LiveBuffer, Segment, Taken
from mmav.datasets.media.live.connection import Connection
from mmav.datasets.media.live.sources import LiveSource, modalities_of
from mmav.datasets.media.opening import Limits, media_errors
from mmav.errors import MediaError
from mmav.structures import MODALITIES

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds before it is opened again
# The clock of a source and that of the system are one if they are this many seconds apart at most.
SAME_CLOCK = 60.0


class LiveReader:
    """Reads a live source; its windows are taken with :meth:`take`.

    Args:
        sources: From :func:`mmav.datasets.media.live.sources.list_live`.
        window: Seconds of a window.
        stride: Seconds from the start of one to the start of the next.
        modalities: What is read.
        short_side: Short side in pixels to which frames are scaled; None keeps their size.
        limits: Limits on the size of frames, and on how many are held; None for the defaults.
        skip: Whether windows are left out if the model is slower than the source.
        pace: Whether it is played at its own speed; None for files, and streams that come in pieces.
        patience: Seconds that a modality is waited for while the other arrives.
        timeout: Seconds without anything after which the source is given up, or opened again.
        retries: How often in a row a network stream that broke is opened again.
        reopen: Whether a network stream that ends is opened again, too.
    """

    def __init__(
        self,
        sources: Sequence[LiveSource],
        *,
        window: float,
        stride: float,
        modalities: Sequence[str] = MODALITIES,
        short_side: int | None = None,
        limits: Limits | None = None,
        skip: bool = True,
        pace: bool | None = None,
        patience: float = 1.0,
        timeout: float = 10.0,
        retries: int = 5,
        reopen: bool = False,
    ) -> None:
        self.name = ' + '.join(source.name for source in sources)
        self.sources, self.short_side, self.limits = list(sources), short_side, limits or Limits()
        self.skip, self.pace, self.timeout, self.retries, self.reopen = skip, pace, timeout, retries, reopen
        self.modalities = [name for name in modalities if name in modalities_of(sources)]
        settings: Any = dict(patience=patience, timeout=timeout, pixels=self.limits.clip_pixels)
        self.buffer = LiveBuffer(self.name, window, stride, skip=skip, **settings)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._running = 0
        self._shared: Segment | None = None  # of two sources
        self._begun: float | None = None

    def start(self) -> None:
        """Starts to read."""
        used = [source for source in self.sources if set(source.modalities) & set(self.modalities)]
        self._running = len(used)
        if len(used) > 1:
            self._shared = self.buffer.open(self.modalities, 0.0, None)
        for source in used:
            # one whose server is silent ends with its time-out, and must not keep the program
            thread = threading.Thread(target=self._run, args=(source,), name='mmav-live', daemon=True)
            self._threads.append(thread)
            thread.start()

    def take(self) -> Taken | None:
        """Waits for the next window, see :meth:`LiveBuffer.take`."""
        return self.buffer.take()

    @property
    def newest(self) -> float:
        """Seconds of the stream until which anything has come."""
        return self.buffer.newest

    def close(self) -> None:
        """Stops reading; a read that waits for a server ends with its time-out."""
        self._stop.set()
        self.buffer.finish()
        for thread in self._threads:
            thread.join(timeout=2.0)

    # In a thread

    def _run(self, source: LiveSource) -> None:
        error: MediaError | None = None
        tries, gap, known = 0, '', False
        while not self._stop.is_set():
            connection = Connection(self, source, gap)
            error = None
            try:
                with media_errors(source.name, 'the stream broke'):
                    connection.read()
                gap = 'the stream ended'
            except MediaError as failure:
                error, gap = failure, failure.reason
            except Exception as failure:  # noqa: BLE001 - anything else would end this thread in silence
                error = MediaError(source.name, f'cannot be read: {failure!r}')
                break
            finally:
                connection.close()
            # of what was never there nothing can come back
            known = known or connection.gave
            tries = 1 if connection.gave else tries + 1
            if source.kind != 'network' or not known or (error is None and not self.reopen):
                break
            if tries > self.retries:
                told = f'did not come back in {self.retries} tries: {gap}' if self.retries else gap
                error = MediaError(source.name, told)
                break
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)
            print_log(f'{source.name}: {gap}; opening it again in {wait:.1f} s', 'current', level=logging.WARNING)
            until = time.monotonic() + wait
            while time.monotonic() < until and not self._stop.wait(0.1):
                self.buffer.touch()
        self._end(source, error)

    def _end(self, source: LiveSource, error: MediaError | None) -> None:
        with self._lock:
            self._running -= 1
            last = self._running == 0
        if last:
            self.buffer.finish(error)
        elif error is not None:
            print_log(f'{error}; the other source goes on', 'current', level=logging.WARNING)

    def begin(self, tracks: Sequence[str], reason: str) -> Segment:
        """The segment of a new connection."""
        now = time.monotonic()
        if self._shared is not None:
            return self._shared
        if self._begun is None:
            self._begun = now
            return self.buffer.open(tracks, 0.0, None)
        before = self.buffer.newest
        offset = max(before, now - self._begun)
        return self.buffer.open(tracks, offset, dict(start=round(before, 3), end=round(offset, 3), reason=reason))

    def shift(self, first: float, arrival: float) -> float:
        """The seconds on a source's clock that are time zero of both sources, from its first time stamp.

        Where the system's clock times both, that clock is kept; otherwise what arrives together belongs together.
        """
        with self._lock:
            if self._begun is None:
                self._begun = arrival
                self._wall = time.time()
            if abs(first - time.time()) < SAME_CLOCK:
                return self._wall
            return first - (arrival - self._begun)

    @property
    def shared(self) -> bool:
        """Whether two sources are read together."""
        return self._shared is not None

    def stopped(self) -> bool:
        """Whether reading has been stopped."""
        return self._stop.is_set()

    def rest(self, seconds: float) -> None:
        """Waits until something is due."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.wait(min(left, 0.5)):
            self.buffer.touch()
