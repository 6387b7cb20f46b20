"""Readers that decode a clip once: one stores what it decodes, the other answers from what was stored.

What is stored answers a request only if it equals, bit for bit, what reading the file would give:

- Where the same frames and samples are asked for every time, as in testing, the answers themselves are stored.
- Otherwise all displayed frames of the clip are. They are compared with those of the ordinary reading that comes
  before, as seeking into some files gives other frames than reading them from the start.
- Audio that is asked for in changing windows is read from the file: a decoder's and a resampler's samples depend on
  where they start. That takes a small part of the time that video takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

import numpy as np

from mmav.datasets.media.reader import MediaInfo, MediaReader
from mmav.datasets.media.stored_clip import ClipWriter, DamagedClip, StoredClip, write_clip
from mmav.datasets.media.video import nearest_frames
from mmav.errors import MediaError

Opener = Callable[[], MediaReader]


class Unstorable(Exception):
    """Stored frames could differ from those of an ordinary reading; the text says why."""


@dataclass(frozen=True)
class Part:
    """Which part of a file is stored.

    Attributes:
        start: Start of the clip in seconds of the file; None for the file's.
        end: End of the clip; None for the file's.
        modalities: Modalities that are read.
        short_side: Short side of the frames in pixels; None keeps the file's size.
        sample_rate: Samples per second of the audio.
        fixed: Whether the same frames and samples are read every time.
    """

    start: float | None
    end: float | None
    modalities: tuple[str, ...]
    short_side: int | None
    sample_rate: int
    fixed: bool

    def span(self, duration: float) -> tuple[float, float]:
        """Start and end in seconds, given the length of the file."""
        return self.start or 0.0, duration if self.end is None else min(self.end, duration)


class StoringReader(MediaReader):
    """Reads a clip and, once it was read without error, stores it decoded.

    Args:
        reader: Reads it; closed with this one.
        part: What to store.
        target: Name of the stored clip.
        told: Called when the clip was stored, with the number of bytes; or with the reason why it was not: a file of a
            kind that cannot be stored, or an OSError. Not called if the reading failed.
    """

    def __init__(
        self, reader: MediaReader, part: Part, target: str, *, told: Callable[[int | str | OSError], None]
    ) -> None:
        self._reader, self._part, self._target, self._told = reader, part, target, told
        self._promised_length = reader.info.duration
        self._frames: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._wave: tuple[tuple[float, float, int], np.ndarray | None, tuple[float, float] | None] | None = None

    @property
    def info(self) -> MediaInfo:  # type: ignore[override]
        """What the clip holds."""
        return self._reader.info

    @property
    def heard(self) -> tuple[float, float] | None:
        """Start and end of the audio in the span last read, in seconds; None for none."""
        return self._reader.heard  # type: ignore[attr-defined]

    def fetch(self, start: float, end: float) -> tuple[float, float]:
        """Prepares a span for reading."""
        return self._reader.fetch(start, end)

    def close(self) -> None:
        """Closes the clip."""
        self._reader.close()

    def read_frames(
        self, times: Sequence[float] | np.ndarray, *, short_side: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the displayed frames nearest to the times."""
        frames, true = self._reader.read_frames(times, short_side=short_side)
        self._frames = np.array(times, np.float64), frames, true
        return frames, true

    def read_audio(self, start: float, end: float, sample_rate: int) -> np.ndarray | None:
        """Reads the audio of exactly the span, mixed to mono."""
        wave = self._reader.read_audio(start, end, sample_rate)
        self._wave = (start, end, sample_rate), wave, self.heard
        return wave

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._store()
        finally:
            self.close()

    def _store(self) -> None:
        if self._frames is None and self._wave is None:
            return
        try:
            try:
                with write_clip(self._target) as writer:
                    self._write(writer)
            except (Unstorable, MediaError) as reason:
                # Remembered, so that it is not tried again.
                with write_clip(self._target) as writer:
                    writer.notes['refused'] = getattr(reason, 'reason', None) or str(reason)
                self._told(writer.notes['refused'])
            else:
                self._told(os.stat(self._target).st_size)
        except OSError as failure:
            self._told(failure)

    def _write(self, writer: ClipWriter) -> None:
        if self.info.duration != self._promised_length:
            raise Unstorable('its length is only known once it was read')
        if not self._part.fixed and self.info.damaged:
            raise Unstorable('it is damaged')
        writer.notes['info'] = {k: v for k, v in asdict(self.info).items() if k != 'path'}
        span = self._part.span(self.info.duration)
        self._read_withheld(*span)
        if self._wave is not None and (self._part.fixed or self._wave[0][:2] == span):
            asked, wave, heard = self._wave
            writer.notes.update(asked=asked, heard=heard)
            if wave is not None:
                writer.arrays['wave'] = wave
        if self._frames is None:
            if 'asked' not in writer.notes:
                raise Unstorable('it has only audio, longer than the window')
            return
        (self._write_answers if self._part.fixed else self._write_all)(writer, *self._frames)

    def _read_withheld(self, start: float, end: float) -> None:
        """Reads what is to be stored and was withheld this time, which only training does."""
        wanted = self._part.modalities
        if self._frames is None and self.info.has_video and 'video' in wanted:
            self.read_frames(np.linspace(start, end, 3), short_side=self._part.short_side)
        if self._wave is None and self.info.has_audio and 'audio' in wanted:
            self.read_audio(start, end, self._part.sample_rate)

    def _write_answers(self, writer: ClipWriter, times: np.ndarray, frames: np.ndarray, true: np.ndarray) -> None:
        _, first, places = np.unique(true, return_index=True, return_inverse=True)
        for k in first:
            writer.add(frames[k])
        writer.arrays.update(times=times, true=true, places=places.astype(np.int64))

    def _write_all(self, writer: ClipWriter, times: np.ndarray, frames: np.ndarray, true: np.ndarray) -> None:
        source: Any = self._reader
        if not hasattr(source, 'all_frames'):
            raise Unstorable('it is read from arrays')
        read = dict(zip(true.tolist(), frames, strict=True))
        base, origin = source.clock
        ticks: list[int] = []
        for tick, image in source.all_frames(*self._part.span(self.info.duration), short_side=self._part.short_side):
            if image.shape != frames.shape[1:]:
                raise Unstorable('the size of its frames changes')
            known = read.get(tick * base - origin)
            if known is not None and not np.array_equal(known, image):
                raise Unstorable('its frames depend on where decoding starts')
            ticks.append(tick)
            writer.add(image)
        if self.info.damaged:
            raise Unstorable('it is damaged')
        writer.arrays['ticks'] = np.array(ticks, np.int64)
        writer.notes['clock'] = base, origin
        if not np.array_equal(nearest_frames(writer.arrays['ticks'], (base, origin), times)[1], true):
            raise Unstorable('its frames depend on where decoding starts')


