"""When to count what all workers have done to millions of clips: doing it after each would take longer than a clip."""

from __future__ import annotations

from torch.utils.data import get_worker_info

# Clips up to which counting takes some microseconds, and is done each time.
COUNTED_ALWAYS = 100_000


class Seldom:
    """Tells this process when to count again.

    Args:
        number: How many clips there are to be counted.
    """

    def __init__(self, number: int) -> None:
        self._always = number <= COUNTED_ALWAYS
        self._left = 0.0

    def due(self, events: int = 1) -> bool:
        """Whether it is time to count, after so many more events in this process."""
        self._left -= events
        return self._always or self._left <= 0

    def wait(self, events: float) -> None:
        """Waits until all workers together have had so many events.

        Each knows of its own only. Workers do not have exactly as many: waiting for half of its share, each is on the
        safe side.
        """
        worker = get_worker_info()
        self._left = events / (1 if worker is None else 2 * worker.num_workers)
