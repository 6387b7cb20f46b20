"""Reads windows in threads, ahead of the model and in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

from mmav.errors import MediaError


class Job(NamedTuple):
    """One window of one clip: the clip's index, and the window's span in seconds, None for all of the clip."""

    clip: int
    start: float | None
    end: float | None


Outcome = tuple[Job, dict[str, Any] | MediaError]


def read_ahead(
    read: Callable[[Job], dict[str, Any]], jobs: Iterable[Job], *, workers: int, ahead: int
) -> Iterator[Outcome]:
    """Reads windows in threads (decoders release the GIL), and holds only so many in memory.

    Args:
        read: Reads one window.
        jobs: Windows; taken one by one, as there is room.
        workers: Threads; 0 reads in the caller's.
        ahead: Most windows that are read, or being read, before the first of them is consumed.

    Yields:
        Each job, in order, with what was read or why it could not be.
    """

    def attempt(job: Job) -> Outcome:
        try:
            return job, read(job)
        except MediaError as error:
            return job, error

    if workers < 1:
        yield from map(attempt, jobs)
        return
    executor = ThreadPoolExecutor(workers, thread_name_prefix='mmav-read')
    try:
        waiting = deque()  # type: ignore[var-annotated]
        for job in jobs:
            waiting.append(executor.submit(attempt, job))
            if len(waiting) >= max(1, ahead):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def in_batches(outcomes: Iterable[Outcome], size: int) -> Iterator[list[Outcome]]:
    """Groups of ``size``; the last one may be smaller.

    >>> [len(group) for group in in_batches([(Job(0, None, None), {})] * 5, 2)]
    [2, 2, 1]
    """
    iterator = iter(outcomes)
    while group := list(islice(iterator, size)):
        yield group
