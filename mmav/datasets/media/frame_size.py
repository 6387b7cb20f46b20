"""Whether the frames of a video track may change their size: decoders without a limit must not meet a larger one.

A header states a size, and a packet in mid-stream may state another one, up to 2^28 pixels. The formats are those of
ISO/IEC 14496-15 (H.264, HEVC), RFC 6386 (VP8), and the bitstream specifications of VP9 and AV1 by the Alliance for Open
Media; packets of other codecs are not looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

# Types of units that describe the frames after them.
H264_SIZES, HEVC_SIZES, AV1_SEQUENCE = (7, 15), (33,), 1
VP9_SYNC = 0x498342


def may_change(stream: Any, packets: Iterable[Any]) -> bool:
    """Whether packets may state another size than a track's header.

    Args:
        stream: PyAV's stream of the track.
        packets: Its packets.

    Returns:
        True also where it cannot be told: of other codecs, and of packets that do not follow their format.
    """
    codec = stream.codec_context
    looks = _LOOKS.get(codec.name)
    if looks is None:
        return True
    try:
        return looks((codec.width, codec.height), bytes(codec.extradata or b''), (memoryview(p) for p in packets))
    except (IndexError, ValueError):
        return True


Look = Callable[[tuple[int, int], bytes, Iterable[memoryview]], bool]


def _h264(size: tuple[int, int], header: bytes, packets: Iterable[memoryview]) -> bool:
    # Without this header units are told apart by start codes, and state sizes wherever they like.
    if len(header) < 7 or header[0] != 1:
        return True
    known, place = set(), 6
    for _ in range(header[5] & 31):
        end = place + 2 + int.from_bytes(header[place : place + 2], 'big')
        known.add(header[place + 2 : end])
        place = end
    units = _units(packets, (header[4] & 3) + 1)
    return any(unit[0] & 31 in H264_SIZES and bytes(unit) not in known for unit in units)


def _hevc(size: tuple[int, int], header: bytes, packets: Iterable[memoryview]) -> bool:
    if len(header) < 23 or header[0] != 1:
        return True
    known, place = set(), 23
    for _ in range(header[22]):
        place += 3
        for _ in range(int.from_bytes(header[place - 2 : place], 'big')):
            end = place + 2 + int.from_bytes(header[place : place + 2], 'big')
            known.add(header[place + 2 : end])
            place = end
    units = _units(packets, (header[21] & 3) + 1)
    return any(unit[0] >> 1 & 63 in HEVC_SIZES and bytes(unit) not in known for unit in units)


def _units(packets: Iterable[memoryview], prefix: int) -> Iterator[memoryview]:
    """The units of packets, each behind its length.

    Raises:
        ValueError: A length does not fit.
    """
    for packet in packets:
        place = 0
        while place < len(packet):
            begin = place + prefix
            place = begin + int.from_bytes(packet[place:begin], 'big')
            if not begin < place <= len(packet):
                raise ValueError('a unit ends behind its packet')
            yield packet[begin:place]


def _vp8(size: tuple[int, int], _: bytes, packets: Iterable[memoryview]) -> bool:
    for packet in packets:
        if not packet[0] & 1:  # a keyframe
            width, height = (int.from_bytes(packet[k : k + 2], 'little') & 0x3FFF for k in (6, 8))
            if (width, height) != size:
                return True
    return False


def _vp9(size: tuple[int, int], _: bytes, packets: Iterable[memoryview]) -> bool:
    return any(_vp9_size(frame) not in (None, size) for packet in packets for frame in _vp9_frames(packet))


def _vp9_frames(packet: memoryview) -> Iterator[memoryview]:
    """The frames of a packet: an index at its end tells them apart."""
    marker = packet[-1]
    count, width = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index = 2 + count * width
    if marker >> 5 != 6 or len(packet) < index or packet[-index] != marker:
        yield packet
        return
    place = 0
    for k in range(count):
        begin = len(packet) - index + 1 + k * width
        size = int.from_bytes(packet[begin : begin + width], 'little')
        if not 0 < size <= len(packet) - index - place:
            raise ValueError('a frame ends behind its packet')
        yield packet[place : place + size]
        place += size


def _vp9_size(frame: memoryview) -> tuple[int, int] | None:
    """The size that a frame states, None if it is that of the frames it refers to."""
    bits = _Bits(frame)
    if bits.take(2) != 2:
        raise ValueError('no frame of VP9')
    profile = bits.take(1) | bits.take(1) << 1
    if profile == 3:
        bits.take(1)
    if bits.take(1):  # shows a frame that was decoded before
        return None
    inter, shown, resilient = bits.take(1), bits.take(1), bits.take(1)
    if inter:
        alone = 0 if shown else bits.take(1)
        if not resilient:
            bits.take(2)
        if not alone:
            bits.take(8)
            bits.take(12)
            # It may take over the size of one of three frames.
            return None if any(bits.take(1) for _ in range(3)) else (bits.take(16) + 1, bits.take(16) + 1)
    if bits.take(24) != VP9_SYNC:
        raise ValueError('no frame of VP9')
    if not inter or profile:
        if profile >= 2:
            bits.take(1)
        space = bits.take(3)
        if space != 7:  # not RGB
            bits.take(4 if profile & 1 else 1)
        elif profile & 1:
            bits.take(1)
    if inter:
        bits.take(8)
    return bits.take(16) + 1, bits.take(16) + 1


class _Bits:
    """Takes bits from the front of bytes."""

    def __init__(self, data: memoryview) -> None:
        head = bytes(data[:24])
        self._value, self._left = int.from_bytes(head, 'big'), 8 * len(head)

    def take(self, count: int) -> int:
        """The next bits as a number.

        Raises:
            ValueError: There are fewer.
        """
        self._left -= count
        if self._left < 0:
            raise ValueError('the header ends too early')
        return self._value >> self._left & (1 << count) - 1


def _av1(size: tuple[int, int], _: bytes, packets: Iterable[memoryview]) -> bool:
    # No frame may be larger than its sequence allows.
    sequences = (unit for packet in packets for kind, unit in _obus(packet) if kind == AV1_SEQUENCE)
    return any(_av1_size(unit) != size for unit in sequences)


def _av1_size(sequence: memoryview) -> tuple[int, int]:
    """The largest size in a sequence, by its header.

    Raises:
        ValueError: The header is not understood.
    """
    bits = _Bits(sequence)
    bits.take(4)
    if bits.take(1):  # a still picture
        bits.take(5)
    else:
        if bits.take(1):
            raise ValueError('a header with a clock')
        delayed = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if delayed and bits.take(1):
                bits.take(4)
    lengths = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(lengths[0]) + 1, bits.take(lengths[1]) + 1


def _obus(packet: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and content of the units of a packet."""
    place = 0
    while place < len(packet):
        head = packet[place]
        place += 2 if head & 4 else 1
        size = len(packet) - place
        if head & 2:
            size, shift = 0, 0
            while True:
                size |= (packet[place] & 127) << shift
                shift, place = shift + 7, place + 1
                if not packet[place - 1] & 128:
                    break
        if place + size > len(packet):
            raise ValueError('a unit ends behind its packet')
        yield head >> 3 & 15, packet[place : place + size]
        place += size


_LOOKS: dict[str, Look] = {
    'h264': _h264,
    'hevc': _hevc,
    'vp8': _vp8,
    'libvpx-vp8': _vp8,
    'vp9': _vp9,
    'libvpx-vp9': _vp9,
    'av1': _av1,
    'libdav1d': _av1,
    'libaom-av1': _av1,
}
