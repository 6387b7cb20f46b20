"""Which picture tracks of a file are not its picture: depth, transparency, thumbnails, single images beside a film."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import av
from av.stream import Disposition

from .demux import MOV

# No player shows these by themselves.
NOT_BY_ITSELF = (
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
)
# Handler of a track of auxiliary pictures, and how a track refers to the one to which it belongs (ISO 14496-12, 12.1.1
# and 8.3.3; MIAF, ISO 23000-22).
AUXILIARY_HANDLER = b'auxv'
AUXILIARY_REFERENCES = (b'auxl', b'thmb', b'cdsc', b'vdep')
# A larger index is not searched.
LARGEST_INDEX = 1 << 26


def auxiliary_tracks(path: str, container: av.container.InputContainer) -> set[int]:
    """Indices of the tracks that belong to another, or stand for it.

    Args:
        path: The file.
        container: The file, open.
    """
    found = {stream.index for stream in container.streams if stream.disposition & NOT_BY_ITSELF}
    pictures = [stream for stream in container.streams.video if stream.index not in found]
    if len(pictures) > 1 and container.format.name == MOV:
        # FFmpeg takes them for pictures as all others.
        ids = _auxiliary_ids(path)
        found |= {stream.index for stream in pictures if stream.id in ids}
        pictures = [stream for stream in pictures if stream.index not in found]
    films = [stream for stream in pictures if stream.frames > 1]
    if films:
        found |= {stream.index for stream in pictures if stream.frames == 1}
    return found


def learn_parameters(container: av.container.InputContainer, stream: Any) -> None:
    """Decodes the first frame of a sound track of which FFmpeg could not find out rate and channels.

    It reads no further than the first megabytes, or knows a codec only at their end.

    Args:
        container: The file, as it was opened; it stands at its start again.
        stream: The track.
    """
    packets: Any = container.demux(stream)
    try:
        for packet in packets:
            try:
                if packet.size and packet.decode():
                    break
            except av.FFmpegError:
                continue
    except (av.FFmpegError, IndexError):
        pass
    finally:
        packets.close()
    stream.codec_context.flush_buffers()
    try:
        container.seek(0, unsupported_byte_offset=True)
    except av.FFmpegError:
        container.seek(0)


def _auxiliary_ids(path: str) -> set[int]:
    ids: set[int] = set()
    with open(path, 'rb') as file:
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack('>I4s', head)
            skipped = 8
            if size == 1:
                size, skipped = struct.unpack('>Q', file.read(8))[0], 16
            if kind == b'moov' and size <= LARGEST_INDEX:
                for name, track in _boxes(file.read(size - skipped)):
                    if name == b'trak' and _is_auxiliary(track):
                        # The number stands behind two times, of 4 bytes each, or of 8.
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
