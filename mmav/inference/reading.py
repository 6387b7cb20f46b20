"""Reads windows of clips; in threads, ahead of the model and in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from mmav.errors import MediaError
from mmav.inference.sources import Source


class Job(NamedTuple):
    """One window of one clip: the clip's index, and the window's span in seconds, None for all of the clip."""

    clip: int
    start: float | None
    end: float | None


Outcome = tuple[Job, dict[str, Any] | MediaError]


def read_span(
    pipeline: Callable[[dict[str, Any]], Any],
    source: Source,
    modalities: Sequence[str],
    *,
    start: float | None = None,
    end: float | None = None,
    drop: Sequence[str] = (),
) -> dict[str, Any]:
    """Reads one clip, or a span of it in seconds, with a test pipeline.

    Args:
        pipeline: Its steps in one call.
        source: The clip.
        modalities: What the model reads.
        start: Where the span begins; None for the start of the clip.
        end: Where it ends; None for the end of the clip.
        drop: Modalities that are withheld.

    Returns:
        ``inputs``, ``masks`` and ``data_samples``, as :class:`mmav.datasets.transforms.PackAVInputs` gives them.

    Raises:
        MediaError: It cannot be read, or has none of what the model needs.
    """
    return pipeline(
        dict(
            path=source.path,
            label={},
            start=start,
            end=end,
            sample_idx=0,
            modalities=modalities,
            dropped=tuple(drop),
            dropout=(),
            broken=None,
            rng=np.random.default_rng(0),
            **(dict(reader=source.open()) if source.in_memory else {}),
        )
    )


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
