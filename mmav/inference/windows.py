"""The windows of a long file."""

from __future__ import annotations

import math

from mmav.errors import ConfigError, MediaError
from mmav.inference.sources import Source

# A file up to this many times as long as a window is one clip; the pipeline takes its middle as in testing.
TOLERANCE = 1.1


def place_windows(duration: float, window: float | None, stride: float | None = None) -> list[tuple[float, float]]:
    """Spreads windows of one length evenly over a file; the last one ends with it.

    Args:
        duration: Length of the file in seconds.
        window: Length of a window in seconds; None for one window over everything. A file up to a tenth longer has one
            window, too.
        stride: Most seconds between the starts of two windows; defaults to the window's length, so that they touch.

    Returns:
        Start and end of each window in seconds, ascending.

    Raises:
        ConfigError: A length is not above 0, or the stride longer than the window, which would leave gaps.

    >>> place_windows(10.0, 4.0)
    [(0.0, 4.0), (3.0, 7.0), (6.0, 10.0)]
    >>> place_windows(4.2, 4.0)
    [(0.0, 4.2)]
    """
    for name, value in dict(window=window, stride=stride).items():
        if value is not None and not value > 0:
            raise ConfigError(f'{name}={value} must be above 0 seconds')
    if window is not None and stride is not None and stride > window:
        raise ConfigError(f'stride={stride} is longer than window={window}: parts of the file would not be looked at')
    if window is None or duration <= TOLERANCE * window:
        return [(0.0, duration)]
    stride = window if stride is None else stride
    last = duration - window
    steps = math.ceil(last / stride - 1e-9)
    return [(last * k / steps, last * k / steps + window) for k in range(steps + 1)]


def windows_of(
    source: Source, window: float | None, stride: float | None, *, max_windows: int
) -> tuple[float, list[tuple[float, float]]]:
    """Length of a clip in seconds, and its windows as :func:`place_windows` gives them.

    Raises:
        ConfigError: See :func:`place_windows`.
        MediaError: The clip cannot be opened, or has more than ``max_windows`` windows.
    """
    with source.open() as reader:
        duration = reader.info.duration
    windows = place_windows(duration, window, stride)
    if len(windows) > max_windows:
        raise MediaError(
            source.path,
            f'its {duration:,.1f} s are {len(windows):,} windows, more than max_windows={max_windows:,}; raise it to '
            'read them all',
        )
    return duration, windows
