"""Where a track ends, by the time stamps of its packets."""

from __future__ import annotations

import math

# A picture may stand so many seconds. What lies further behind all others is a wrong time stamp, unless the next one
# confirms it.
STANDS = 60.0


class TrackEnd:
    """Takes the packets of a track as they come, and tells where the last one ends.

    >>> end = TrackEnd()
    >>> for time in (0.0, 0.04, 86400.0, 0.08):
    ...     end.add(time, 0.04)
    >>> end.seconds(0.0)
    0.12
    """

    def __init__(self) -> None:
        self._end = self._stamp = -math.inf
        self._number = 0
        self._doubtful: tuple[float, float] | None = None

    def add(self, time: float, duration: float) -> None:
        """Takes the time at which a packet is shown or heard and how long it lasts, 0 where it does not say."""
        self._number += 1
        doubtful, self._doubtful = self._doubtful, None
        if self._number == 2 and time < self._stamp - STANDS:
            # It was the first one that was wrong.
            self._end = self._stamp = -math.inf
        if time > self._stamp + STANDS and self._stamp > -math.inf:
            if doubtful is None or abs(time - doubtful[0]) > STANDS:
                self._doubtful = (time, duration)
                return
            self._take(*doubtful)
        self._take(time, duration)

    def add_undated(self, duration: float) -> None:
        """Takes a packet that does not say its time: it follows the one before."""
        if self._stamp > -math.inf and duration:
            self._end = max(self._end, self._stamp) + duration

    def _take(self, time: float, duration: float) -> None:
        self._stamp = max(self._stamp, time)
        if duration:
            self._end = max(self._end, time + min(duration, STANDS))

    def seconds(self, frame: float) -> float:
        """Where the last packet ends, minus infinity if there was none.

        Args:
            frame: Seconds that a packet lasts which does not say so.
        """
        return max(self._end, self._stamp + frame)
