"""Reads a clip whose video and audio are in files of their own, each from its start."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from mmav.datasets.media.array_file import SUFFIXES, read_array_file
from mmav.datasets.media.frame_folder import FrameFolderReader
from mmav.datasets.media.opening import Limits
from mmav.datasets.media.pair_path import PairPath
from mmav.datasets.media.reader import MediaInfo, MediaReader, PyAVReader
from mmav.datasets.media.streaming import StreamReader, pieces_of
from mmav.errors import MediaError

# Opens a media file, of which one modality is read.
Opener = Callable[[str, str], PyAVReader]


class PairReader(MediaReader):
    """Reads video from one file and audio from another, which start at the same time.

    As in a single file whose tracks differ in length, the clip is as long as the longer one: the last frame is held,
    and audio ends in silence. A file's other track is ignored.

    Args:
        path: The files.
        opener: Opens a media file.
        limits: Limits on what reading frames in a folder may cost; None for the defaults.

    Raises:
        MediaError: One of the files cannot be opened.

    Attributes:
        limits: Limits on what reading the files may cost.
        heard: Start and end of the audio in the span last read by :meth:`read_audio`, in seconds; None for none.
    """

    def __init__(self, path: PairPath, opener: Opener, *, limits: Limits | None = None) -> None:
        self.heard: tuple[float, float] | None = None
        self.limits = limits or Limits()
        self._path = path
        self._parts: dict[str, Any] = {}
        with ExitStack() as stack:
            for kind, file, rate in (('video', path.video, path.fps), ('audio', path.audio, path.sample_rate)):
                if file:
                    part: MediaReader
                    if os.path.splitext(file)[1].lower() in SUFFIXES:
                        part = read_array_file(file, kind, rate)
                    elif kind == 'video' and os.path.isdir(file):
                        part = FrameFolderReader(file, rate, limits=self.limits)
                    else:
                        part = opener(file, kind)
                    stack.callback(part.close)
                    self._parts[kind] = part
            self._close = stack.pop_all().close

    @property
    def info(self) -> MediaInfo:  # type: ignore[override]
        """What both files hold."""
        parts = {kind: part.info for kind, part in self._parts.items()}
        video, audio = parts.get('video'), parts.get('audio')
        merged = replace(
            video or MediaInfo('', 0.0, False, False),
            path=self._path,
            duration=max(info.duration for info in parts.values()),
            promised=max(info.promised for info in parts.values()),
            damaged=sum(info.damaged for info in parts.values()),
        )
        if audio is None:
            return merged
        return replace(
            merged,
            has_audio=audio.has_audio,
            sample_rate=audio.sample_rate,
            channels=audio.channels,
            audio_codec=audio.audio_codec,
        )

    @property
    def sounds(self) -> StreamReader:
        """The reader of the audio, to copy it.

        Raises:
            MediaError: The audio is an array.
        """
        part = self._of('audio')
        if not isinstance(part, StreamReader):
            raise MediaError(self._path, 'audio of an array cannot be copied; give a media file')
        return part

    @property
    def pixel_ratio(self) -> float:
        """Pixel aspect ratio of the video, width over height."""
        return getattr(self._parts.get('video'), 'pixel_ratio', 1.0)

    @property
    def clock(self) -> tuple[float, float]:
        """The clock of :meth:`all_frames`."""
        return self._of('video').clock

    def fetch(self, start: float, end: float) -> tuple[float, float]:
        """Prepares a span of both files for reading.

        Raises:
            MediaError: One cannot be read.
        """
        for part in self._parts.values():
            part.fetch(*(min(time, part.info.duration) for time in (start, end)))
        return start, min(end, self.info.duration)

    def read_frames(
        self, times: Sequence[float] | np.ndarray, *, short_side: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the displayed frames nearest to the times.

        Raises:
            MediaError: There is no video, or no frame of it can be decoded.
        """
        part = self._of('video')
        return part.read_frames(np.minimum(times, part.info.duration), short_side=short_side)

    def read_audio(self, start: float, end: float, sample_rate: int) -> np.ndarray | None:
        """Reads the audio of exactly the span, mixed to mono.

        Raises:
            MediaError: There is no audio, or nothing of it can be decoded.
        """
        part = self._of('audio')
        self.heard = None
        if start >= part.info.duration:
            return None
        wave = part.read_audio(start, end, sample_rate)
        self.heard = part.heard
        return wave

    def pieces(self, start: float = 0.0, end: float = math.inf) -> Iterator[tuple[float, float]]:
        """Consecutive spans in seconds, each prepared for reading."""
        yield from pieces_of(self, start, end)

    def iter_frames(self, start: float, end: float) -> Iterator[tuple[float, Any]]:
        """All frames displayed in a span, see :meth:`mmav.datasets.media.streaming.StreamReader.iter_frames`."""
        return self._frames('iter_frames', start, end)

    def iter_sampled(self, start: float, end: float) -> Iterator[tuple[float, Any]]:
        """The frames that can be decoded on their own, the others as None."""
        return self._frames('iter_sampled', start, end)

    def all_frames(self, start: float, end: float, *, short_side: int | None) -> Iterator[tuple[int, np.ndarray]]:
        """The scaled frames displayed in a span, the one before and the one after, with their times in ticks."""
        length = self._of('video').info.duration
        return self._of('video').all_frames(min(start, length), min(end, length), short_side=short_side)

    def close(self) -> None:
        """Closes the files."""
        self._close()

    def _of(self, kind: str) -> Any:
        if kind not in self._parts:
            raise MediaError(self._path, f'has no {kind} track')
        return self._parts[kind]

    def _frames(self, method: str, start: float, end: float) -> Iterator[tuple[float, Any]]:
        part = self._of('video')
        return iter(()) if start >= part.info.duration else getattr(part, method)(start, end)
