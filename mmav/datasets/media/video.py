"""Decodes the packets of a video track to the RGB frames nearest to given times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType

from mmav.datasets.media.opening import Watch

# These files store no presentation times, and FFmpeg guesses some wrongly if frames are reordered. Their decoding times
# are exact when taken in display order: the first frame is displayed when the audio starts, without the delay of a
# decoder that reorders.
WITHOUT_PTS = ('avi',)
# FFmpeg does not time the frames of these codecs without a container either.
UNDATED = ('h264', 'hevc', 'vvc', 'vc1', 'cavs')
# FFmpeg's flag for formats that hold only frames, in which seeking does not work.
NO_TIMESTAMPS = 0x80
# In these codecs a packet is one displayed frame, so what to decode is known in advance. In others (VP8 may store
# frames that are never displayed) only the decoded frames tell.
PLANNED_CODECS = ('h264', 'hevc', 'av1', 'vp9', 'vp8', 'mpeg4')
# Their decoders only learn when opened which frames to skip.
CHOSEN_ONCE = ('av1',)
# FFmpeg's flag for frames whose references its decoder has not fully seen.
OUTPUT_CORRUPT = Flags.output_corrupt
# The second field of an interlaced frame may be in a packet of its own.
FIELDS = 1


def lacks_container(form: av.ContainerFormat) -> bool:
    """Whether files of a format hold only the frames of a track."""
    return bool(form.flags & NO_TIMESTAMPS)


def lacks_pts(stream: Any) -> bool:
    """Whether a video track only has decoding time stamps, which are exact in display order."""
    form = stream.container.format
    return form.name in WITHOUT_PTS or (lacks_container(form) and stream.codec_context.name in UNDATED)


class Orientation(NamedTuple):
    """Transformations that make a stored frame upright, in this order.

    Attributes:
        transposed: Rows become columns.
        mirrored: Left becomes right.
        upside_down: Top becomes bottom.
    """

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False


AS_STORED = Orientation()
# Quarter turns counterclockwise.
TURNED = (AS_STORED, Orientation(True, False, True), Orientation(False, True, True), Orientation(True, True, False))


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """Transformations that make a frame upright; angles are rounded to multiples of 90 degrees.

    FFmpeg's matrix maps a point (x, y) of the stored frame to (a x + c y, b x + d y).
    """
    try:
        data = frame.side_data.get('DISPLAYMATRIX')
    except ValueError:
        # PyAV does not support all side data of frames; for mirrored frames it only gives the angle.
        return TURNED[round(frame.rotation / 90) % 4]
    if data is None:
        return AS_STORED
    a, b, _, c, d = np.frombuffer(bytes(cast(Any, data)), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Rotates an image (H, W, ...) of a frame to the orientation stored in the file."""
    orientation = orientation_of(frame)
    image = image.swapaxes(0, 1) if orientation.transposed else image
    return image[:: -1 if orientation.upside_down else 1, :: -1 if orientation.mirrored else 1]


def scaled_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Height and width for a given short side, as close to the old aspect ratio as whole pixels allow."""
    scale = 1.0 if short_side is None else short_side / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def nearest(sorted_values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Indices of the values nearest to the wanted ones; of two equally near ones, the earlier.

    Args:
        sorted_values: Values (N,), ascending, N >= 1.
        wanted: Any values (M,).

    Returns:
        Indices (M,) into ``sorted_values``.

    >>> nearest(np.array([0, 10, 20]), np.array([-5, 4, 5, 6, 99]))
    array([0, 0, 0, 1, 2])
    """
    right = np.clip(np.searchsorted(sorted_values, wanted), 1, max(len(sorted_values) - 1, 1))
    if len(sorted_values) == 1:
        return np.zeros(len(wanted), dtype=np.int64)
    left = right - 1
    return np.where(wanted - sorted_values[left] <= sorted_values[right] - wanted, left, right)


