"""Batches of windows, over all requests."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from mmav.inference.results import Scores


class Window(NamedTuple):
    """A window that was read.

    Attributes:
        item: As a test pipeline gives it.
        done: Takes its scores, or the error of the model.
        dropped: Whether nobody waits for it any more.
    """

    item: dict[str, Any]
    done: Callable[[Scores | Exception], None]
    dropped: Callable[[], bool]


class Batcher:
    """Runs the model in a thread, on as many windows as wait, whosever they are.

    Args:
        run: The model: windows in, scores out, in their order.
        size: The most windows of a batch.
        wait: Seconds that the first window of a batch waits for others.
        note: Told the number of windows of each batch, and its seconds.
    """

    def __init__(
        self,
        run: Callable[[Sequence[dict[str, Any]]], list[Scores]],
        *,
        size: int,
        wait: float,
        note: Callable[[int, float], None] = lambda number, seconds: None,
    ) -> None:
        self._run, self.size, self.wait, self._note = run, size, wait, note
        # what was read and waits takes memory: readers wait in their turn
        self._windows: queue.Queue[Window | None] = queue.Queue(2 * size)
        self._thread = threading.Thread(target=self._work, name='mmav-model', daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def put(self, window: Window) -> bool:
        """Hands over a window; waits while too many wait.

        Returns:
            Whether it was taken: not if nobody waits for it any more.
        """
        while not window.dropped():
            with suppress(queue.Full):
                self._windows.put(window, timeout=0.1)
                return True
        return False

    def stop(self) -> None:
        """Ends the thread, once all that waits is done."""
        self._windows.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._windows.get()) is not None:
            batch, last = [first], False
            until = time.monotonic() + self.wait
            while len(batch) < self.size:
                try:
                    window = self._windows.get(timeout=max(0.0, until - time.monotonic()))
                except queue.Empty:
                    break
                if window is None:
                    last = True
                    break
                batch.append(window)
            for group in _of_one_shape([window for window in batch if not window.dropped()]):
                self._answer(group)
            if last:
                return

    def _answer(self, windows: Sequence[Window]) -> None:
        began = time.perf_counter()
        try:
            scores: Sequence[Scores | Exception] = self._run([window.item for window in windows])
        except Exception as error:
            logging.getLogger('mmav').exception('the model failed on %d windows', len(windows))
            scores = [error] * len(windows)
        self._note(len(windows), time.perf_counter() - began)
        for window, values in zip(windows, scores, strict=True):
            try:
                window.done(values)
            except Exception:  # noqa: PERF203, of one request; the thread works for all
                logging.getLogger('mmav').exception('an answer failed')


def _of_one_shape(windows: Sequence[Window]) -> list[list[Window]]:
    """Groups that can be stacked: pipelines without a crop keep the shapes of their clips."""
    groups: dict[tuple, list[Window]] = {}
    for window in windows:
        shapes = tuple((name, tuple(value.shape)) for name, value in window.item['inputs'].items())
        groups.setdefault(shapes, []).append(window)
    return list(groups.values())
