"""Recognises files of weights, and what is not one, by their content."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path

_START = 512
# more than any model's list of names and shapes (safetensors refuses longer ones, too)
_LONGEST_HEADER = 100_000_000
_TAR = slice(257, 262)


def is_safetensors(path: str | os.PathLike[str]) -> bool:
    """Whether a file looks like safetensors: the length of a header in eight bytes, then the header in JSON."""
    with open(path, 'rb') as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b'{' and 2 <= int.from_bytes(start[:8], 'little') <= _LONGEST_HEADER


def why_no_weights(path: str | os.PathLike[str]) -> str:
    """A description of a file that cannot be weights; empty if it may be weights.

    Recognises what servers and repositories send instead of a file, such as a web page or a Git LFS pointer, archives
    that have to be unpacked first, and files that are cut off.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, 'rb') as file:
        start = file.read(_START)
    if not start:
        return 'an empty file'
    if re.match(rb'\s*<(!doctype|html)', start, re.IGNORECASE):
        return 'a web page'
    if start.startswith(b'version https://git-lfs'):
        return 'a Git LFS pointer to the file'
    if start.startswith(b'PK'):
        return _why_no_zip(path)
    if is_safetensors(path):
        return _why_torn(path)
    if start.startswith((b'\x1f\x8b', b'BZh', b'\xfd7zXZ')) or start[_TAR] == b'ustar':
        return 'a packed archive'
    if all(byte in b'\t\n\r' or 32 <= byte < 127 for byte in start):
        return 'text'
    return ''


def _why_no_zip(path: str | os.PathLike[str]) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return 'only a part of a file'
    return '' if any(Path(name).name == 'data.pkl' for name in names) else 'a packed archive'


def _why_torn(path: str | os.PathLike[str]) -> str:
    """For safetensors, whose header holds the end of each tensor."""
    size = os.path.getsize(path)
    with open(path, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
        if 8 + length > size:
            return 'only a part of a file'
        try:
            header = json.loads(file.read(length))
            ends = [entry['data_offsets'][1] for name, entry in header.items() if name != '__metadata__']
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return ''  # its reader reports what is wrong
    return 'only a part of a file' if 8 + length + max(ends, default=0) > size else ''
