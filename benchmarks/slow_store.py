"""A file system that answers late, as a cluster's or an object store does, for fsspec and for FFmpeg.

Each file that is opened costs so many seconds, and each read so many, whatever its length; nothing is cached.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import fsspec
from fsspec.implementations.local import LocalFileSystem

from mmav.datasets.media import opening
from mmav.datasets.media.stored_file import StoredFile, stamp_of

SCHEME = 'slow'
# what FFmpeg reads at a time
PIECE = 1 << 15


class Delays:
    """Seconds that the store takes, and what was asked of it.

    Attributes:
        opening: Seconds to open a file.
        reading: Seconds a read.
        opened: Files opened so far.
        reads: Reads so far.
    """

    opening, reading = 5e-3, 1e-3
    opened = reads = 0

    @classmethod
    def open(cls) -> None:
        """Opens a file."""
        cls.opened += 1
        time.sleep(cls.opening)

    @classmethod
    def read(cls) -> None:
        """Reads once."""
        cls.reads += 1
        time.sleep(cls.reading)


class SlowFileSystem(LocalFileSystem):
    """Files of this machine at ``slow:///folder``; a range that is asked for opens its file and reads once."""

    protocol = SCHEME

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix(f'{SCHEME}://')))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """The bytes of a file, or a part of them."""
        Delays.open()
        Delays.read()
        with open(self._strip_protocol(path), 'rb', buffering=0) as file:
            file.seek(start or 0)
            return file.read(-1 if end is None else end - (start or 0))


fsspec.register_implementation(SCHEME, SlowFileSystem, clobber=True)


class SlowFile(io.RawIOBase):
    """A file that FFmpeg reads through PyAV, in pieces of :data:`PIECE`, as it reads a file by itself.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        Delays.open()
        self.name = path
        self._file = open(path, 'rb', buffering=0)  # noqa: SIM115, closed with this

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Costs nothing."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        """Reads once."""
        Delays.read()
        return self._file.readinto(buffer) or 0

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        super().close()

    def read_all(self) -> int:
        """Reads it to its end in pieces; returns its bytes."""
        piece, total = bytearray(PIECE), 0
        while got := self.readinto(piece):
            total += got
        return total


class WholeFile(StoredFile):
    """A file that is read in one piece before FFmpeg gets it."""

    def read(self) -> bytes:
        """Its bytes, of one read."""
        Delays.open()
        Delays.read()
        with open(self, 'rb', buffering=0) as file:
            return file.read()

    def stamp(self) -> tuple[str, int, int]:
        """As of the file on the disk."""
        return stamp_of(str(self))


@contextmanager
def slow_files() -> Iterator[None]:
    """Has the readers of clips open files by :class:`SlowFile`."""
    with mock.patch.object(opening, 'file_url', SlowFile):
        yield
