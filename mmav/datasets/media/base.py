"""The interface of media readers: one clip, opened in the worker that reads it, closed after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass
class MediaInfo:
    """What a media file holds.

    Attributes:
        path: The file.
        duration: Length in seconds: from the first picture or sample, whichever comes first, to the end of the last,
            as players have it; what stands in the file, not what its header says.
        has_video: There is a picture track (cover art is none).
        has_audio: There is a sound track.
        height: Height of the picture as stored, in pixels; 0 without one.
        width: Width of the picture as stored, in pixels; 0 without one.
        fps: Average frame rate; 0 where it is unknown.
        sample_rate: Samples per second of the sound; 0 without one.
        channels: Channels of the sound; 0 without one.
        video_codec: Name of the picture's codec; empty without one.
        audio_codec: Name of the sound's codec; empty without one.
        damaged: Packets met so far that could not be decoded; what is around them was read.
        promised: Length in seconds by the file's header; 0 where it does not say.
    """

    path: str
    duration: float
    has_video: bool
    has_audio: bool
    height: int = 0
    width: int = 0
    fps: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    video_codec: str = ''
    audio_codec: str = ''
    damaged: int = 0
    promised: float = 0.0


@runtime_checkable
class MediaReader(Protocol):
    """Reads pictures and sound of one file by time.

    Times are presentation times in seconds from the first displayed frame, or from the first sample where there is no
    picture or where it starts later than an encoder's delay explains: the first frame stands before it begins, the last
    one after it has ended. Everything that fails raises :class:`mmav.errors.MediaError`.
    """

    info: MediaInfo

    def fetch(self, start: float, end: float) -> tuple[float, float]:
        """Makes the span ready for reading, in one pass over the file.

        Returns:
            The part of the span that the file really holds; its end is not after its start where it holds none, and
            ``info.duration`` is then the true one.
        """
        ...

    def read_frames(
        self, times: Sequence[float] | np.ndarray, *, short_side: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the displayed frames nearest to the times, which may come in any order and repeat.

        Args:
            times: Seconds.
            short_side: Scales the frames so that their short side has this many pixels; None keeps their size.

        Returns:
            RGB frames (T, H, W, 3) uint8, upright, and their true times (T,) in seconds.
        """
        ...

    def read_audio(self, start: float, end: float, sample_rate: int) -> np.ndarray | None:
        """Reads the sound of exactly the span, mixed to one channel.

        Returns:
            Samples (S,) float32, S = round((end - start) * sample_rate), zeros where the track holds nothing; None
            where it holds nothing in the whole span.
        """
        ...

    def close(self) -> None:
        """Closes the file."""
        ...

    def __enter__(self) -> MediaReader: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