class CachedReader(MediaReader):
    """Answers from a stored clip, and from the file what is not stored.

    Args:
        path: The clip's path.
        clip: The stored clip; closed with this reader.
        part: What was stored.
        opener: Opens the file.
        forget: Called if the stored clip turns out to be damaged; the file is then read.

    Attributes:
        info: What the file holds.
        heard: Start and end of the audio in the span last read by :meth:`read_audio`, in seconds; None for none.
    """

    def __init__(self, path: str, clip: StoredClip, part: Part, *, opener: Opener, forget: Callable[[], None]) -> None:
        self.info = MediaInfo(path=path, **clip.notes['info'])
        self.heard: tuple[float, float] | None = None
        self._clip, self._part, self._opener, self._forget = clip, part, opener, forget
        self._span: tuple[float, float] | None = None
        self._file: MediaReader | None = None

    def fetch(self, start: float, end: float) -> tuple[float, float]:
        """The part of the span that the file really holds."""
        self._span = start, end
        return start, min(end, self.info.duration)

    def read_frames(
        self, times: Sequence[float] | np.ndarray, *, short_side: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the displayed frames nearest to the times.

        Raises:
            MediaError: They are not stored, and the file cannot be read.
        """
        places, true = self._places(np.asarray(times, np.float64))
        if places is not None and short_side == self._part.short_side:
            try:
                return self._clip.frames(places), true
            except DamagedClip:
                self._forget()
        return self._opened().read_frames(times, short_side=short_side)

    def read_audio(self, start: float, end: float, sample_rate: int) -> np.ndarray | None:
        """Reads the audio of exactly the span, mixed to mono.

        Raises:
            MediaError: It is not stored, and the file cannot be read.
        """
        if self._clip.notes.get('asked') == [start, end, sample_rate]:
            heard, wave = self._clip.notes['heard'], self._clip.arrays.get('wave')
            self.heard = None if heard is None else (heard[0], heard[1])
            return None if wave is None else wave.copy()
        reader = self._opened()
        wave = reader.read_audio(start, end, sample_rate)
        self.heard, self.info.damaged = reader.heard, reader.info.damaged  # type: ignore[attr-defined]
        return wave

    def close(self) -> None:
        """Closes the stored clip, and the file if it was opened."""
        self._clip.close()
        if self._file is not None:
            self._file.close()

    def _places(self, times: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        stored = self._clip.arrays
        if 'ticks' in stored:
            return nearest_frames(stored['ticks'], self._clip.notes['clock'], times)
        if 'times' in stored and np.array_equal(stored['times'], times):
            return stored['places'], stored['true'].copy()
        return None, times

    def _opened(self) -> MediaReader:
        """The file, with the same span fetched as in an ordinary reading."""
        if self._file is None:
            self._file = self._opener()
            if self._span is not None:
                self._file.fetch(*self._span)
        return self._file


def remove_damaged(path: str) -> None:
    """Removes a stored clip that is damaged."""
    with suppress(OSError):
        os.unlink(path)
