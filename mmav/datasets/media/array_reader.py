"""A clip that is already in memory, behind the interface of media readers."""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np

from mmav.datasets.media.audio import as_float, frame_of, mix, place_frames
from mmav.datasets.media.opening import Limits
from mmav.datasets.media.reader import MediaInfo, MediaReader
from mmav.datasets.media.video import scaled_size
from mmav.errors import MediaError

# More channels than any recording has: such an array has its axes swapped.
MOST_CHANNELS = 64


class ArrayReader(MediaReader):
    """Reads arrays like :class:`mmav.datasets.media.reader.MediaReader` reads a file, scaled and resampled alike.

    Args:
        video: Frames (T, H, W, 3) uint8 RGB, evenly spaced; None for none.
        fps: Frames per second; needed with ``video``.
        audio: Samples (S,), or (C, S) for several channels: floats in [-1, 1], or integers of any type over its full
            range; None for none. It starts with the first frame; if it is longer, the last frame is held. More than two
            channels are mixed like those of a file without a channel layout
            (:func:`mmav.datasets.media.audio.mono_weights`).
        sample_rate: Samples per second; needed with ``audio``.
        name: Name of the clip in messages.

    Raises:
        MediaError: Both are missing, or an array or rate is invalid.

    Attributes:
        info: What the clip holds.
        heard: Start and end of the audio in the span last read by :meth:`read_audio`, in seconds; None for none.

    >>> reader = ArrayReader(video=np.zeros((8, 24, 32, 3), np.uint8), fps=4)
    >>> reader.info.duration, reader.info.has_audio
    (2.0, False)
    """

    def __init__(
        self,
        video: np.ndarray | None = None,
        fps: float | None = None,
        audio: np.ndarray | None = None,
        *,
        sample_rate: int | None = None,
        name: str = '<arrays>',
    ) -> None:
        if video is None and audio is None:
            raise MediaError(name, 'holds neither video nor audio')
        self.heard: tuple[float, float] | None = None
        self.info = MediaInfo(path=name, duration=0.0, has_video=video is not None, has_audio=audio is not None)
        self._video = None if video is None else _frames(name, video, fps)
        self._audio = None if audio is None else _samples(name, audio, sample_rate)
        if self._audio is not None and sample_rate:
            self.info.sample_rate, self.info.channels = int(sample_rate), len(self._audio)
            self.info.duration = self._audio.shape[1] / self.info.sample_rate
        if self._video is not None and fps:
            self.info.fps = float(fps)
            self.info.height, self.info.width = self._video.shape[1:3]
            self.info.duration = max(self.info.duration, len(self._video) / self.info.fps)
        self.info.promised = self.info.duration

    def fetch(self, start: float, end: float) -> tuple[float, float]:
        """The part of the span that the clip holds."""
        return start, min(end, self.info.duration)

    def read_frames(
        self, times: Sequence[float] | np.ndarray, *, short_side: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the frames nearest to the times.

        Raises:
            MediaError: There is no video, or the frames exceed the default limits.
        """
        if self._video is None:
            raise MediaError(self.info.path, 'has no video track')
        # of two equally near frames the earlier one, as in files
        index = np.ceil(np.asarray(times, dtype=np.float64) * self.info.fps - 0.5 - 1e-9).astype(int)
        index = index.clip(0, len(self._video) - 1)
        size = self.info.height, self.info.width
        height, width = scaled_size(*size, short_side)
        Limits().check_scaling(self.info.path, size, (height, width), len(index))
        scaled = {
            k: av.VideoFrame.from_ndarray(np.ascontiguousarray(self._video[k]), format='rgb24').to_ndarray(
                format='rgb24', height=height, width=width, threads=1
            )
            for k in np.unique(index)
        }
        return np.stack([scaled[k] for k in index]), index / self.info.fps

    def read_audio(self, start: float, end: float, sample_rate: int) -> np.ndarray | None:
        """Reads the audio of the span, mixed to one channel.

        Raises:
            MediaError: There is no audio.
        """
        if self._audio is None:
            raise MediaError(self.info.path, 'has no audio track')
        first = max(0, int(start * self.info.sample_rate))
        self.heard = (start, min(end, self._audio.shape[1] / self.info.sample_rate))
        part = self._audio[:, first : int(np.ceil(end * self.info.sample_rate)) + 1]
        if not part.shape[1]:
            return None
        frame = frame_of(mix(part, ['NONE'] * len(part)), self.info.sample_rate)
        return place_frames([(first / self.info.sample_rate, frame)], start, end, sample_rate)

    def close(self) -> None:
        """Does nothing: no file is open."""


def _frames(name: str, video: np.ndarray, fps: float | None) -> np.ndarray:
    video = np.asarray(video)
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8 or 0 in video.shape:
        raise MediaError(name, f'video must be frames (T, H, W, 3) uint8 RGB, got shape {video.shape} of {video.dtype}')
    if not fps or fps <= 0:
        raise MediaError(name, f'video needs fps, its frames per second, got {fps}')
    return video


def _samples(name: str, audio: np.ndarray, sample_rate: int | None) -> np.ndarray:
    audio = np.asarray(audio)
    if audio.ndim not in (1, 2) or audio.dtype.kind not in 'fiu' or not audio.size:
        raise MediaError(name, f'audio must be samples (S,) or (C, S), got shape {audio.shape} of {audio.dtype}')
    audio = as_float(np.atleast_2d(audio))
    if len(audio) > MOST_CHANNELS:
        raise MediaError(name, f'audio of shape {audio.shape} would have {len(audio)} channels: channels come first')
    if not np.isfinite(audio).all():
        raise MediaError(name, 'audio has samples that are not finite')
    if not sample_rate or sample_rate <= 0:
        raise MediaError(name, f'audio needs sample_rate, its samples per second, got {sample_rate}')
    return audio
