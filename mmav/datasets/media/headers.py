"""Information about a file that FFmpeg does not provide, read from its bytes."""

from __future__ import annotations

import itertools
import os
import re
import struct
from collections.abc import Iterator

from mmav.datasets.media.stored_file import open_binary, size_of_file

# Bytes after a wav file's samples may be anything if they last fewer seconds than this.
LEAST_LEFT_OUT = 0.1
# A recorder that does not know the size yet writes one of these; FFmpeg reads on to the end.
UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)
# Handler of a track of auxiliary images, and how a track refers to the one to which it belongs (ISO 14496-12, 12.1.1
# and 8.3.3; MIAF, ISO 23000-22).
AUXILIARY_HANDLER = b'auxv'
AUXILIARY_REFERENCES = (b'auxl', b'thmb', b'cdsc', b'vdep')
# A larger index is not searched.
LARGEST_INDEX = 1 << 26
_ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_MPEG_RATES = (44100, 48000, 32000)
_AC3_RATES = (48000, 44100, 32000)
# Number of places, spread over a file, that are checked for a concatenation.
PLACES, PLACE_BYTES = 32, 1 << 16
# The header of one or several frames up to the decoding time, or the presentation time if they are equal. No codec's
# data can look like it.
_FRAME_HEAD = rb'\x00\x00\x01[%s].{2}[\x80-\xbf](?:[\x80-\xbf].{6}|[\xc0-\xff].{11})'
VIDEO_HEAD = re.compile(rb'(' + _FRAME_HEAD % rb'\xe0-\xef' + rb')', re.DOTALL)
AUDIO_HEAD = re.compile(rb'(' + _FRAME_HEAD % rb'\xc0-\xdf' + rb')', re.DOTALL)
CLOCK_RATE, CLOCK_RANGE = 90000, 1 << 33
# Decoding times rise within a part; a jump back of more than this many seconds is another part, or damage.
BACK = 0.5
# The header of an Ogg page: flags, position (-1 if no packet ends), number of the stream (RFC 3533, section 6).
OGG_PAGE = re.compile(rb'OggS\x00([\x00-\x07])(.{8})(.{4})', re.DOTALL)
FIRST_PAGE = 2


def leaves_audio_out(path: str) -> bool:
    """Whether more than 0.1 s of bytes without a chunk header follow a RIFF file's samples (IBM and Microsoft, 1991).

    The header of an interrupted recording states less audio than there is.
    """
    size = size_of_file(path)
    rate = 0
    with open_binary(path) as file:
        if file.read(12)[8:] != b'WAVE':
            return False
        while len(head := file.read(8)) == 8:
            name, length = struct.unpack('<4sI', head)
            if name == b'fmt ':
                rate = struct.unpack('<I', file.read(12)[8:12].ljust(4, b'\0'))[0]
                file.seek(-12, os.SEEK_CUR)
            end = file.tell() + length + length % 2
            if name == b'data':
                if length in UNKNOWN_SIZES or size - end <= LEAST_LEFT_OUT * rate:
                    return False
                file.seek(end)
                name, length = struct.unpack('<4sI', file.read(8).ljust(8, b'\0'))
                return not (name.isascii() and name.decode().isprintable() and end + 8 + length <= size + 1)
            file.seek(end)
    return False


def is_animated_webp(path: str) -> bool:
    """Whether a WebP file's extended header, if any, says that it is animated."""
    with open_binary(path) as file:
        head = file.read(21)
    return head[12:16] == b'VP8X' and bool(head[20:] and head[20] & 2)


def auxiliary_ids(path: str) -> set[int]:
    """Numbers of the tracks of an mp4 file that belong to another: depth, transparency, thumbnails."""
    ids: set[int] = set()
    with open_binary(path) as file:
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack('>I4s', head)
            skipped = 8
            if size == 1:
                size, skipped = struct.unpack('>Q', file.read(8))[0], 16
            if kind == b'moov' and size <= LARGEST_INDEX:
                for name, track in _boxes(file.read(size - skipped)):
                    if name == b'trak' and _is_auxiliary(track):
                        # The number follows two times, of 4 bytes each, or of 8.
                        header = dict(_boxes(track))[b'tkhd']
                        ids.add(struct.unpack('>I', header[20:24] if header[0] else header[12:16])[0])
                return ids
            if size < skipped:
                return ids
            file.seek(size - skipped, 1)
    return ids


