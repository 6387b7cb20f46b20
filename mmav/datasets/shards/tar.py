"""Tar files of clips in WebDataset's layout: ``key.mp4``, then ``key.json`` with what the manifest says of the clip."""

from __future__ import annotations

import json
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
# WebDataset's: a sample's key ends at the first dot after the last slash, its field's name is what follows
_KEY = re.compile(r'((?:.*/|)[^.]+)[.]([^/]*)')
_CHUNK = 1 << 20


class Packed(NamedTuple):
    """Where a file is in a tar file.

    Attributes:
        name: Its name there.
        offset: Its first byte.
        size: Its bytes.
        checksum: CRC-32 of them.
    """

    name: str
    offset: int
    size: int
    checksum: int


class TornTar(Exception):
    """A tar file that ends too early or is none; the text says where."""


def split_name(name: str) -> tuple[str, str] | None:
    """The key and the field of a file in a shard, as WebDataset splits its name; None if it has none.

    >>> split_name('clips/7.mp4'), split_name('a.b/7.left.mp4'), split_name('.hidden')
    (('clips/7', 'mp4'), ('a.b/7', 'left.mp4'), None)
    """
    found = _KEY.fullmatch(name)
    return (found[1], found[2]) if found else None


def keys_of(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The key and the field under which each clip is packed.

    A key has no dot after its last slash, as WebDataset's would end there, and is given once, whatever the case of its
    letters. A file outside the folder goes to ``outside/``.

    >>> list(keys_of(['a/x.mp4', 'a/x.wav', '/b/y.1.MP4']))
    [('a/x', 'mp4'), ('a/x_2', 'wav'), ('outside/y_1', 'MP4')]
    """
    taken: set[str] = set()
    for path in paths:
        place = PurePosixPath(os.path.normpath(path).replace(os.sep, '/'))
        if place.is_absolute() or '..' in place.parts:
            place = PurePosixPath('outside', place.name)
        suffix = place.suffix[1:] or 'bin'
        stem = str(place.with_name(place.stem.replace('.', '_')))
        key, number = stem, 1
        while key.lower() in taken:
            number += 1
            key = f'{stem}_{number}'
        taken.add(key.lower())
        yield key, suffix


def note_of(path: str, rows: Sequence[Mapping[str, str]]) -> bytes:
    """``key.json`` of a clip: its path, and the cells of its row, or the list of its ``rows`` if it has several."""
    more = dict(rows[0]) if len(rows) == 1 else dict(rows=[dict(row) for row in rows])
    return json.dumps(dict(more, path=path), ensure_ascii=False, sort_keys=True).encode()


def header_of(name: str, size: int) -> bytes:
    """The header of a file: the same bytes whenever and by whomever it is packed."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT, 'utf-8', 'strict')


def room_of(name: str, size: int) -> int:
    """Bytes that a file takes in a tar file."""
    return len(header_of(name, size)) + size + -size % BLOCK


class TarWriter:
    """Writes a tar file.

    Args:
        file: Where to, at its beginning.

    Attributes:
        checksum: CRC-32 of all bytes written.
        size: How many there are.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.checksum = self.size = 0

    def add(self, name: str, data: bytes) -> Packed:
        """Adds a file."""
        self._write(header_of(name, len(data)))
        packed = Packed(name, self.size, len(data), zlib.crc32(data))
        self._write(data)
        self._write(bytes(-len(data) % BLOCK))
        return packed

    def finish(self) -> None:
        """Ends the tar file."""
        self._write(END)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self.checksum = zlib.crc32(data, self.checksum)
        self.size += len(data)


class _Counting:
    """A file that is read forward, and knows how far, and the checksum of what was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = self.checksum = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.size += len(data)
        self.checksum = zlib.crc32(data, self.checksum)
        return data


class TarScan:
    """Reads a tar file forward, once.

    Args:
        file: The file at its beginning; may be a pipe.
        keep: Whether the bytes of a file of this name are wanted; None for no file.

    Attributes:
        size: Bytes of the tar file, once all was read.
        checksum: CRC-32 of them.
    """

    def __init__(self, file: BinaryIO, keep: Callable[[str], bool] | None = None) -> None:
        self._file = file
        self._keep = keep or (lambda name: False)
        self.size = self.checksum = 0

    def __iter__(self) -> Iterator[tuple[Packed, bytes]]:
        """Where each regular file is, and its bytes, empty if they are not wanted.

        Raises:
            TornTar: The tar file ends too early, is none, or is compressed: its files cannot be read by range.
        """
        file: Any = _Counting(self._file)
        try:
            with tarfile.open(fileobj=file, mode='r|', bufsize=_CHUNK) as tar:
                for info in tar:
                    if info.isreg():
                        yield _scanned(tar, info, self._keep(info.name))
                    tar.members = []  # type: ignore[attr-defined]  # otherwise it keeps all
                end = tar.offset
        except (tarfile.TarError, EOFError) as error:
            raise TornTar(f'is no whole tar file: {error}; a compressed one has to be unpacked first') from error
        while file.read(_CHUNK):
            pass
        # a file that ends without its blocks of zeros is whole to tarfile
        if file.size < end + BLOCK:
            raise TornTar(f'ends after {file.size:,} bytes, without the end of a tar file')
        self.size, self.checksum = file.size, file.checksum


def _scanned(tar: tarfile.TarFile, info: tarfile.TarInfo, keep: bool) -> tuple[Packed, bytes]:
    source: Any = tar.extractfile(info)
    checksum, chunks = 0, []
    while chunk := source.read(_CHUNK):
        checksum = zlib.crc32(chunk, checksum)
        if keep:
            chunks.append(chunk)
    return Packed(info.name, info.offset_data, info.size, checksum), b''.join(chunks)
