"""Where in time a clip is looked at: the window, and the frames in it."""

from __future__ import annotations

import numpy as np

MODES = ('random', 'uniform')


def choose_window(
    start: float, end: float, *, window: float | None = None, rng: np.random.Generator | None = None
) -> tuple[float, float]:
    """Chooses a part of a span.

    Args:
        start: Start of the span in seconds.
        end: End of the span in seconds.
        window: Length of the part in seconds; None for the whole span. A shorter span is taken whole.
        rng: Chooses the place; None takes the middle.

    Returns:
        Start and end of the part in seconds.
    """
    spare = 0.0 if window is None else end - start - window
    if window is None or spare <= 0:
        return start, end
    begin = start + spare * (0.5 if rng is None else rng.random())
    return begin, begin + window


def sample_times(
    start: float,
    end: float,
    num_frames: int,
    *,
    num_views: int = 1,
    frame_interval: float | None = None,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Chooses the times of the frames of each view.

    Without an interval the window is cut into T segments and each view takes one time of each: at random, or view v of
    V at (v + 0.5) / V of the segment, which is its centre for one view. With an interval each view is T times that far
    apart: from a random start, or the views spread evenly from the window's start to its end. Where the window is too
    short for that, its end is repeated.

    Args:
        start: Start of the window in seconds.
        end: End of the window in seconds.
        num_frames: T.
        num_views: V.
        frame_interval: Seconds between two frames of a view.
        rng: Chooses at random; None chooses evenly.

    Returns:
        Times (V, T) in seconds, ascending within a view.

    >>> sample_times(0.0, 4.0, 4)
    array([[0.5, 1.5, 2.5, 3.5]])
    >>> sample_times(0.0, 4.0, 4, num_views=2, frame_interval=0.5)
    array([[0. , 0.5, 1. , 1.5],
           [2. , 2.5, 3. , 3.5]])
    """
    steps = np.arange(num_frames)
    if frame_interval is None:
        even = np.repeat((np.arange(num_views)[:, None] + 0.5) / num_views, num_frames, axis=1)
        inside = even if rng is None else rng.random((num_views, num_frames))
        return start + (steps + inside) * (end - start) / num_frames
    spare = max(0.0, end - start - frame_interval * num_frames)
    if rng is not None:
        begins = rng.random(num_views) * spare
    else:
        begins = np.linspace(0.0, spare, num_views) if num_views > 1 else np.array([spare / 2])
    return np.minimum(start + begins[:, None] + steps * frame_interval, end)
