"""A folder of numbered images as the frames of a video."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmav.datasets.media.opening import Limits
from mmav.datasets.media.reader import MediaInfo, MediaReader
from mmav.datasets.media.video import nearest_frames, scaled_size
from mmav.errors import MediaError

SUFFIXES = frozenset(['.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff'])
# The frame rate, where the manifest does not give it.
RATE_FILES = ('fps', 'fps.txt')
# The tag of EXIF, and its values from which on rows are columns; OpenCV turns such images upright.
ORIENTATION, TURNED = 0x0112, 5
_NUMBERED = re.compile(r'(.*?)(\d+)')


class FrameFolderReader(MediaReader):
    """Reads a folder of images, such as ``frame_000001.jpg``, as a video; the first one is displayed at time zero.

    They are ordered by the number at the end of their names (2 before 10), which may start anywhere and has no gaps.

    Args:
        path: The folder.
        fps: Frames per second; None to read it from a file ``fps.txt`` in the folder.
        limits: Limits on what reading may cost; None for the defaults.

    Raises:
        MediaError: The folder cannot be read or has no images; a frame is missing; names are not numbered, or in
            several ways; or there is no frame rate.

    Attributes:
        info: What the folder holds.
        limits: Limits on what reading may cost.
    """

    def __init__(self, path: str, fps: float | None = None, *, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._files = _numbered(path)
        rate = _rate_of(path) if fps is None else fps
        self._ticks, self.clock = np.arange(len(self._files)), (1 / rate, 0.0)
        try:
            with Image.open(self._files[0]) as first:
                width, height = first.size
                if first.getexif().get(ORIENTATION, 1) >= TURNED:
                    width, height = height, width
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise MediaError(path, f'{os.path.basename(self._files[0])} is not an image: {error}') from error
        length = len(self._files) / rate
        self.info = MediaInfo(path, length, True, False, height, width, rate, video_codec='images', promised=length)

    def fetch(self, start: float, end: float) -> tuple[float, float]:
        """The part of the span that the frames cover."""
        return start, min(end, self.info.duration)

    def read_frames(
        self, times: Sequence[float] | np.ndarray, *, short_side: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the frames nearest to the times.

        Raises:
            MediaError: One is not an image, or of another size than the first.
        """
        places, true = nearest_frames(self._ticks, self.clock, np.asarray(times, np.float64))
        scaled = {place: self._scaled(place, short_side, len(places)) for place in np.unique(places).tolist()}
        return np.stack([scaled[place] for place in places.tolist()]), true

    def read_audio(self, start: float, end: float, sample_rate: int) -> np.ndarray | None:
        """Raises a MediaError: images have no audio."""
        raise MediaError(self.info.path, 'has no audio track')

    def iter_frames(self, start: float, end: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """All frames displayed in a span, with their times in seconds."""
        for place, tick in enumerate(self._ticks.tolist()):
            if start <= tick * self.clock[0] < end:
                yield tick * self.clock[0], self._frame(place)

    def iter_sampled(self, start: float, end: float) -> Iterator[tuple[float, av.VideoFrame | None]]:
        """The same: every image can be read on its own."""
        return self.iter_frames(start, end)

    def all_frames(self, start: float, end: float, *, short_side: int | None) -> Iterator[tuple[int, np.ndarray]]:
        """The scaled frames displayed in a span, the one before and the one after, with their times in ticks."""
        (first, last), _ = nearest_frames(self._ticks, self.clock, np.array([start, end]))
        for place in range(max(0, first - 1), min(len(self._ticks), last + 2)):
            yield place, self._scaled(place, short_side, 1)

    def close(self) -> None:
        """Does nothing: no file is open."""

    def _scaled(self, place: int, short_side: int | None, held: int) -> np.ndarray:
        frame = self._frame(place)
        size = frame.height, frame.width
        height, width = scaled_size(*size, short_side)
        self.limits.check_scaling(self.info.path, size, (height, width), held)
        return frame.to_ndarray(format='rgb24', height=height, width=width, threads=1)

    def _frame(self, place: int) -> av.VideoFrame:
        path, name = self.info.path, os.path.basename(self._files[place])
        self.limits.check_frame(path, self.info.height, self.info.width)
        try:
            image = cv2.imread(self._files[place], cv2.IMREAD_COLOR)
        except cv2.error as error:
            raise MediaError(path, f'{name} cannot be decoded: {error.err}') from error
        if image is None:
            raise MediaError(path, f'{name} is missing, or not an image that can be decoded')
        if image.shape[:2] != (self.info.height, self.info.width):
            raise MediaError(
                path,
                f'{name} has {image.shape[1]} x {image.shape[0]} pixels, the first frame '
                f'{self.info.width} x {self.info.height}; give all frames of a folder one size',
            )
        rgb: Any = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        return av.VideoFrame.from_ndarray(rgb, format='rgb24')


def _numbered(path: str) -> list[str]:
    """The frames of a folder in order of their numbers."""
    try:
        names = [entry.name for entry in os.scandir(path) if os.path.splitext(entry.name)[1].lower() in SUFFIXES]
    except OSError as error:
        raise MediaError(path, f'the folder cannot be read: {error.strerror}') from error
    names = [name for name in names if not name.startswith('.')]
    if not names:
        raise MediaError(path, 'the folder has no images, such as frame_000001.jpg')
    kinds: Counter[str] = Counter()
    numbers: dict[int, str] = {}
    for name in sorted(names):
        match = _NUMBERED.fullmatch(os.path.splitext(name)[0])
        if match is None:
            raise MediaError(path, f'{name} does not end in a number, as in frame_000001.jpg')
        kinds[match[1]] += 1
        number = int(match[2])
        if number in numbers and len(kinds) == 1:
            raise MediaError(path, f'{numbers[number]} and {name} are the same frame; remove one')
        numbers[number] = name
    if len(kinds) > 1:
        one, other = sorted(kinds)[:2]
        raise MediaError(path, f'its images are named in several ways, {one}... and {other}...; give each a folder')
    order = sorted(numbers)
    for before, after in itertools.pairwise(order):
        if after != before + 1:
            missing = f'frame {before + 1} is' if after == before + 2 else f'frames {before + 1} to {after - 1} are'
            raise MediaError(path, f'{missing} missing: after {numbers[before]} comes {numbers[after]}')
    return [os.path.join(path, numbers[number]) for number in order]


def _rate_of(path: str) -> float:
    for name in RATE_FILES:
        try:
            with open(os.path.join(path, name), encoding='utf-8') as file:
                text = file.read().strip()
        except OSError:
            continue
        try:
            rate = float(text)
        except ValueError:
            rate = 0.0
        if 0 < rate < float('inf'):
            return rate
        raise MediaError(path, f'{name} holds {text!r}, which is no number of frames per second')
    raise MediaError(
        path, 'frames need a rate: give it in a column fps of the manifest, or in a file fps.txt beside them'
    )
