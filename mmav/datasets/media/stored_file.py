"""Media files that are not files of this machine: their bytes come from a shard, an address, or a program's memory.

Everything that takes the path of a clip takes one of these. A reader loads its bytes once, when it opens it, and gives
them to the decoders through memory; nothing in them can make a decoder open another file.
"""

from __future__ import annotations

import hashlib
import io
import os
from typing import Any, BinaryIO

from mmav.errors import MediaError


class StoredFile(str):
    """Name of a media file whose bytes are elsewhere; as a string, what messages call it.

    Decoders guess the format from the bytes first and from the name's suffix second, as for files. Subclasses say where
    the bytes are.
    """

    def read(self) -> bytes:
        """All bytes of the file.

        Raises:
            MediaError: They cannot be had; a MissingMediaError if there is no such file.
        """
        raise NotImplementedError(f'{type(self).__name__} does not say where its bytes are')

    def stamp(self) -> tuple[str, int, int]:
        """What tells this file from others, for caches: where it is, its size in bytes and a number of its version.

        Raises:
            OSError: It cannot be reached.
        """
        raise NotImplementedError(f'{type(self).__name__} does not say what tells it from others')


class BytesFile(StoredFile):
    """A media file in memory.

    Args:
        name: What messages call it; a suffix such as ``.mp3`` helps where the bytes alone do not tell the format.
        data: Its bytes.

    >>> BytesFile('upload.mp4', b'abc').read()
    b'abc'
    """

    data: bytes
    _digest: int | None

    def __new__(cls, name: str, data: bytes) -> BytesFile:
        file = super().__new__(cls, name)
        file.data, file._digest = data, None
        return file

    def __getnewargs__(self) -> tuple[Any, ...]:
        return str(self), self.data

    def read(self) -> bytes:
        """The bytes it was made with."""
        return self.data

    def stamp(self) -> tuple[str, int, int]:
        """Its name, its size, and a digest of its bytes."""
        if self._digest is None:
            self._digest = int.from_bytes(hashlib.blake2b(self.data, digest_size=8).digest(), 'big')
        return str(self), len(self.data), self._digest


class LoadedFile(StoredFile):
    """The bytes of a StoredFile, while a reader has it open. It pickles, in errors for example, as its mere name."""

    _data: bytes
    _origin: StoredFile

    def __new__(cls, origin: StoredFile) -> LoadedFile:
        file = super().__new__(cls, origin)
        file._data, file._origin = origin.read(), origin
        return file

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)

    def read(self) -> bytes:
        """The loaded bytes."""
        return self._data

    def stamp(self) -> tuple[str, int, int]:
        """That of the file that was loaded."""
        return self._origin.stamp()


def load_file(path: StoredFile) -> LoadedFile:
    """Loads the bytes of a file.

    Raises:
        MediaError: They cannot be had, or there are none.
    """
    if isinstance(path, LoadedFile):
        return path
    loaded = LoadedFile(path)
    if not loaded.read():
        raise MediaError(str(path), 'is an empty file (0 bytes)')
    return loaded


def open_binary(path: str) -> BinaryIO:
    """Opens a file for reading its bytes."""
    return io.BytesIO(path.read()) if isinstance(path, StoredFile) else open(path, 'rb')


def size_of_file(path: str) -> int:
    """Bytes of a file."""
    return len(path.read()) if isinstance(path, StoredFile) else os.path.getsize(path)


def stamp_of(path: str) -> tuple[str, int, int]:
    """What tells a file from others: its absolute path, size in bytes and time of change, or its own ``stamp``.

    Raises:
        OSError: It cannot be reached.
    """
    if isinstance(path, StoredFile):
        return path.stamp()
    status = os.stat(path)
    return os.path.abspath(path), status.st_size, status.st_mtime_ns
