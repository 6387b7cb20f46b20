"""Reads a file from start to end, frame by frame, for code that measures or rewrites it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from mmav.datasets.media.audio import seconds_of
from mmav.datasets.media.opening import media_errors
from mmav.datasets.media.reader import MediaReader, PyAVReader
from mmav.datasets.media.video import lacks_pts, scaled_size, upright

# Seconds read at once and held in compressed form.
PIECE = 30.0
# The largest pixel aspect ratio of any recording.
MOST_STRETCHED = 16.0


def pieces_of(reader: MediaReader, start: float, end: float) -> Iterator[tuple[float, float]]:
    """Consecutive spans of a reader's clip in seconds, each prepared for reading."""
    position = start
    while position < min(end, reader.info.duration):
        _, stop = reader.fetch(position, min(position + PIECE, end, reader.info.duration))
        if stop <= position:
            return
        yield position, stop
        position = stop


class StreamReader(PyAVReader):
    """Reads one media file like :class:`PyAVReader`, and also all frames of a span one after another."""

    def pieces(self, start: float = 0.0, end: float = math.inf) -> Iterator[tuple[float, float]]:
        """Consecutive spans of the file in seconds, each prepared for reading."""
        yield from pieces_of(self, start, end)

    def iter_frames(self, start: float, end: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Decodes all displayed frames of a span, one after another.

        Args:
            start: Seconds.
            end: Seconds; a frame displayed at this very time is not part of the span.

        Yields:
            Time in seconds, ascending, and frame as stored, not yet rotated upright.

        Raises:
            MediaError: There is no video track.
        """
        packets, (base, origin) = self._packets_of('video', start, end)
        # Slightly early, so that a frame exactly at the time is not lost to rounding.
        first, last = ((second + origin) / base - 1e-3 for second in (start, end))
        if not lacks_pts(self.video_stream) and all(
            packet.pts is not None and packet.pts < first for packet in packets
        ):
            # The last frame is still displayed: there is no later one.
            return
        for ticks, frame in self._decoder.frames(packets):
            if ticks >= last:
                return
            if ticks >= first:
                yield ticks * base - origin, frame
                self._watch.begin()

    def iter_sampled(self, start: float, end: float) -> Iterator[tuple[float, av.VideoFrame | None]]:
        """Like :meth:`iter_frames`, but decodes only keyframes, which takes a small part of the time.

        Yields:
            Time in seconds, and the frame, or None for frames that are not decoded.

        Raises:
            MediaError: There is no video track.
        """
        packets, (base, origin) = self._packets_of('video', start, end)
        for packet in packets:
            ticks = packet.dts if lacks_pts(self.video_stream) else packet.pts
            if ticks is None or packet.is_discard or not start <= ticks * base - origin + 1e-6 < end:
                continue
            self._watch.begin()
            frames = self._decoder.frames([packet]) if packet.is_keyframe else iter(())
            yield ticks * base - origin, next(frames, (0, None))[1]

    @property
    def sounds(self) -> StreamReader:
        """The reader of the audio, to copy it: this one."""
        return self

    @property
    def clock(self) -> tuple[float, float]:
        """Seconds per tick of the video track, and the seconds on its clock that are time zero."""
        return self._packets.clock(self.video_stream)

    def all_frames(self, start: float, end: float, *, short_side: int | None) -> Iterator[tuple[int, np.ndarray]]:
        """Decodes the frames displayed in a span, with the one before it and the one after.

        Args:
            start: Seconds.
            end: Seconds.
            short_side: Short side in pixels to which frames are scaled; None keeps their size.

        Yields:
            Time in ticks, ascending, and RGB frame (H, W, 3) uint8, upright.

        Raises:
            MediaError: There is no video track, or it cannot be decoded.
        """
        with media_errors(self.info.path, 'its video track cannot be decoded'):
            for tick, frame in self._in_pieces(start, end):
                height, width = scaled_size(frame.height, frame.width, short_side)
                yield tick, upright(frame.to_ndarray(format='rgb24', height=height, width=width, threads=1), frame)
                self._watch.begin()

    def _in_pieces(self, start: float, end: float) -> Iterator[tuple[int, av.VideoFrame]]:
        """Like :meth:`_around`, without holding more than a piece in compressed form."""
        last: int | None = None
        while True:
            stop = min(start + PIECE, end)
            for tick, frame in self._around(start, stop):
                if last is None or tick > last:
                    last = tick
                    yield tick, frame
            if stop >= end:
                return
            start = stop

    def _around(self, start: float, end: float) -> Iterator[tuple[int, av.VideoFrame]]:
        packets, (base, origin) = self._packets_of('video', start, end)
        first, last = ((second + origin) / base for second in (start, end))
        before: tuple[int, av.VideoFrame] | None = None
        for tick, frame in self._decoder.frames(packets):
            if before is not None and tick > first:
                yield before
                if before[0] >= last:
                    return
            before = tick, frame
        if before is not None:
            yield before

    def iter_audio(self, start: float, end: float) -> Iterator[tuple[float, av.AudioFrame]]:
        """Decodes the audio of a span with its own channels and sample rate.

        Yields:
            Time of the first sample in seconds, and frame, for each frame that reaches into the span.

        Raises:
            MediaError: There is no audio track, or nothing of it can be decoded.
        """
        for time, frame in self._decode_audio(start, end):
            if time < end and time + seconds_of(frame) > start:
                yield time, frame

    def iter_audio_packets(
        self, start: float, end: float, *, lead: float = 0.0
    ) -> Iterator[tuple[float, av.Packet[Any]]]:
        """The packets of the audio of a span, for copying.

        Args:
            start: Seconds.
            end: Seconds.
            lead: Seconds before the span, up to 0.25, whose packets are included to warm up decoders.

        Yields:
            Start time of a packet in seconds, and packet.

        Raises:
            MediaError: There is no audio track.
        """
        packets, (base, origin) = self._packets_of('audio', start, end)
        for packet in packets:
            ticks = packet.dts if packet.pts is None else packet.pts
            if ticks is not None and start - lead <= ticks * base - origin < end:
                yield ticks * base - origin, packet

    @property
    def pixel_ratio(self) -> float:
        """Pixel aspect ratio, width over height; 1 if the file has no sensible value."""
        ratio = float((self.video_stream and self.video_stream.codec_context.sample_aspect_ratio) or 1.0)
        return ratio if 1 / MOST_STRETCHED <= ratio <= MOST_STRETCHED else 1.0
