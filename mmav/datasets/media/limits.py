"""What reading one file may cost, whatever the file says of itself."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import av

from mmav.errors import MediaError


@dataclass(frozen=True)
class Limits:
    """Bounds that keep a broken or hostile file from taking a machine's time and memory.

    They lie far above what recordings need. A file that goes beyond is refused, with the name of the limit.

    Attributes:
        pixels: Pixels of one picture, as it is stored.
        clip_pixels: Pixels of all frames that are held at once, as they are scaled; each takes three bytes.
        samples: Samples of sound, of all channels together, that are held at once; each takes up to four bytes.
        aspect: How many times longer than wide, or wider than long, a picture may be that is scaled by its short side.
        seconds: Seconds of processor time that one step may take: to open the file, to collect the packets of a span,
            to decode its sound, or to decode the frames that are asked for.
        gap: Seconds for which time stamps may leap over nothing at all, neither picture nor sound.

    Raises:
        ValueError: A limit is not above 0.

    >>> Limits(pixels=1920 * 1080).pixels
    2073600
    """

    pixels: int = 2**26
    clip_pixels: int = 2**30
    aspect: float = 64.0
    samples: int = 2**30
    seconds: float = 120.0
    gap: float = 3600.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f'limits: {name} must be above 0, got {value}')

    def check_picture(self, path: str, height: int, width: int) -> None:
        """Refuses pictures that are too large to be decoded.

        Raises:
            MediaError: They are.
        """
        if height * width > self.pixels:
            raise MediaError(
                path,
                f'its picture has {width} x {height} pixels, more than the {self.pixels:,} allowed; '
                'raise pixels of the limits to read it',
            )

    def check_scaling(self, path: str, size: tuple[int, int], scaled: tuple[int, int], frames: int) -> None:
        """Refuses frames that would not fit into memory.

        Args:
            path: The file.
            size: Height and width as stored.
            scaled: Height and width of the result.
            frames: How many are held.

        Raises:
            MediaError: They would not.
        """
        if scaled != size and max(size) > self.aspect * min(size):
            raise MediaError(
                path,
                f'its picture of {size[1]} x {size[0]} pixels is more than {self.aspect:g} times as long as wide, too '
                'narrow to be scaled by its short side; crop it, or raise aspect of the limits',
            )
        if scaled[0] * scaled[1] * frames > self.clip_pixels:
            raise MediaError(
                path,
                f'{frames} frames of {scaled[1]} x {scaled[0]} pixels are more than the {self.clip_pixels:,} pixels '
                'allowed at once; give a smaller short_side or fewer frames, or raise clip_pixels of the limits',
            )

    def check_sound(self, path: str, seconds: float, rate: float) -> None:
        """Refuses sound that would not fit into memory.

        Args:
            path: The file.
            seconds: How much is held at once.
            rate: Samples a second, of all channels together.

        Raises:
            MediaError: It would not.
        """
        if seconds * rate > self.samples:
            raise MediaError(
                path,
                f'{seconds:,.0f} s of its sound are more than the {self.samples:,} samples allowed at once; '
                'read a shorter window, or raise samples of the limits',
            )


class Watch:
    """Keeps the reading of one file within its limits.

    Processor time is counted, which a busy machine does not make longer.

    Args:
        path: The file.
        limits: The limits; None for the usual ones.
        threads: Threads of the decoder; with more than one, time passed is counted, as work is done in other threads.
    """

    def __init__(self, path: str, limits: Limits | None = None, *, threads: int = 1) -> None:
        self.path, self.limits = path, limits or Limits()
        self._clock = time.thread_time if threads == 1 else time.monotonic
        self._end = self._newest = 0.0
        self._leaps = 0
        self.begin()

    def begin(self) -> None:
        """Begins a step."""
        self._end = self._clock() + self.limits.seconds

    def check(self) -> None:
        """Ends a step that takes too long.

        Raises:
            MediaError: It does.
        """
        if self._clock() > self._end:
            raise MediaError(self.path, too_slow(self.limits.seconds))

    def begin_pass(self) -> None:
        """Begins a pass over packets."""
        self._newest, self._leaps = -math.inf, 0

    def check_packet(self, packet: av.Packet[Any], seconds: float) -> None:
        """Ends a pass in which time stamps leap ahead over nothing, or that meets what cannot be read.

        One packet alone that lies too far ahead may be damaged.

        Args:
            packet: A packet.
            seconds: When it is shown or heard.

        Raises:
            MediaError: The stamps leap too far, the pass takes too long, or the packet is encrypted: some decoders
                would make pictures of it.
        """
        self.check()
        if packet.has_sidedata('encryption_info'):
            raise MediaError(self.path, 'is encrypted (DRM); only a decrypted copy can be read')
        if self._newest > -math.inf and seconds > self._newest + self.limits.gap:
            self._leaps += 1
            if self._leaps > 1:
                raise MediaError(
                    self.path,
                    f'its time stamps leap from {self._newest:.1f} s to {seconds:.1f} s, with nothing between: it is '
                    'broken; write it anew with right ones, or raise gap of the limits',
                )
        else:
            self._newest, self._leaps = max(self._newest, seconds), 0


def too_slow(seconds: float) -> str:
    """The reason of a file that takes too long."""
    return f'reading it took longer than {seconds:g} s; raise seconds of the limits to allow it'
