"""Reads live sources in threads: opens, decodes, keeps time, and opens again what breaks."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import av
from mmengine.logging import print_log

from mmav.datasets.media.audio import settle_layout
from mmav.datasets.media.live.buffer import LiveBuffer, Segment, Taken
from mmav.datasets.media.live.sources import LiveSource, modalities_of, open_live
from mmav.datasets.media.live.window import Heard, Seen
from mmav.datasets.media.opening import Limits, media_errors
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
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds before it is opened again
SAME_CLOCK = 60.0
UNTIMED = ('mpjpeg',)


class LiveReader:
    """Reads a live source; its windows are taken with :meth:`take`.

    Args:
        sources: From :func:`mmav.datasets.media.live.sources.list_live`.
        window: Seconds of a window.
        stride: Seconds from the start of one to the start of the next.
        modalities: What is read.
        short_side: Short side in pixels to which frames are scaled; None keeps their size.
        limits: Limits on the size of frames, and on how many are held; None for the defaults.
        skip: Whether windows are left out if the model is slower than the source.
        pace: Whether it is played at its own speed; None for files, and streams that come in pieces.
        patience: Seconds that a modality is waited for while the other arrives.
        timeout: Seconds without anything after which the source is given up, or opened again.
        retries: How often in a row a network stream that broke is opened again.
        reopen: Whether a network stream that ends is opened again, too.
    """

    def __init__(
        self,
        sources: Sequence[LiveSource],
        *,
        window: float,
        stride: float,
        modalities: Sequence[str] = MODALITIES,
        short_side: int | None = None,
        limits: Limits | None = None,
        skip: bool = True,
        pace: bool | None = None,
        patience: float = 1.0,
        timeout: float = 10.0,
        retries: int = 5,
        reopen: bool = False,
    ) -> None:
        self.name = ' + '.join(source.name for source in sources)
        self.sources, self.short_side, self.limits = list(sources), short_side, limits or Limits()
        self.skip, self.pace, self.timeout, self.retries, self.reopen = skip, pace, timeout, retries, reopen
        self.modalities = [name for name in modalities if name in modalities_of(sources)]
        settings: Any = dict(patience=patience, timeout=timeout, pixels=self.limits.clip_pixels)
        self.buffer = LiveBuffer(self.name, window, stride, skip=skip, **settings)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._running = 0
        self._shared: Segment | None = None  # of two sources
        self._begun: float | None = None

    def start(self) -> None:
        """Starts to read."""
        used = [source for source in self.sources if set(source.modalities) & set(self.modalities)]
        self._running = len(used)
        if len(used) > 1:
            self._shared = self.buffer.open(self.modalities, 0.0, None)
        for source in used:
            # one whose server is silent ends with its time-out, and must not keep the program
            thread = threading.Thread(target=self._run, args=(source,), name='mmav-live', daemon=True)
            self._threads.append(thread)
            thread.start()

    def take(self) -> Taken | None:
        """Waits for the next window, see :meth:`LiveBuffer.take`."""
        return self.buffer.take()

    @property
    def newest(self) -> float:
        """Seconds of the stream until which anything has come."""
        return self.buffer.newest

    def close(self) -> None:
        """Stops reading; a read that waits for a server ends with its time-out."""
        self._stop.set()
        self.buffer.finish()
        for thread in self._threads:
            thread.join(timeout=2.0)

    # In a thread

    def _run(self, source: LiveSource) -> None:
        error: MediaError | None = None
        tries, gap, known = 0, '', False
        while not self._stop.is_set():
            connection = _Connection(self, source, gap)
            error = None
            try:
                with media_errors(source.name, 'the stream broke'):
                    connection.read()
                gap = 'the stream ended'
            except MediaError as failure:
                error, gap = failure, failure.reason
            except Exception as failure:  # noqa: BLE001 - anything else would end this thread in silence
                error = MediaError(source.name, f'cannot be read: {failure!r}')
                break
            finally:
                connection.close()
            # of what was never there nothing can come back
            known = known or connection.gave
            tries = 1 if connection.gave else tries + 1
            if source.kind != 'network' or not known or (error is None and not self.reopen):
                break
            if tries > self.retries:
                told = f'did not come back in {self.retries} tries: {gap}' if self.retries else gap
                error = MediaError(source.name, told)
                break
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)
            print_log(f'{source.name}: {gap}; opening it again in {wait:.1f} s', 'current', level=logging.WARNING)
            until = time.monotonic() + wait
            while time.monotonic() < until and not self._stop.wait(0.1):
                self.buffer.touch()
        self._end(source, error)

    def _end(self, source: LiveSource, error: MediaError | None) -> None:
        with self._lock:
            self._running -= 1
            last = self._running == 0
        if last:
            self.buffer.finish(error)
        elif error is not None:
            print_log(f'{error}; the other source goes on', 'current', level=logging.WARNING)

    def begin(self, tracks: Sequence[str], reason: str) -> Segment:
        """The segment of a new connection."""
        now = time.monotonic()
        if self._shared is not None:
            return self._shared
        if self._begun is None:
            self._begun = now
            return self.buffer.open(tracks, 0.0, None)
        before = self.buffer.newest
        offset = max(before, now - self._begun)
        return self.buffer.open(tracks, offset, dict(start=round(before, 3), end=round(offset, 3), reason=reason))

    def shift(self, first: float, arrival: float) -> float:
        """The seconds on a source's clock that are time zero of both sources, from its first time stamp.

        Where the system's clock times both, that clock is kept; otherwise what arrives together belongs together.
        """
        with self._lock:
            if self._begun is None:
                self._begun = arrival
                self._wall = time.time()
            if abs(first - time.time()) < SAME_CLOCK:
                return self._wall
            return first - (arrival - self._begun)

    @property
    def shared(self) -> bool:
        """Whether two sources are read together."""
        return self._shared is not None

    def stopped(self) -> bool:
        """Whether reading has been stopped."""
        return self._stop.is_set()

    def rest(self, seconds: float) -> None:
        """Waits until something is due."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.wait(min(left, 0.5)):
            self.buffer.touch()


