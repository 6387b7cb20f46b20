"""Timing several ways to do something in turn, so that what slows the machine down for a while slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from tqdm import tqdm

Way = TypeVar('Way', bound=Hashable)


def time_in_turn(
    ways: Mapping[Way, Callable[[], Any]],
    rounds: int,
    *,
    after: Callable[[], None] | None = None,
    progress: bool = False,
) -> dict[Way, list[float]]:
    """Runs every way once in each round, after one round that does not count.

    Args:
        ways: What is timed. Work on a GPU is waited for.
        rounds: How often each is timed.
        after: Called after every run, outside of the time: what must not be there at the next run is dropped.
        progress: Whether to show a progress bar.

    Returns:
        Way -> seconds of each round, in the order of the rounds.
    """
    seconds: dict[Way, list[float]] = {way: [] for way in ways}
    for number in tqdm(range(rounds + 1), desc='rounds', unit='round', disable=not progress):
        for way, run in ways.items():
            wait_for_gpu()
            begin = time.perf_counter()
            run()
            wait_for_gpu()
            duration = time.perf_counter() - begin
            if after is not None:
                after()
            if number:
                seconds[way].append(duration)
    return seconds


def wait_for_gpu() -> None:
    """Waits until the GPU, if there is one and it was used, has done what was asked of it."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """``median``, ``low`` and ``high``, the latter two the quartiles.

    >>> quartiles([1.0, 2.0, 3.0])
    {'median': 2.0, 'low': 1.5, 'high': 2.5}
    """
    low, median, high = np.percentile(values, [25, 50, 75])
    return dict(median=float(median), low=float(low), high=float(high))


def ratio(slower: Sequence[float], faster: Sequence[float]) -> dict[str, float]:
    """How many times as long one way took as another: quartiles of the ratios within the rounds, and the extremes.

    >>> ratio([2.0, 4.0, 6.0], [1.0, 2.0, 2.0])
    {'median': 2.0, 'low': 2.0, 'high': 2.5, 'least': 2.0, 'greatest': 3.0}
    """
    ratios = [a / b for a, b in zip(slower, faster, strict=True)]
    return dict(quartiles(ratios), least=min(ratios), greatest=max(ratios))
