"""Results of transforms in one file, which several processes read and append to.

Beside the file is an index with an entry of fixed size for each place. Items are appended whole, and their entry is
written last; an entry that does not fit to its bytes, for whatever reason, counts as absent. So there are no locks.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

# stamp, place in the file, length, checksum
_ENTRY = struct.Struct('<qqqI4x')
_LENGTH = struct.Struct('<I')
_ALIGNED = 64
# id of an array -> its place, its bytes in order, and the array
_Arrays = dict[int, tuple[int, np.ndarray, np.ndarray]]


class Unstorable(Exception):
    """A value of a kind that is not stored; the text says which."""


class ItemFile:
    """Items by place, each with a stamp that says what it was made of.

    Args:
        path: The file; its index is ``path + '.index'``. Both are created if they are missing.
        number: How many places there are.

    Raises:
        OSError: The files cannot be opened.
    """

    def __init__(self, path: str, number: int) -> None:
        self.path, self.number = path, number
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return dict(path=self.path, number=self.number)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __del__(self) -> None:
        for name in ('_index', '_data'):
            if name in vars(self):
                os.close(vars(self).pop(name))

    def sizes(self) -> np.ndarray:
        """Bytes stored for each place (N,), 0 for none."""
        entries = np.frombuffer(os.pread(self._index, self.number * _ENTRY.size, 0), np.int64)
        return entries.reshape(self.number, -1)[:, 2].copy()

    def get(self, place: int, stamp: int) -> np.ndarray | None:
        """The bytes (L,) uint8 of an item, writable; None if there is none with this stamp, or it is damaged."""
        known, offset, length, checksum = _ENTRY.unpack(os.pread(self._index, _ENTRY.size, place * _ENTRY.size))
        if not length or known != stamp:
            return None
        item = np.empty(length, np.uint8)
        if os.preadv(self._data, [item.data], offset) != length or zlib.crc32(item.data) != checksum:
            return None
        return item

    def put(self, place: int, stamp: int, item: bytes) -> None:
        """Stores an item, in the place of an older one.

        Raises:
            OSError: There is no room, or another error.
        """
        if self._owner != os.getpid():  # a fork shares the position in the file, which has to be this process's own
            self.__del__()
            self._open()
        if os.write(self._data, item) != len(item):
            raise OSError(28, 'No space left on device')
        offset = os.lseek(self._data, 0, os.SEEK_CUR) - len(item)
        os.pwrite(self._index, _ENTRY.pack(stamp, offset, len(item), zlib.crc32(item)), place * _ENTRY.size)

    def _open(self) -> None:
        self._owner = os.getpid()
        self._data = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._index = os.open(f'{self.path}.index', os.O_RDWR | os.O_CREAT, 0o666)
        os.ftruncate(self._index, self.number * _ENTRY.size)


def pack_item(values: Mapping[str, Any]) -> bytes:
    """Turns a dict of arrays, tensors, lists, tuples, dicts, texts and numbers into bytes.

    Raises:
        Unstorable: A value is of another kind.
    """
    arrays: _Arrays = {}
    notes = {key: _encode(value, key, arrays) for key, value in values.items()}
    head = json.dumps(notes).encode()
    parts = [_LENGTH.pack(len(head)), head, bytes(-(_LENGTH.size + len(head)) % _ALIGNED)]
    for _, array, _ in arrays.values():
        parts += [array.tobytes(), bytes(-array.nbytes % _ALIGNED)]
    return b''.join(parts)


def unpack_item(item: np.ndarray) -> dict[str, Any]:
    """The dict that :func:`pack_item` got; its arrays share the memory of ``item`` (L,) uint8."""
    (length,) = _LENGTH.unpack_from(item.data)
    begin = _LENGTH.size + length
    notes = json.loads(item[_LENGTH.size : begin].tobytes())
    arrays = item[begin + -begin % _ALIGNED :]
    return {key: _decode(value, arrays) for key, value in notes.items()}


def _encode(value: Any, key: str, arrays: _Arrays) -> Any:
    """A value as JSON holds it: lists begin with what they are."""
    if isinstance(value, np.generic):
        return ['scalar', _encode(np.asarray(value), key, arrays)]
    if isinstance(value, torch.Tensor) and value.device.type == 'cpu' and not value.requires_grad:
        return ['tensor', _encode(value.numpy(), key, arrays)]
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return [type(value).__name__, *(_encode(each, key, arrays) for each in value)]
    if type(value) is dict and all(type(name) is str for name in value):
        return {name: _encode(each, key, arrays) for name, each in value.items()}
    if type(value) is np.ndarray and not value.dtype.hasobject and value.dtype.names is None:
        if id(value) not in arrays:
            end = sum(array.nbytes + -array.nbytes % _ALIGNED for _, array, _ in arrays.values())
            # the array itself, too: its id would otherwise be another's
            arrays[id(value)] = end, np.ascontiguousarray(value), value
        return ['array', value.dtype.str, list(value.shape), arrays[id(value)][0]]
    raise Unstorable(f'{key!r} is or holds a {type(value).__name__}')


def _decode(value: Any, arrays: np.ndarray) -> Any:
    if type(value) is dict:
        return {name: _decode(each, arrays) for name, each in value.items()}
    if type(value) is not list:
        return value
    kind, *rest = value
    if kind == 'array':
        dtype, shape, offset = rest
        return np.ndarray(shape, dtype, arrays, offset)
    if kind == 'scalar':
        return _decode(rest[0], arrays)[()]
    if kind == 'tensor':
        return torch.from_numpy(_decode(rest[0], arrays))
    found = [_decode(each, arrays) for each in rest]
    return found if kind == 'list' else tuple(found)
