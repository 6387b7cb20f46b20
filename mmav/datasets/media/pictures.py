"""From packets to the RGB frames nearest to given times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType

from .demux import lacks_pts
from .frame_plan import plan_frames
from .limits import Watch
from .orientation import upright

# In these codecs a packet is one displayed frame, so what to decode is known before decoding. Where it is not (VP8 may
# store frames that are never shown), the frames that come out tell.
PLANNED_CODECS = ('h264', 'hevc', 'av1', 'vp9', 'vp8', 'mpeg4')
# Their decoder is told once, as it is opened, which frames to leave out.
CHOSEN_ONCE = ('av1',)

# FFmpeg's flag for frames that its decoder has not seen the whole of.
OUTPUT_CORRUPT = Flags.output_corrupt

Picture = tuple[int, np.ndarray]


def read_pictures(
    stream: Any,
    packets: Sequence[av.Packet[Any]],
    wanted: np.ndarray,
    *,
    step: int,
    short_side: int | None,
    held: int,
    watch: Watch,
    on_damage: Callable[[], None],
) -> list[Picture]:
    """Decodes the displayed frames nearest to the wanted times, and no more than they need where that can be known.

    Args:
        stream: The picture track.
        packets: Its packets, from a keyframe on, in file order.
        wanted: Times (M,), ascending, in the track's ticks.
        step: Ticks from one frame to the next, for frames without a time stamp.
        short_side: Short side of the result in pixels; None keeps the size.
        held: How many frames are going to be held; more than M where some are wanted twice.
        watch: Keeps reading within limits.
        on_damage: Called for each packet that cannot be decoded.

    Returns:
        M pairs of true time in ticks and frame (H, W, 3) uint8 RGB; empty where nothing can be decoded.

    Raises:
        MediaError: Frames of this size, or so many, are more than the limits allow, or decoding them takes too long.
    """

    def fits(size: tuple[int, int], scaled: tuple[int, int]) -> None:
        watch.limits.check_scaling(watch.path, size, scaled, held)

    decoding: Any = dict(step=step, watch=watch, on_damage=on_damage)
    pts = [packet.pts for packet in packets if packet.pts is not None]
    reliable = len(pts) == len(packets) and not lacks_pts(stream)
    if reliable and stream.codec_context.codec.canonical_name in PLANNED_CODECS:
        plan = plan_frames(pts, [p.is_keyframe for p in packets], [not p.is_discard for p in packets], wanted)
        frames = decode_frames(stream, packets, plan.runs, needed=plan.needed, **decoding)
        pictures = _convert(_pick(frames, wanted), short_side, fits)
        if {ticks for ticks, _ in pictures} == plan.needed:
            return pictures
    # Other codecs hide frames or repeat them; damaged files do not show what their packets promise.
    frames = decode_frames(stream, packets, [range(len(packets))], needed=None, **decoding)
    return _convert(_pick(frames, wanted), short_side, fits)


def scaled_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Height and width with the short side given, as close to the old ratio as whole pixels allow."""
    scale = 1.0 if short_side is None else short_side / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def show_unmarked(stream: Any) -> None:
    """Has frames of a track shown in which nothing is marked as a place to start decoding.

    FFmpeg's decoder of H.264 is then never sure of what it has, and leaves out frames that are whole. From the first
    picture on that refers to no other, in the order of display, they are.
    """
    stream.codec_context.flags |= OUTPUT_CORRUPT


def decode_frames(
    stream: Any,
    packets: Sequence[av.Packet[Any]],
    runs: Iterable[range],
    *,
    needed: frozenset[int] | None,
    step: int,
    watch: Watch,
    on_damage: Callable[[], None],
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decodes runs of packets in turn; damaged packets are passed over.

    Args:
        stream: The picture track.
        packets: Its packets, in file order.
        runs: Ranges of packets; the decoder is flushed between two of them.
        needed: Presentation times of the frames that must come out; None for all.
        step: Ticks from one frame to the next, for frames without a time stamp.
        watch: Keeps reading within limits.
        on_damage: Called for each packet that cannot be decoded.

    Yields:
        Presentation time in ticks, ascending, and frame.
    """
    codec = stream.codec_context
    guessed = lacks_pts(stream)
    if guessed:
        held_back = _held_back(codec, packets)
        place = {packet.dts: k for k, packet in enumerate(packets)}
    keeps_all = codec.codec.canonical_name in CHOSEN_ONCE
    k = 0
    last: int | None = None
    begun = not codec.flags & OUTPUT_CORRUPT
    for run in runs:
        codec.flush_buffers()
        for i in (*run, None):
            watch.check()
            packet = None if i is None else packets[i]
            kept = needed is None or packet is None or packet.pts in needed or keeps_all
            codec.skip_frame = 'DEFAULT' if kept else 'NONREF'
            for frame in _decode(codec, packet, on_damage):
                begun = begun or frame.pict_type == PictureType.I or not frame.is_corrupt
                if not begun:
                    continue
                if guessed:
                    # The frame comes out as a later one goes in; the decoding times are those of display, in order.
                    k = place.get(frame.dts, k + 1 + held_back) - held_back
                    ticks = packets[min(max(k, 0), len(packets) - 1)].dts
                else:
                    ticks = frame.dts if frame.pts is None else frame.pts
                if ticks is None:
                    ticks = (0 if last is None else last) + step
                if last is None or ticks > last:
                    last = ticks
                    yield ticks, frame


def _held_back(codec: Any, packets: Sequence[av.Packet[Any]]) -> int:
    """How many frames the decoder keeps to bring them in order: as many as are left when the first one comes out."""
    codec.flush_buffers()
    for packet in packets:
        if _decode(codec, packet, lambda: None):
            break
    return len(_decode(codec, None, lambda: None))


def _decode(codec: Any, packet: av.Packet[Any] | None, on_damage: Callable[[], None]) -> list[av.VideoFrame]:
    try:
        return codec.decode(packet)
    except av.FFmpegError:
        on_damage()
        return []


def _pick(frames: Iterator[tuple[int, av.VideoFrame]], wanted: np.ndarray) -> Iterator[tuple[int, av.VideoFrame]]:
    """For each wanted time, ascending, the nearest frame; stops decoding once the last one is known."""
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


def _convert(
    chosen: Iterable[tuple[int, av.VideoFrame]],
    short_side: int | None,
    fits: Callable[[tuple[int, int], tuple[int, int]], None],
) -> list[Picture]:
    """Turns frames into arrays as they come, so that no more than two full frames are held."""
    done: list[Picture] = []
    size: tuple[int, int] | None = None
    for ticks, frame in chosen:
        if done and done[-1][0] == ticks:
            done.append(done[-1])
            continue
        if size is None:
            size = scaled_size(frame.height, frame.width, short_side)
            fits((frame.height, frame.width), size)
        # One pass of swscale scales and converts; more threads than one only cost time at these sizes.
        image = frame.to_ndarray(format='rgb24', height=size[0], width=size[1], threads=1)
        done.append((ticks, upright(image, frame)))
    return done
