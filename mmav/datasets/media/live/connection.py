"""A live source from its opening to its end: packets, frames, and their times on one clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import av

from mmav.datasets.media.audio import settle_layout
from mmav.datasets.media.live.buffer import Segment
from mmav.datasets.media.live.sources import LiveSource, open_live
from mmav.datasets.media.live.window import Heard, Seen
from mmav.datasets.media.packets import ENCODER_DELAY
from mmav.datasets.media.video import lacks_container, scaled_size, upright
from mmav.errors import MediaError
from mmav.structures import MODALITIES

# Seconds that the first frame of a modality is waited for before the clock is set without it.
HEAD = 5.0
# Time stamps that go back, or ahead, by more than so many seconds are those of another clock.
BACK, AHEAD = 1.0, 10.0
# As many packets may be damaged one after another.
DAMAGED = 50
# A source that is played at its own speed, and is later than this, is played on from there.
LATE = 1.0
# Formats whose time stamps count frames, whatever their rate is.
UNTIMED = ('mpjpeg',)


class Connection:
    """One opening of a source, from its first packet to its last.

    Args:
        owner: The :class:`~mmav.datasets.media.live.reader.LiveReader`, for its settings and its clock.
        source: What is opened.
        gap: Why it is opened again.

    Attributes:
        gave: Whether anything came.
        segment: Where that went.
    """

    def __init__(self, owner: Any, source: LiveSource, gap: str) -> None:
        self.owner, self.source, self.gap = owner, source, gap
        self.buffer = owner.buffer
        self.gave = False
        self.segment: Segment | None = None
        self._container: Any = None
        self._begin()

    def _begin(self) -> None:
        """Starts a clock."""
        self._waiting: list[tuple[str, int, float, float, Any]] = []
        self._first: dict[str, float] = {}
        self._sample: float | None = None  # the first that was decoded, and not only sent
        self._last: dict[str, float] = {}
        self._odd: dict[str, tuple[float, Any]] = {}
        self._ticks: int | None = None
        self._due: float | None = None
        self._expected = 0.0
        self._since = time.monotonic()

    def close(self) -> None:
        """Closes it, and its segment."""
        if self._container is not None:
            self._container.close()
        if self.segment is not None and not self.owner.shared:
            self.buffer.close(self.segment)

    def read(self) -> None:
        """Reads until the source ends.

        Raises:
            MediaError: It cannot be opened, or gives nothing.
            av.FFmpegError: It broke.
        """
        owner, source = self.owner, self.source
        self._container = open_live(source, limits=owner.limits, timeout=owner.timeout, stopped=owner.stopped)
        self.buffer.touch()
        wanted = [name for name in owner.modalities if name in source.modalities]
        self._streams: dict[str, Any] = {}
        for name in wanted:
            stream: Any = self._container.streams.best(name)
            if stream is not None and stream.codec_context is not None:
                self._streams[name] = stream
        if not self._streams:
            raise MediaError(source.name, f'holds no {" and no ".join(wanted)}')
        if 'video' in self._streams:
            codec = self._streams['video'].codec_context
            owner.limits.check_frame(source.name, codec.height, codec.width)
            codec.options = {**codec.options, 'max_pixels': str(owner.limits.pixels)}
            self._streams['video'].thread_type, codec.thread_count = 'NONE', 1
        if 'audio' in self._streams:
            self._channels = settle_layout(self._streams['audio'].codec_context)
        form = self._container.format
        piecewise = self._container.duration is not None or 'hls' in form.name
        self._paced = owner.pace
        if owner.pace is None:
            self._paced = owner.skip and (source.kind in ('file', 'test') or (source.kind != 'device' and piecewise))
        self._by_arrival = source.kind in ('network', 'pipe') and (lacks_container(form) or form.name in UNTIMED)
        for packet in self._packets():
            if owner.stopped():
                return
            self._take(packet, time.monotonic())
        for name, stream in self._streams.items():
            self._decode(name, stream, None, time.monotonic())
        self._settle(final=True)

    def _packets(self) -> Iterator[Any]:
        damaged = 0
        while True:
            packets = self._container.demux(list(self._streams.values()))
            try:
                for packet in packets:
                    self.buffer.touch()
                    if packet.size:
                        damaged = 0
                        yield packet
                return
            except av.error.InvalidDataError:
                damaged += 1
                if damaged > DAMAGED:
                    raise
            except av.error.ExitError:
                raise MediaError(self.source.name, f'gave nothing for {self.owner.timeout:g} s') from None
            finally:
                packets.close()

    def _take(self, packet: Any, arrival: float) -> None:
        name = packet.stream.type
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is not None:
            seconds = float(stamp * packet.time_base)
            if self.source.kind != 'file' and self._jumped(name, seconds, packet):
                return
            self._last[name] = seconds
            if self._paced:
                arrival = self._keep_pace(seconds)
        if name == 'audio' and name not in self._first and packet.pts is not None:
            start = packet.stream.start_time if self.source.kind == 'file' else None
            self._first[name] = float((packet.pts if start is None else start) * packet.time_base)
        self._decode(name, packet.stream, packet, arrival)
        self._settle()
        if self.segment is not None:
            self.buffer.wait_for_room(self.segment, self.owner.stopped)

    def _jumped(self, name: str, seconds: float, packet: Any) -> bool:
        """Whether a packet is to be left out, as its time is far from those before; two begin a new segment."""
        before = self._last.get(name)
        if before is None or before - BACK <= seconds <= before + AHEAD:
            self._odd.pop(name, None)
            return False
        odd = self._odd.get(name)
        if odd is None or abs(seconds - odd[0]) > BACK:
            self._odd[name] = seconds, packet
            return True
        for stream in self._streams.values():
            stream.codec_context.flush_buffers()
        self.gap = f'its clock went from {before:.1f} s to {seconds:.1f} s'
        if self.segment is not None and not self.owner.shared:
            self.buffer.close(self.segment)
        self.segment = None
        self._begin()
        # the first one may be the only keyframe for long
        self._take(odd[1], time.monotonic())
        return False

    def _keep_pace(self, seconds: float) -> float:
        """Waits until a packet is due; returns when that is."""
        now = time.monotonic()
        if self._due is None or now - (self._due + seconds) > LATE:
            self._due = now - seconds
        self.owner.rest(self._due + seconds - now)
        return time.monotonic()

    def _decode(self, name: str, stream: Any, packet: Any, arrival: float) -> None:
        try:
            decoded = stream.codec_context.decode(packet)
        except av.FFmpegError:
            if self.segment is not None:
                self.segment.damaged += 1
            return
        base = float(stream.time_base)
        for frame in decoded:
            if name == 'video':
                ticks = frame.pts if frame.pts is not None else frame.dts
                if self._by_arrival:
                    ticks = round((arrival - self._since) / base)
                if ticks is None or (self._ticks is not None and ticks <= self._ticks):
                    continue
                self._ticks = ticks
                self._first.setdefault(name, ticks * base)
                self._waiting.append((name, ticks, base, arrival, self._image(frame)))
            else:
                time_ = self._expected if frame.pts is None else frame.pts * base
                begin = time_ if packet is None or packet.pts is None else packet.pts * base
                self._expected = time_ + frame.samples / frame.sample_rate
                self._sample = time_ if self._sample is None else self._sample
                self._first.setdefault(name, time_)
                self._waiting.append((name, 0, base, arrival, (begin, time_, frame)))

    def _image(self, frame: Any) -> Any:
        height, width = scaled_size(frame.height, frame.width, self.owner.short_side)
        self.owner.limits.check_scaling(self.source.name, (frame.height, frame.width), (height, width), 1)
        return upright(frame.to_ndarray(format='rgb24', height=height, width=width, threads=1), frame)

    def _settle(self, *, final: bool = False) -> None:
        """Hands over what was decoded, once the clock is known."""
        if self.segment is None:
            there = {each[0] for each in self._waiting}
            patient = time.monotonic() - self._since < HEAD and not final
            if not there or (there != set(self._streams) and patient):
                return
            self._origin = self._zero(self._waiting[0][3])
            self.segment = self.owner.begin(list(self._streams), self.gap)
            if 'audio' in self._streams:
                self.segment.channels = self._channels
            if 'video' in self._streams:
                rate = self._streams['video'].average_rate or self._streams['video'].guessed_rate
                self.segment.step = 1 / float(rate) if rate else 0.0
            self.gave = True
        for name, ticks, base, arrival, content in self._waiting:
            if name == 'video':
                self.segment.clock = (base, self._origin)
                self.buffer.add_frame(self.segment, Seen(ticks, ticks * base - self._origin, arrival, content))
            else:
                begin, time_, frame = content
                self.buffer.add_audio(self.segment, Heard(begin - self._origin, time_ - self._origin, arrival, frame))
        self._waiting = []

    def _zero(self, arrival: float) -> float:
        """The seconds on the source's clock that are time zero, by the rules of files."""
        video, audio = (self._first.get(name) for name in MODALITIES)
        if self.owner.shared:
            return self.owner.shift(video if audio is None else audio, arrival)
        if video is None or audio is None:
            return self._sample if video is None else video  # type: ignore[return-value]
        codec = self._streams['audio'].codec_context
        frame = (codec.frame_size or 0) / (codec.sample_rate or 1)
        lead = video - audio
        return video - (lead if lead > max(ENCODER_DELAY, 2 * frame) else 0.0)
