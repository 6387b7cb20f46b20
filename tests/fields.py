"""Writes H.264 whose frames are stored as two fields each, as camcorders do and no encoder of FFmpeg does."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.clips import BITS

FPS, HEIGHT, WIDTH, CLOCK = 25, 32, 64, 1.4
# Kind of a picture -> slice type, macroblock of plain samples (ITU-T H.264, tables 7-6 and 7-11 to 7-14).
KINDS = {'P': (5, 30), 'B': (6, 48), 'I': (7, 25)}
# A group in the order of the file: kind, and place in the order of display. B pictures behind I need the group before.
GROUP = [('I', 0), ('B', -2), ('B', -1), ('P', 3), ('B', 1), ('B', 2), ('P', 6), ('B', 4), ('B', 5), ('P', 9)]
GROUP += [('B', 7), ('B', 8)]


class _Bits:
    def __init__(self) -> None:
        self.bits: list[int] = []

    def u(self, count: int, value: int = 0) -> _Bits:
        self.bits += [value >> k & 1 for k in range(count - 1, -1, -1)]
        return self

    def ue(self, *values: int) -> _Bits:
        for value in values:
            self.u(2 * (value + 1).bit_length() - 1, value + 1)
        return self

    def align(self) -> _Bits:
        return self.u(-len(self.bits) % 8)


def _unit(kind: int, bits: _Bits) -> bytes:
    out, zeros = bytearray(), 0
    for byte in np.packbits(np.array(bits.u(1, 1).align().bits, np.uint8)).tobytes():
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = 0 if byte else zeros + 1
    return b'\0\0\0\1' + bytes([2 << 5 | kind if kind in (1, 5, 7, 8) else kind]) + bytes(out)


def _parameters() -> bytes:
    sequence = _Bits().u(8, 77).u(8).u(8, 30).ue(0, 0, 0, 4, 4).u(1).ue(WIDTH // 16 - 1, HEIGHT // 32 - 1)
    # Frames of fields; no cropping; rate; two pictures may be held back.
    sequence.u(2).u(1, 1).u(1).u(1, 1).u(4).u(1, 1).u(32, 1).u(32, 2 * FPS).u(1, 1).u(3, 1)
    sequence.u(2, 3).ue(0, 0, 10, 10, 2, 4)
    pictures = _Bits().ue(0, 0).u(2).ue(0, 0, 0).u(3).ue(0, 0, 0).u(3, 4)
    return _unit(7, sequence) + _unit(8, pictures)


def _field(kind: str, image: np.ndarray, *, frame: int, place: int, bottom: int, first: bool) -> bytes:
    slice_type, plain = KINDS[kind]
    bits = _Bits().ue(0, slice_type, 0).u(4, frame % 16).u(1, 1).u(1, bottom)
    if first:
        bits.ue(0)
    bits.u(8, (2 * place + bottom) % 256).u({'I': 0, 'P': 2, 'B': 1 + 1 + 2}[kind], 8 if kind == 'B' else 0)
    # Every picture may be referred to.
    bits.u(2 if first else 1).ue(0, 1)
    for y in range(0, image.shape[0], 16):
        for x in range(0, WIDTH, 16):
            bits.ue(*([0] if kind != 'I' else []), plain).align()
            samples = np.concatenate([image[y : y + 16, x : x + 16].ravel(), np.full(128, 128)])
            bits.bits += np.unpackbits(samples.astype(np.uint8)).tolist()
    return _unit(5 if first else 1, bits)


def _numbered(k: int) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH), 60)
    for bit in range(BITS):
        image[HEIGHT // 2 :, bit * WIDTH // BITS : (bit + 1) * WIDTH // BITS] = 235 if k >> bit & 1 else 20
    return image


def write(path: Path, *, groups: int, skip: int) -> Path:
    """Writes a transport stream of numbered frames, none marked as one to start with, from some field on."""
    fields: list[tuple[bytes, int, int]] = []
    frame = 0
    for group in range(groups):
        for kind, shift in GROUP:
            place = len(GROUP) * group + shift
            if place < 0:
                continue
            for bottom in (0, 1):
                first = not fields
                data = _unit(9, _Bits().u(3, 2)) + (_parameters() if kind == 'I' and not bottom else b'')
                own = 'P' if kind == 'I' and bottom else kind
                data += _field(own, _numbered(place)[bottom::2], frame=frame, place=place, bottom=bottom, first=first)
                fields.append((data, place, bottom))
            frame += 1
    raw = path.with_suffix('.h264')
    raw.write_bytes(b''.join(data for data, _, _ in fields))
    with av.open(str(raw)) as read, av.open(str(path), 'w', format='mpegts') as write:
        picture = write.add_stream_from_template(read.streams.video[0])
        for k, (data, place, bottom) in enumerate(fields[skip:], skip):
            packet = av.Packet(data)
            packet.time_base = Fraction(1, 90000)
            packet.pts = round((CLOCK + (place + bottom / 2) / FPS) * 90000)
            packet.dts = round((CLOCK + (k / 2 - 2.5) / FPS) * 90000)
            packet.stream = picture
            write.mux_one(packet)
    return path
