"""Windows read ahead of the model, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from mmav.errors import MediaError


class Job(NamedTuple):
    """One window of one clip: the clip's number, and its span in seconds, None for all of it."""

    clip: int
    start: float | None
    end: float | None


# what was read, or why it could not be
Outcome = tuple[Job, dict[str, Any] | MediaError]


def read_ahead(
    read: Callable[[Job], dict[str, Any]], jobs: Iterable[Job], *, workers: int, ahead: int
) -> Iterator[Outcome]:
    """Reads windows in threads, which decoders leave free to run; only so many wait in memory.

    Args:
        read: Reads one window.
        jobs: Windows; taken one after the other, as room is made.
        workers: Threads; 0 reads in the caller's.
        ahead: How many windows are read or being read before the first of them is asked for.

    Yields:
        Each job with what was read, in the order of the jobs.
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
    """Groups so many each; the last group may be smaller.

    >>> [len(group) for group in in_batches([(Job(0, None, None), {})] * 5, 2)]
    [2, 2, 1]
    """
    group: list[Outcome] = []
    for outcome in outcomes:
        group.append(outcome)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