def _is_auxiliary(track: bytes) -> bool:
    boxes = dict(_boxes(track))
    handler = dict(_boxes(boxes.get(b'mdia', b''))).get(b'hdlr', b'')[8:12]
    references = [name for name, _ in _boxes(boxes.get(b'tref', b''))]
    return b'tkhd' in boxes and (
        handler == AUXILIARY_HANDLER or any(name in AUXILIARY_REFERENCES for name in references)
    )


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place + 8 <= len(data):
        size, name = struct.unpack('>I4s', data[place : place + 8])
        if size < 8:
            return
        yield name, data[place + 8 : place + size]
        place += size


def frame_seconds(head: bytes) -> float | None:
    """Duration in seconds of a frame of raw audio, from its first bytes; None if the header is unknown.

    MPEG audio (ISO 11172-3, 2.4.2.3), AAC in ADTS (ISO 14496-3, 1.A.2.2), AC-3 and E-AC-3 (ETSI TS 102 366, 4.3,
    E.1.2).

    >>> frame_seconds(bytes.fromhex('fffb9064')), frame_seconds(bytes.fromhex('fff15080000000'))
    (0.026122448979591838, 0.023219954648526078)
    """
    if len(head) >= 7 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        rate = head[2] >> 2 & 15
        return ((head[6] & 3) + 1) * 1024 / _ADTS_RATES[rate] if rate < len(_ADTS_RATES) else None
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        version, layer, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 2 & 3
        if version == 1 or rate == 3:
            return None
        samples = {1: 384, 2: 1152, 3: 1152 if version == 3 else 576}[layer]
        return samples * {3: 1, 2: 2, 0: 4}[version] / _MPEG_RATES[rate]
    if len(head) >= 6 and head[:2] == b'\x0b\x77':
        code, blocks = head[4] >> 6, head[4] >> 4 & 3
        if head[5] >> 3 <= 10:
            return 1536 / _AC3_RATES[code] if code < 3 else None
        if head[2] >> 6 == 1:  # more channels of the previous frame
            return 0.0
        if code == 3:
            return 2 * 1536 / _AC3_RATES[blocks] if blocks < 3 else None
        return 256 * (1, 2, 3, 6)[blocks] / _AC3_RATES[code]
    return None


def _places(path: str, *, overlap: bool) -> Iterator[bytes]:
    """Parts of a file, spread over it."""
    done = 0
    with open_binary(path) as file:
        size = file.seek(0, os.SEEK_END)
        for k in range(PLACES):
            file.seek(size * k // PLACES if overlap else max(done, size * k // PLACES))
            data = file.read(PLACE_BYTES)
            done = file.tell()
            yield data


def clock_goes_back(path: str, head: re.Pattern[bytes], end: int | None) -> bool:
    """Whether a transport or program stream is a concatenation; misses short parts between two places.

    Reads the bytes itself, as every seek by FFmpeg in a transport stream leaks some memory.

    Args:
        path: The file.
        head: ``VIDEO_HEAD`` or ``AUDIO_HEAD``: the clock to check.
        end: End of this clock according to FFmpeg, in ticks; None if unknown.
    """
    times: list[int] = []
    for data in _places(path, overlap=True):
        if found := head.search(data):
            # Bits 33 to 1, with a marker after each 15.
            a, b, c = struct.unpack('>BHH', found[1][-5:])
            times.append((a >> 1 & 7) << 30 | b >> 1 << 15 | c >> 1)
    if end is not None:
        times.append(end % CLOCK_RANGE)
    back = [(before - after) / CLOCK_RATE for before, after in itertools.pairwise(times)]
    # A larger jump is a wrap-around of the clock, which FFmpeg handles.
    return any(BACK < seconds < CLOCK_RANGE / CLOCK_RATE / 2 for seconds in back)


def is_chained(path: str) -> bool:
    """Whether an Ogg file is a concatenation: a stream begins after pages of others, or at an earlier position.

    FFmpeg reads such a file forwards only; a seek leads to a wrong part.
    """
    reached: dict[bytes, int] = {}
    begun = False
    for flags, position, stream in itertools.chain.from_iterable(map(OGG_PAGE.findall, _places(path, overlap=False))):
        # All streams of a part begin before any of them continues.
        first, place = flags[0] & FIRST_PAGE, int.from_bytes(position, 'little', signed=True)
        again = begun and (first or stream not in reached)
        if again or 0 <= place < reached.get(stream, 0):
            return True
        begun = begun or not first
        reached[stream] = max(place, reached.get(stream, 0))
    return False
