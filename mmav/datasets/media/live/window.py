"""A window of a live source, behind the interface of media readers.

It holds decoded frames and samples, chosen by the same rules by which a file's are, so that a model sees of a stream
what it would see of a recording of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import av
import numpy as np

from mmav.datasets.media.audio import PREROLL, place_frames, seconds_of, steady
from mmav.datasets.media.opening import media_errors
from mmav.datasets.media.reader import MediaInfo, MediaReader
from mmav.datasets.media.video import nearest_frames
from mmav.errors import MediaError


class Seen(NamedTuple):
    """A frame: its time stamp in ticks and in seconds, when it arrived (``time.monotonic``), RGB (H, W, 3) uint8."""

    ticks: int
    time: float
    arrival: float
    image: np.ndarray


class Heard(NamedTuple):
    """Decoded audio: the times of its packet and of its first sample in seconds, and when it arrived."""

    begin: float
    time: float
    arrival: float
    frame: av.AudioFrame


class LiveWindow(MediaReader):
    """Reads a window that was taken from the buffer of a live source; see :class:`MediaReader` for its methods.

    Args:
        name: The source.
        end: Until when there is anything, in seconds.
        video: Frames in order of time; None without a video track.
        audio: Audio in order of time, from before the window on; None without an audio track.
        clock: Seconds per tick of the video's time stamps, and the seconds on that clock that are time zero.
        channels: Names of the audio's channels, see :func:`mmav.datasets.media.audio.settle_layout`.
        damaged: Packets that could not be decoded since the window before.

    Attributes:
        info: What the window holds.
        heard: Start and end of the audio last read, in seconds; None for none.
    """

    def __init__(
        self,
        name: str,
        end: float,
        *,
        video: Sequence[Seen] | None,
        audio: Sequence[Heard] | None,
        clock: tuple[float, float] = (1.0, 0.0),
        channels: Sequence[str] = (),
        damaged: int = 0,
    ) -> None:
        self.heard: tuple[float, float] | None = None
        # a camera may change its size; the model's frames have one
        sizes = [each.image.shape for each in video or ()]
        self._video = [each for each in video or () if each.image.shape == sizes[-1]]
        self._audio, self._clock, self._channels = list(audio or ()), clock, tuple(channels)
        self.info = MediaInfo(name, end, bool(self._video), bool(self._audio), damaged=damaged)
        if self._video:
            self.info.height, self.info.width = self._video[-1].image.shape[:2]
        if self._audio:
            self.info.sample_rate = self._audio[-1].frame.sample_rate
            self.info.channels = len(self._channels)

    def fetch(self, start: float, end: float) -> tuple[float, float]:
        """The part of the span that there is."""
        return start, min(end, self.info.duration)

    def read_frames(
        self, times: Sequence[float] | np.ndarray, *, short_side: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the frames nearest to the times; they were scaled when they arrived.

        Raises:
            MediaError: There is no video.
        """
        if not self._video:
            raise MediaError(self.info.path, 'has no video track')
        ticks = np.array([each.ticks for each in self._video])
        places, seconds = nearest_frames(ticks, self._clock, np.asarray(times, dtype=np.float64))
        return np.stack([self._video[k].image for k in places]), seconds

    def read_audio(self, start: float, end: float, sample_rate: int) -> np.ndarray | None:
        """Reads the audio of the span, mixed to one channel.

        Raises:
            MediaError: There is no audio, or it cannot be resampled.
        """
        if not self._audio:
            raise MediaError(self.info.path, 'has no audio track')
        first = max((k for k, each in enumerate(self._audio) if each.begin < start - PREROLL), default=0)
        frames = steady(
            [(each.time, each.frame) for each in self._audio[first:] if each.begin <= end + PREROLL],
        )
        inside = [time for time, _ in frames if time < end]
        after = frames[-1][0] + seconds_of(frames[-1][1]) if inside else start
        self.heard = (max(start, inside[0]), min(end, after)) if after > start else None
        with media_errors(self.info.path, 'its audio cannot be resampled'):
            return place_frames(frames, start, end, sample_rate, names=self._channels, on_damage=self.info.count_damage)

    def close(self) -> None:
        """Does nothing: the source stays open."""
