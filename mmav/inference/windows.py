"""Where the windows of a long file lie."""

from __future__ import annotations

import math

from mmav.errors import ConfigError

# A file that is longer by so little is one clip, of which the pipeline takes the middle as in testing.
TOLERANCE = 1.1


def place_windows(duration: float, window: float | None, stride: float | None = None) -> list[tuple[float, float]]:
    """Spreads windows of one length over a file; the last one ends with it.

    Args:
        duration: Length of the file in seconds.
        window: Length of a window in seconds; None for one window over everything. A file up to a tenth longer has one
            window, too.
        stride: Largest distance between the starts of two windows in seconds; None for the window's length, so that
            they touch. The windows lie evenly, at this distance or a little less.

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
    if window is None or duration <= TOLERANCE * window:
        if window is not None and stride is not None and stride > window:
            raise ConfigError(
                f'stride={stride} is longer than window={window}: parts of the file would not be looked at'
            )
        return [(0.0, duration)]
    stride = window if stride is None else stride
    if stride > window:
        raise ConfigError(f'stride={stride} is longer than window={window}: parts of the file would not be looked at')
    last = duration - window
    steps = math.ceil(last / stride - 1e-9)
    return [(last * k / steps, last * k / steps + window) for k in range(steps + 1)]
