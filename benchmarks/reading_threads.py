"""How fast threads of one process read clips, beside the processes of a DataLoader."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from benchmarks.data import one_thread
from benchmarks.machine import resident_memory


def read_batches(
    dataset: Any, collate: Callable[[Sequence[Any]], Any], batches: Sequence[Sequence[int]], threads: int
) -> Iterator[Any]:
    """Yields batches in order, each read by one of some threads, which are two batches ahead as workers are.

    Args:
        dataset: Such as :class:`mmav.datasets.AVDataset`.
        collate: Makes a batch of packed clips.
        batches: The rows of each.
        threads: How many threads read.
    """

    def read(rows: Sequence[int]) -> Any:
        return collate([dataset[row] for row in rows])

    rest, coming = iter(batches), deque[Future[Any]]()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for rows in rest:
                coming.append(pool.submit(read, rows))
                if len(coming) >= 2 * threads:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for future in coming:
                future.cancel()


def measure_threads(
    dataset: Any,
    collate: Callable[[Sequence[Any]], Any],
    *,
    threads: int,
    batch_size: int,
    clips: int,
    progress: bool = True,
) -> dict[str, Any]:
    """Reads batches by threads and discards them, as :func:`benchmarks.data.measure_loader` does by processes.

    Args:
        dataset: Such as :class:`mmav.datasets.AVDataset`.
        collate: Makes a batch of packed clips.
        threads: How many threads read.
        batch_size: Clips per batch.
        clips: How many clips to read at least while the clock runs; rounded up to whole batches.
        progress: Whether to show a progress bar.

    Returns:
        ``threads``, ``batch_size``, ``clips`` read, ``clips_per_second``, ``memory_bytes`` of the process at the end.
    """
    warm_up, number = 2 * threads, -(-clips // batch_size)
    rows = [
        [k % len(dataset) for k in range(first * batch_size, (first + 1) * batch_size)]
        # those behind keep the threads busy until the clock stops
        for first in range(2 * warm_up + number)
    ]
    with one_thread():
        found, begin = read_batches(dataset, collate, rows, threads), 0.0
        for k in tqdm(range(warm_up + number), desc=f'{threads} threads', disable=not progress, leave=False):
            if k == warm_up:
                begin = time.perf_counter()
            next(found)
        seconds = time.perf_counter() - begin
        found.close()  # type: ignore[attr-defined]
    return dict(
        threads=threads,
        batch_size=batch_size,
        clips=number * batch_size,
        clips_per_second=number * batch_size / seconds,
        memory_bytes=resident_memory(),
    )