def nearest_frames(ticks: np.ndarray, clock: tuple[float, float], times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frames nearest to some times.

    Args:
        ticks: Times of the frames (N,), ascending, in ticks.
        clock: Seconds per tick, and the seconds that are time zero.
        times: Wanted times (M,) in seconds.

    Returns:
        Their places (M,), and their true times (M,) in seconds.
    """
    base, origin = clock
    places = nearest(ticks, times / base + origin / base)
    return places, ticks[places].astype(np.float64) * base - origin


class FramePlan(NamedTuple):
    """What to decode.

    Attributes:
        runs: Ranges of packets to decode one after another; the decoder is flushed in between.
        needed: Presentation times (in the stream's units) of the frames to keep.
    """

    runs: list[range]
    needed: frozenset[int]


def plan_frames(pts: Sequence[int], keyframe: Sequence[bool], shown: Sequence[bool], wanted: np.ndarray) -> FramePlan:
    """Plans which groups of pictures to decode.

    A group is a keyframe and the frames after it in the file; it is decoded up to its last wanted frame. A frame that
    is displayed before its group's keyframe (a leading picture of an open group) also needs all of the group before.

    Args:
        pts: Presentation times of the packets, in file order.
        keyframe: Whether a decoder can start at the packet.
        shown: Whether the packet's frame is displayed (edit lists hide some).
        wanted: Times of the frames wanted (M,), in the units of ``pts``.

    Returns:
        The plan; empty if no packet is displayed.
    """
    times = np.asarray(pts, dtype=np.int64)
    visible = np.sort(times[np.asarray(shown, dtype=bool)])
    if not len(visible):
        return FramePlan([], frozenset())
    needed = frozenset(visible[nearest(visible, wanted)].tolist())
    starts = [i for i, key in enumerate(keyframe) if key or i == 0]
    groups = [range(a, b) for a, b in zip(starts, [*starts[1:], len(times)], strict=True)]
    # Group -> where decoding may stop.
    wanted_groups: dict[int, int] = {}
    for g, group in enumerate(groups):
        hits = [i for i in group if shown[i] and int(times[i]) in needed]
        if hits:
            wanted_groups[g] = min(hits[-1] + 1 + FIELDS, group.stop)
            if g and min(times[hits]) < times[group.start]:
                wanted_groups[g - 1] = groups[g - 1].stop
    runs: list[range] = []
    for g, stop in sorted(wanted_groups.items()):
        if runs and runs[-1].stop == groups[g].start:
            runs[-1] = range(runs[-1].start, stop)
        else:
            runs.append(range(groups[g].start, stop))
    return FramePlan(runs, needed)


class VideoDecoder:
    """Decodes a video track, skipping damaged packets.

    Args:
        stream: The track.
        watch: Keeps reading within limits.
        on_damage: Called for each packet that cannot be decoded.

    Attributes:
        step: Ticks between frames, for frames without a time stamp.
    """

    def __init__(self, stream: Any, watch: Watch, on_damage: Callable[[], None] = lambda: None) -> None:
        self.step = 1
        self._codec, self._watch, self._on_damage = stream.codec_context, watch, on_damage
        self._guessed = lacks_pts(stream)

    def read(
        self, packets: Sequence[av.Packet[Any]], wanted: np.ndarray, *, short_side: int | None, held: int
    ) -> list[tuple[int, np.ndarray]]:
        """Decodes the displayed frames nearest to the wanted times, and as little else as possible.

        Args:
            packets: Packets of the track in file order, starting with a keyframe.
            wanted: Times (M,), ascending, in the track's ticks.
            short_side: Short side of the result in pixels; None keeps the size.
            held: How many frames will be held; more than M if some are wanted twice.

        Returns:
            M pairs of true time in ticks and frame (H, W, 3) uint8 RGB; empty if nothing can be decoded.

        Raises:
            MediaError: The size or number of frames exceeds a limit, or decoding them takes too long.
        """
        pts = [packet.pts for packet in packets if packet.pts is not None]
        reliable = len(pts) == len(packets) and not self._guessed
        if reliable and self._codec.codec.canonical_name in PLANNED_CODECS:
            plan = plan_frames(pts, [p.is_keyframe for p in packets], [not p.is_discard for p in packets], wanted)
            images = self._convert(_pick(self.frames(packets, plan.runs, plan.needed), wanted), short_side, held)
            if {ticks for ticks, _ in images} == plan.needed:
                return images
        # Other codecs hide or repeat frames; damaged files do not display all that their packets promise.
        return self._convert(_pick(self.frames(packets), wanted), short_side, held)

    def frames(
        self,
        packets: Sequence[av.Packet[Any]],
        runs: Iterable[range] | None = None,
        needed: frozenset[int] | None = None,
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decodes runs of packets in turn.

        Args:
            packets: Packets of the track, in file order.
            runs: Ranges of packets; the decoder is flushed in between. None for a single range.
            needed: Presentation times of the frames that must be returned; None for all.

        Yields:
            Presentation time in ticks, ascending, and frame.
        """
        codec = self._codec
        if self._guessed:
            held_back = self._held_back(packets)
            place = {packet.dts: k for k, packet in enumerate(packets)}
        keeps_all = codec.codec.canonical_name in CHOSEN_ONCE
        k = 0
        last: int | None = None
        begun = not codec.flags & OUTPUT_CORRUPT
        for run in [range(len(packets))] if runs is None else runs:
            codec.flush_buffers()
            for i in (*run, None):
                self._watch.check()
                packet = None if i is None else packets[i]
                kept = needed is None or packet is None or packet.pts in needed or keeps_all
                codec.skip_frame = 'DEFAULT' if kept else 'NONREF'
                for frame in _decode(codec, packet, self._on_damage):
                    begun = begun or frame.pict_type == PictureType.I or not frame.is_corrupt
                    if not begun:
                        continue
                    if self._guessed:
                        # A frame comes out when a later one goes in; sorted decoding times are the display times.
                        k = place.get(frame.dts, k + 1 + held_back) - held_back
                        ticks = packets[min(max(k, 0), len(packets) - 1)].dts
                    else:
                        ticks = frame.dts if frame.pts is None else frame.pts
                    if ticks is None:
                        ticks = (0 if last is None else last) + self.step
                    if last is None or ticks > last:
                        last = ticks
                        yield ticks, frame

    def _held_back(self, packets: Sequence[av.Packet[Any]]) -> int:
        """How many frames the decoder buffers for reordering: those left when the first one comes out."""
        self._codec.flush_buffers()
        for packet in packets:
            if _decode(self._codec, packet, lambda: None):
                break
        return len(_decode(self._codec, None, lambda: None))

    def _convert(
        self, chosen: Iterable[tuple[int, av.VideoFrame]], short_side: int | None, held: int
    ) -> list[tuple[int, np.ndarray]]:
        """Converts frames to arrays one at a time, so that at most two full frames are held."""
        done: list[tuple[int, np.ndarray]] = []
        size: tuple[int, int] | None = None
        for ticks, frame in chosen:
            if done and done[-1][0] == ticks:
                done.append(done[-1])
                continue
            if size is None:
                size = scaled_size(frame.height, frame.width, short_side)
                self._watch.limits.check_scaling(self._watch.path, (frame.height, frame.width), size, held)
            # One pass of swscale scales and converts; more than one thread only costs time at these sizes.
            image = frame.to_ndarray(format='rgb24', height=size[0], width=size[1], threads=1)
            done.append((ticks, upright(image, frame)))
        return done


def _decode(codec: Any, packet: av.Packet[Any] | None, on_damage: Callable[[], None]) -> list[av.VideoFrame]:
    try:
        return codec.decode(packet)
    except av.FFmpegError:
        on_damage()
        return []


def _pick(frames: Iterator[tuple[int, av.VideoFrame]], wanted: np.ndarray) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yields the nearest frame for each wanted time, ascending; stops decoding once the last one is known."""
    before: tuple[int, av.VideoFrame] | None = None
    done = 0
    for ticks, frame in frames:
        while done < len(wanted) and wanted[done] <= ticks:
            earlier = before is not None and wanted[done] - before[0] <= ticks - wanted[done]
            yield before if before is not None and earlier else (ticks, frame)
            done += 1
        if done == len(wanted):
            return
        before = (ticks, frame)
    if before is not None:
        for _ in range(done, len(wanted)):
            yield before
