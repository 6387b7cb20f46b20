"""Whether a wav file's header leaves sound out, as that of a recording which was broken off may."""

from __future__ import annotations

import os
import struct

# Fewer seconds behind the sound that the header tells of may be anything.
LEAST = 0.1
# A recorder that does not know the size yet writes one of these; FFmpeg reads on to the end.
UNKNOWN = (0, 0x7FFFFFFF, 0xFFFFFFFF)


def leaves_sound_out(path: str) -> bool:
    """Whether more than 0.1 s of bytes that are no chunk follow the samples of a RIFF file (IBM and Microsoft, 1991).

    Args:
        path: The file.
    """
    size = os.path.getsize(path)
    rate = 0
    with open(path, 'rb') as file:
        if file.read(12)[8:] != b'WAVE':
            return False
        while len(head := file.read(8)) == 8:
            name, length = struct.unpack('<4sI', head)
            if name == b'fmt ':
                rate = struct.unpack('<I', file.read(12)[8:12].ljust(4, b'\0'))[0]
                file.seek(-12, os.SEEK_CUR)
            end = file.tell() + length + length % 2
            if name == b'data':
                if length in UNKNOWN or size - end <= LEAST * rate:
                    return False
                file.seek(end)
                following = file.read(8)
                name, length = struct.unpack('<4sI', following.ljust(8, b'\0'))
                return not (name.isascii() and name.decode().isprintable() and end + 8 + length <= size + 1)
            file.seek(end)
    return False
