"""Two processes that compute together, for tests of what happens between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed


@contextmanager
def join_pair(rank: int, file: str) -> Iterator[None]:
    """Joins a gloo group of two through a file, as the body of what ``torch.multiprocessing.spawn`` starts."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        'gloo', init_method=f'file://{file}', rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()
