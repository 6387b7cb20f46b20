"""How a stored picture is to be shown: turned, mirrored, or both, as a file's display matrix says."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import av
import numpy as np


class Orientation(NamedTuple):
    """What makes a stored picture upright, in this order.

    Attributes:
        transposed: Rows become columns.
        mirrored: Left becomes right.
        upside_down: Top becomes bottom.
    """

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False


AS_STORED = Orientation()


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """What makes a frame upright; what is not a multiple of 90 degrees is taken for the nearest.

    FFmpeg's matrix sends a point (x, y) of the stored picture to (a x + c y, b x + d y).
    """
    try:
        data = frame.side_data.get('DISPLAYMATRIX')
    except ValueError:
        # PyAV knows not all that may be beside a frame; of mirrored pictures it knows the angle only.
        return _turned(round(frame.rotation / 90) % 4)
    if data is None:
        return AS_STORED
    a, b, _, c, d = np.frombuffer(bytes(cast(Any, data)), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turns an image (H, W, ...) of a frame as the file says that it is to be shown."""
    orientation = orientation_of(frame)
    image = image.swapaxes(0, 1) if orientation.transposed else image
    return image[:: -1 if orientation.upside_down else 1, :: -1 if orientation.mirrored else 1]


def _turned(quarters: int) -> Orientation:
    """Quarters of a turn against the clock."""
    return (AS_STORED, Orientation(True, False, True), Orientation(False, True, True), Orientation(True, True, False))[
        quarters
    ]
