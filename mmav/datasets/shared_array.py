"""Large arrays that a process and all its workers have in memory once, whether workers are forked or spawned.

They are in a file without a name: on Linux one in memory (``memfd_create``), which a small ``/dev/shm``, as containers
have it, does not limit; elsewhere one on disk. A forked worker maps it with the rest of the memory, a spawned one gets
the open file.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen
from typing import Any

import numpy as np

# Bytes from which an array is worth open files; smaller ones are copied.
SHARED_FROM = 1 << 20
_BLOCK = 1 << 16


class SharedArray:
    """An array that cannot be changed, and that workers share.

    Args:
        values: Its content, which is copied if it is large.

    Attributes:
        values: The array.
    """

    values: np.ndarray

    def __init__(self, values: np.ndarray) -> None:
        self._file: int | None = None
        self.values = values
        if values.nbytes >= SHARED_FROM and os.name == 'posix':
            # without room for another file it stays as it is: more memory, the same values
            with suppress(OSError):
                self._map(_file_of([values.ravel()]), values.dtype, values.shape)

    def _map(self, file: int, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self._file = file
        weakref.finalize(self, os.close, file)
        self.values = np.frombuffer(mmap.mmap(file, 0, access=mmap.ACCESS_READ), dtype).reshape(shape)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._file is None or get_spawning_popen() is None:
            return SharedArray, (np.array(self.values),)
        # on its way to a worker, which gets the file itself
        return _attached, (reduction.DupFd(self._file), self.values.dtype, self.values.shape)

    def __deepcopy__(self, memo: dict[int, Any]) -> SharedArray:
        return self


def _attached(file: Any, dtype: np.dtype, shape: tuple[int, ...]) -> SharedArray:
    return _of_file(file.detach(), dtype, shape)


def _of_file(file: int, dtype: np.dtype, shape: tuple[int, ...]) -> SharedArray:
    array = SharedArray(np.empty(0))
    array._map(file, dtype, shape)
    return array


class GrowingArray:
    """Numbers of unknown number, which become a :class:`SharedArray` of the smallest type that holds them.

    Millions of them never pass through the heap. What is freed there stays with the process, and with each worker that
    is forked from it: a worker that uses such memory again gets a copy of its own.

    Args:
        dtype: Type of the numbers that are added: int64 or float64, or uint8, which stays.
    """

    def __init__(self, dtype: Any) -> None:
        self._dtype = np.dtype(dtype)
        self._few, self._size = bytearray(), 0
        self._file: int | None = None
        self._fits: set[Any] = set(_SMALLER.get(self._dtype.name, ()))
        self._has_room = os.name == 'posix'

    def append(self, values: np.ndarray) -> None:
        """Adds numbers."""
        values = np.ascontiguousarray(values, dtype=self._dtype)
        self._fits = {kind for kind in self._fits if _holds(kind, values)}
        if self._file is None:
            self._few += values.tobytes()
            if len(self._few) >= SHARED_FROM and self._has_room:
                self._to_file()
        else:
            self._write(values.tobytes())

    def take(self) -> SharedArray:
        """The array; what grows is empty then."""
        kind = min((np.dtype(kind) for kind in self._fits), key=lambda kind: kind.itemsize, default=self._dtype)
        few, file, size = self._few, self._file, self._size
        self.__init__(self._dtype)  # type: ignore[misc]
        if file is None:
            return SharedArray(np.frombuffer(few, self._dtype).astype(kind))
        whole = _of_file(file, self._dtype, (size // self._dtype.itemsize,))
        if kind == self._dtype:
            return whole
        blocks = (whole.values[k : k + _BLOCK].astype(kind) for k in range(0, len(whole.values), _BLOCK))
        try:
            return _of_file(_file_of(blocks), kind, whole.values.shape)
        except OSError:
            return whole

    def _to_file(self) -> None:
        few, self._few = self._few, bytearray()
        try:
            self._file, self._size = _nameless(), 0
        except OSError:
            self._few, self._has_room = few, False
        else:
            self._write(few)

    def _write(self, data: bytes | bytearray) -> None:
        assert self._file is not None
        try:
            _write_all(self._file, data)
            self._size += len(data)
        except OSError:
            # the disk is full: on in the heap
            with open(self._file, 'rb') as stream:
                stream.seek(0)
                self._few = bytearray(stream.read(self._size)) + data
            self._file, self._has_room = None, False


# type -> smaller ones that may hold its numbers
_SMALLER: dict[str, tuple[Any, ...]] = dict(int64=(np.int16, np.int32), float64=(np.float32,))


def _holds(kind: Any, values: np.ndarray) -> bool:
    if values.dtype.kind == 'f':
        return np.array_equal(values.astype(kind), values, equal_nan=True)
    info = np.iinfo(kind)
    return bool(values.min(initial=0) >= info.min and values.max(initial=0) <= info.max)


def _file_of(blocks: Iterable[np.ndarray]) -> int:
    """An open file without a name that holds some arrays, one after the other.

    Raises:
        OSError: There is no room for it.
    """
    file = _nameless()
    try:
        for block in blocks:
            _write_all(file, np.ascontiguousarray(block).data.cast('B'))
    except BaseException:
        os.close(file)
        raise
    return file


def _write_all(file: int, data: Any) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _nameless() -> int:
    if hasattr(os, 'memfd_create'):  # not on macOS, nor in every sandbox
        with suppress(OSError):
            return os.memfd_create('mmav')
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def compact(values: np.ndarray) -> np.ndarray:
    """The same numbers in the smallest type that holds them all: integers in 16, 32 or 64 bits, others in 32 or 64.

    >>> compact(np.array([3, 70_000])).dtype.name, compact(np.array([0.5, np.nan])).dtype.name
    ('int32', 'float32')
    """
    fitting = (kind for kind in _SMALLER.get(values.dtype.name, ()) if _holds(kind, values))
    return values.astype(next(fitting, values.dtype))
