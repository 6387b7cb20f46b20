"""Makes odd files out of clips without encoding anew: more tracks, hours, packed frames, joined parts."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.stream import Disposition

SUBTITLE_HEADER = (
    b'[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\nStyle: Default,Arial,16\n\n'
    b'[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n'
)
# Start of a frame of MPEG-4 part 2, and the kind of one that refers to both sides.
VOP, B_FRAME = b'\0\0\1\xb6', 2


def mux(path: Path, tracks: Iterable[tuple[Path, str, Disposition]], *, subtitles: str | None = None) -> Path:
    """Muxes tracks of several files.

    Args:
        path: File; its suffix chooses the container.
        tracks: File, kind of its track, and whether it is the default or a cover.
        subtitles: Format of a subtitle track before all others; 'data' for one of unknown content.
    """
    with ExitStack() as stack:
        write = stack.enter_context(av.open(str(path), 'w'))
        packets: list[tuple[float, Any, av.Packet[Any]]] = []
        if subtitles:
            text: Any = write.add_data_stream() if subtitles == 'data' else write.add_stream(subtitles)
            if subtitles != 'data':
                text.codec_context.subtitle_header = SUBTITLE_HEADER
            for time in (0.0, 1.0, 2.5):
                packet = av.Packet(b'\0\5Hello' if subtitles == 'mov_text' else b'Hello')
                packet.time_base, packet.duration = Fraction(1, 1000), 500
                packet.pts = packet.dts = round(1000 * time)
                packets.append((time, text, packet))
        for source, kind, disposition in tracks:
            read = stack.enter_context(av.open(str(source)))
            stream = next(stream for stream in read.streams if stream.type == kind)
            copy = write.add_stream_from_template(stream)
            copy.disposition = disposition
            packets += [(float(p.dts * p.time_base), copy, p) for p in read.demux(stream) if p.dts is not None]
        for _, copy, packet in sorted(packets, key=lambda item: item[0]):
            packet.stream = copy
            write.mux(packet)
    return path


def delay_sound_in_file(source: Path, path: Path, seconds: float) -> Path:
    """Stores each packet of sound so long behind (or before) the picture with which it is heard."""
    # Else the muxer would bring them in order.
    with av.open(str(source)) as read, av.open(str(path), 'w', options={'max_interleave_delta': '1'}) as write:
        copies = {stream.index: write.add_stream_from_template(stream) for stream in read.streams}
        packets = [
            (float(packet.dts * packet.time_base) + (seconds if packet.stream.type == 'audio' else 0.0), packet)
            for packet in read.demux()
            if packet.dts is not None
        ]
        for _, packet in sorted(packets, key=lambda item: item[0]):
            packet.stream = copies[packet.stream_index]
            write.mux(packet)
    return path


def repeat(source: Path, path: Path, rounds: int, *, seconds: float, muxer: dict[str, str] | None = None) -> Path:
    """Muxes the packets of a clip again and again, each time behind the time before: a long file made fast.

    Args:
        source: The clip.
        path: File; its suffix chooses the container.
        rounds: How often.
        seconds: Length of the clip, a whole number of its frames and of its packets of sound.
        muxer: Options of the container.
    """
    with av.open(str(source)) as read, av.open(str(path), 'w', options=muxer or {}) as write:
        copies = {stream.index: write.add_stream_from_template(stream) for stream in read.streams}
        packets = [
            (packet, packet.pts, packet.dts, packet.time_base, packet.duration)
            for packet in read.demux()
            if packet.dts is not None and 0 <= packet.pts * packet.time_base < seconds - 1e-6
        ]
        for packet, *_ in packets:
            packet.stream = copies[packet.stream_index]
        for k in range(rounds):
            for packet, pts, dts, base, duration in packets:
                shift = round(k * seconds / base)
                packet.time_base, packet.duration = base, duration
                packet.pts, packet.dts = pts + shift, dts + shift
                write.mux_one(packet)
    return path


def pack_b_frames(source: Path, path: Path) -> Path:
    """Packs each B-frame of an MPEG-4 AVI file behind the frame before it, as DivX does, with a placeholder after."""
    with av.open(str(source)) as read, av.open(str(path), 'w') as write:
        copies = {stream.index: write.add_stream_from_template(stream) for stream in read.streams}
        packets = [packet for packet in read.demux() if packet.dts is not None]
        pictures = [(bytes(p), p.is_keyframe) for p in packets if p.stream.type == 'video']
        packed: list[tuple[bytes, bool]] = []
        for data, keyframe in pictures:
            place = data.index(VOP) + len(VOP)
            if data[place] >> 6 == B_FRAME:
                packed[-1] = (packed[-1][0] + data, packed[-1][1])
                # A frame in which nothing is coded; its time takes 5 bits at up to 32 frames per second.
                packed.append((VOP + int('0101000001001111', 2).to_bytes(2, 'big'), False))
            elif keyframe:
                mark = b'\0\0\1\xb2DivX503b1393p'
                packed.append((data[: place - len(VOP)] + mark + data[place - len(VOP) :], True))
            else:
                packed.append((data, False))
        rate = next(stream.average_rate for stream in read.streams.video)
        out: list[tuple[float, av.Packet[Any]]] = []
        for k, (data, keyframe) in enumerate(packed):
            packet = av.Packet(data)
            packet.pts = packet.dts = k
            packet.time_base, packet.duration, packet.is_keyframe = 1 / rate, 1, keyframe
            packet.stream = copies[0]
            out.append((k / float(rate), packet))
        for packet in packets:
            if packet.stream.type == 'audio':
                out.append((float(packet.dts * packet.time_base), packet))
                packet.stream = copies[packet.stream_index]
        for _, packet in sorted(out, key=lambda item: item[0]):
            write.mux(packet)
    return path


def make_auxiliary(path: Path) -> Path:
    """Declares the first track of an mp4 file as one of auxiliary pictures: depth, transparency."""
    data = bytearray(path.read_bytes())
    place = data.index(b'vide', data.index(b'hdlr'))
    data[place : place + 4] = b'auxv'
    path.write_bytes(data)
    return path


def join(path: Path, *parts: Path) -> Path:
    """Writes files one behind another."""
    path.write_bytes(b''.join(part.read_bytes() for part in parts))
    return path
