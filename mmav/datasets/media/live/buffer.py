"""The newest frames and samples of a live source, from which windows are taken; it holds no more than windows need.

A source that breaks and comes back gives a new segment, with a clock of its own. A window lies in one segment: what
was lost between two is told, and never taken for a part of the stream.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from mmav.datasets.media.audio import PREROLL, seconds_of
from mmav.datasets.media.live.window import Heard, LiveWindow, Seen
from mmav.datasets.media.packets import INTERLEAVE
from mmav.errors import MediaError

# A window's audio is complete this many seconds after its end: what resampling looks ahead.
LOOK_AHEAD = 0.02
# What is left at the end is a window of its own if it is longer than this part of one.
REST = 0.1
# Frames held beyond what a window needs, in seconds, while the other track is waited for.
SPARE = 1.0
_NEAR = 1e-6  # of a stride: time stamps are rounded


class Taken(NamedTuple):
    """A window that was taken.

    Attributes:
        start: Seconds on the clock of its segment.
        end: Seconds on the clock of its segment.
        offset: Seconds of the stream at which the segment's clock begins.
        reader: Reads it.
        late: Modalities that had not arrived, or not in full.
        skipped: Windows left out before it, as newer ones were there.
        dropped: Frames before it that lie in no window.
        gap: ``start``, ``end`` and ``reason`` of the break of the stream before it; None for none.
        arrival: When its newest frame or sample arrived, by ``time.monotonic``.
    """

    start: float
    end: float
    offset: float
    reader: LiveWindow
    late: tuple[str, ...]
    skipped: int
    dropped: int
    gap: dict[str, Any] | None
    arrival: float


class Segment:
    """What came over one connection.

    Args:
        tracks: Its modalities.
        offset: Seconds of the stream at which its clock begins.
        gap: The break before it, see :class:`Taken`.

    Attributes:
        clock: Seconds per tick of the video, and the seconds that are time zero.
        channels: Names of the audio's channels.
        known: Modality -> until when it is complete, in seconds.
        step: Seconds from one frame to the next, as far as the source says.
        end: End of what has come, in seconds.
    """

    def __init__(self, tracks: Iterable[str], offset: float, gap: dict[str, Any] | None) -> None:
        now = time.monotonic()
        self.offset, self.gap = offset, gap
        self.clock: tuple[float, float] = (1.0, 0.0)
        self.channels: tuple[str, ...] = ()
        self.video: deque[Seen] = deque()
        self.audio: deque[Heard] = deque()
        self.known = dict.fromkeys(tracks, -math.inf)
        self.arrived = dict.fromkeys(tracks, now)
        self.end, self.step = 0.0, 0.0
        self.closed = False
        self.next = self.damaged = self.dropped = self.skipped = 0
        self.covered = 0.0

    def stalled(self, patience: float) -> set[str]:
        """Tracks from which nothing comes while the other goes on."""
        newest, last = max(self.known.values()), max(self.arrived.values())
        return {
            track
            for track, known in self.known.items()
            if known < newest and (last - self.arrived[track] > patience or newest - known > INTERLEAVE)
        }

    def ready(self, patience: float) -> float:
        """Until when windows are complete, or as complete as they will be, in seconds."""
        if self.closed:
            return self.end
        stalled = self.stalled(patience)
        return min(known for track, known in self.known.items() if track not in stalled)


class LiveBuffer:
    """Takes what arrives in the reader's thread, and gives windows to the model's.

    Args:
        name: The source, for messages.
        window: Seconds of a window.
        stride: Seconds from the start of one to the start of the next.
        skip: Whether only the newest window is given; otherwise all of them, and the reader has to wait.
        patience: Seconds that a modality is waited for while the other arrives.
        timeout: Seconds without anything after which the source is given up.
        pixels: The most pixels held.
    """

    def __init__(
        self, name: str, window: float, stride: float, *, skip: bool, patience: float, timeout: float, pixels: int
    ) -> None:
        self.name, self.window, self.stride, self.skip = name, window, stride, skip
        self.patience, self.timeout, self.pixels = patience, timeout, pixels
        self._segments: deque[Segment] = deque()
        self._changed = threading.Condition()
        self._over = False
        self._error: MediaError | None = None
        self._held = 0
        self._touched = time.monotonic()
        self.newest = 0.0  # seconds of the stream

    # In the reader's thread

    def open(self, tracks: Iterable[str], offset: float, gap: dict[str, Any] | None) -> Segment:
        """Begins a segment."""
        segment = Segment(tracks, offset, gap)
        with self._changed:
            # a source that comes and goes while the model is slow must not fill the memory
            while self.skip and len(self._segments) > 1:
                lost = self._segments.popleft()
                self._held -= sum(_pixels(each) for each in lost.video)
                self._segments[0].skipped += lost.skipped + self._left(lost)
                self._segments[0].dropped += lost.dropped + sum(each.time >= lost.covered for each in lost.video)
            self._segments.append(segment)
        return segment

    def add_frame(self, segment: Segment, frame: Seen) -> None:
        """Adds a frame.

        Raises:
            MediaError: The frames of a window do not fit into memory.
        """
        with self._changed:
            segment.video.append(frame)
            self._held += _pixels(frame)
            self._note(segment, 'video', frame.time, frame.time + segment.step, frame.arrival)
            if self._held > self.pixels:
                height, width = frame.image.shape[:2]
                raise MediaError(
                    self.name,
                    f'{len(segment.video)} frames of {width} x {height} pixels are more than the {self.pixels:,} '
                    'pixels held at once: give a shorter window, or a short_side to LoadClip',
                )

    def add_audio(self, segment: Segment, audio: Heard) -> None:
        """Adds decoded audio."""
        with self._changed:
            segment.audio.append(audio)
            end = audio.time + seconds_of(audio.frame)
            self._note(segment, 'audio', end - LOOK_AHEAD, end, audio.arrival)

    def _note(self, segment: Segment, track: str, known: float, end: float, arrival: float) -> None:
        segment.known[track] = max(segment.known[track], known)
        segment.arrived[track] = arrival
        segment.end = max(segment.end, end)
        self.newest = max(self.newest, segment.offset + segment.end)
        self._evict(segment)
        self._changed.notify_all()

    def _evict(self, segment: Segment) -> None:
        # the last window ends with the stream, and so may begin as early as the one before it
        keep = (segment.next - 1) * self.stride
        if self.skip:
            reach = self.window + self.stride + self.patience + SPARE
            keep = max(keep, max(segment.known.values()) - reach)
        while len(segment.video) > 1 and segment.video[1].time <= keep:
            gone = segment.video.popleft()
            self._held -= _pixels(gone)
            segment.dropped += gone.time >= segment.covered
        while len(segment.audio) > 1 and segment.audio[1].begin < keep - 2 * PREROLL:
            segment.audio.popleft()

    def touch(self) -> None:
        """Notes that the reader is alive."""
        self._touched = time.monotonic()

    def wait_for_room(self, segment: Segment, stopped: Callable[[], bool]) -> None:
        """Waits, if no window may be skipped, until the model needs more."""
        with self._changed:
            while not self.skip and not stopped():
                first = segment.next * self.stride + self.window
                newest = max(segment.known.values())
                if segment.ready(self.patience) < first + self.stride and newest < first + 2 * INTERLEAVE:
                    return
                self.touch()
                self._changed.wait(0.2)

    def close(self, segment: Segment) -> None:
        """Ends a segment."""
        with self._changed:
            segment.closed = True
            self._changed.notify_all()

    def finish(self, error: MediaError | None = None) -> None:
        """Ends the stream, with an error or without."""
        with self._changed:
            for segment in self._segments:
                segment.closed = True
            self._over, self._error = True, error
            self._changed.notify_all()

    # In the model's thread

    def take(self) -> Taken | None:
        """Waits for the next window.

        Returns:
            The window; None at the end of the stream.

        Raises:
            MediaError: The source failed, or gives nothing.
        """
        with self._changed:
            while True:
                if self._segments:
                    segment = self._segments[0]
                    chosen = self._choose(segment)
                    if chosen is not None:
                        return self._take(segment, *chosen)
                    if segment.closed:
                        self._held -= sum(_pixels(each) for each in segment.video)
                        self._segments.popleft()
                        continue
                elif self._over:
                    if self._error is not None:
                        raise self._error
                    return None
                if time.monotonic() - self._touched > 1.5 * self.timeout + 1:
                    raise MediaError(self.name, f'gave nothing for {self.timeout:g} s')
                self._changed.wait(0.1)

    def _left(self, segment: Segment) -> int:
        """How many whole windows of a segment wait."""
        room = segment.ready(self.patience) - self.window
        if room == -math.inf:
            return 0
        return max(0, math.floor(room / self.stride + _NEAR) + 1 - segment.next)

    def _choose(self, segment: Segment) -> tuple[float, float] | None:
        waiting = self._left(segment)
        if waiting:
            beyond = waiting - 1 if self.skip else 0
            segment.skipped += beyond
            start = (segment.next + beyond) * self.stride
            segment.next += beyond + 1
            return start, start + self.window
        rest = segment.end - segment.covered
        if segment.closed and rest > (REST * self.window if segment.next else 0):
            segment.next += 1
            return max(0.0, segment.end - self.window), segment.end
        return None

    def _take(self, segment: Segment, start: float, end: float) -> Taken:
        late = tuple(
            track for track, known in segment.known.items() if known < end - _NEAR * self.stride and not segment.closed
        )
        video = _around(segment.video, start, end)
        if 'video' in late and not any(start <= each.time < end for each in video):
            video = []  # a camera that stands still shows nothing
        audio = [each for each in segment.audio if each.begin <= end + PREROLL]
        inside = [each.arrival for each in video if each.time < end] + [
            each.arrival for each in audio if each.begin < end
        ]
        segment.dropped += sum(segment.covered <= each.time < start for each in segment.video)
        segment.covered = end
        taken = Taken(
            start,
            end,
            segment.offset,
            LiveWindow(
                self.name,
                max(end, segment.end) if not segment.closed else segment.end,
                video=video,
                audio=audio,
                clock=segment.clock,
                channels=segment.channels,
                damaged=segment.damaged,
            ),
            late,
            segment.skipped,
            segment.dropped,
            segment.gap,
            max(inside, default=time.monotonic()),
        )
        segment.skipped = segment.dropped = segment.damaged = 0
        segment.gap = None
        self._evict(segment)
        self._changed.notify_all()
        return taken


def _around(frames: Sequence[Seen], start: float, end: float) -> list[Seen]:
    """The frames of a span, the one before it and the one after it."""
    frames = list(frames)
    first = max((k for k, each in enumerate(frames) if each.time <= start), default=0)
    last = next((k for k, each in enumerate(frames) if each.time >= end), len(frames) - 1)
    return frames[first : last + 1]


def _pixels(frame: Seen) -> int:
    return frame.image.shape[0] * frame.image.shape[1]