class _Connection:
    """One opening of a source, from its first packet to its last."""

    def __init__(self, owner: LiveReader, source: LiveSource, gap: str) -> None:
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
        self._odd: dict[str, float] = {}
        self._ticks: int | None = None
        self._due: float | None = None
        self._expected = 0.0
        self._since = time.monotonic()

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
        if self.segment is not None and not self.owner.shared:
            self.buffer.close(self.segment)

    def read(self) -> None:
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
            if self.source.kind != 'file' and self._jumped(name, seconds):
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

    def _jumped(self, name: str, seconds: float) -> bool:
        """Whether a packet is to be left out, as its time is far from those before; two begin a new segment."""
        before = self._last.get(name)
        if before is None or before - BACK <= seconds <= before + AHEAD:
            self._odd.pop(name, None)
            return False
        odd = self._odd.get(name)
        if odd is None or abs(seconds - odd) > BACK:
            self._odd[name] = seconds
            return True
        for stream in self._streams.values():
            stream.codec_context.flush_buffers()
        self.gap = f'its clock went from {before:.1f} s to {seconds:.1f} s'
        if self.segment is not None and not self.owner.shared:
            self.buffer.close(self.segment)
        self.segment = None
        self._begin()
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
            return self.owner.shift(video if audio is None else audio, arrival)  # type: ignore[arg-type]
        if video is None or audio is None:
            return self._sample if video is None else video  # type: ignore[return-value]
        codec = self._streams['audio'].codec_context
        frame = (codec.frame_size or 0) / (codec.sample_rate or 1)
        lead = video - audio
        return video - (lead if lead > max(ENCODER_DELAY, 2 * frame) else 0.0)
