"""The index of a set of shards: where each clip is, in flat columns that are mapped into memory, not read.

It opens at once however many clips there are, and all processes of a machine share its pages.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from array import array
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mmav.errors import ConfigError, MmavError

INDEX = 'shards.index'
# the folder of a dataset that shards are packed to
SHARDS = 'shards'
_MAGIC = b'mmavshd1'
_HEAD = struct.Struct('<8sQI4x')
_ALIGNED = 64
# A name's hash is the sum of its bytes, each times the number of its place: computed for many names at once.
_FACTORS = np.random.PCG64(20).random_raw(4096) | np.uint64(1)
_CHUNK = 1 << 16


class Shard(NamedTuple):
    """A shard: its name, its bytes, and the first of its clips; the next shard's first one ends them."""

    name: str
    size: int
    first: int


class Place(NamedTuple):
    """Where the bytes of a clip are: which shard, its first byte there, its length, and their CRC-32."""

    shard: int
    offset: int
    size: int
    checksum: int


def hash_names(blob: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Hashes of names, (N,) uint64.

    Args:
        blob: UTF-8 of all names, one after the other (M,) uint8.
        ends: Where each ends (N,).
    """
    hashes = np.empty(len(ends), np.uint64)
    for first in range(0, len(ends), _CHUNK):
        last = ends[first : first + _CHUNK].astype(np.int64)
        begin = int(ends[first - 1]) if first else 0
        starts = np.concatenate([[begin], last[:-1]])
        lengths = last - starts
        places = np.arange(begin, last[-1]) - np.repeat(starts, lengths)
        terms = (blob[begin : last[-1]].astype(np.uint64) + np.uint64(1)) * _FACTORS[places % len(_FACTORS)]
        sums = np.zeros(len(last), np.uint64)
        some = lengths > 0
        if some.any():
            sums[some] = np.add.reduceat(terms, starts[some] - begin)
        sums ^= sums >> np.uint64(32)
        sums *= np.uint64(0x9E3779B97F4A7C15)
        hashes[first : first + _CHUNK] = sums ^ (sums >> np.uint64(29))
    return hashes


def joined(names: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 of all names, one after the other (M,) uint8, and where each ends (N,) int64."""
    encoded = [name.encode() for name in names]
    ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
    return np.frombuffer(b''.join(encoded), np.uint8), ends


class IndexBuilder:
    """Gathers the clips of shards, shard by shard and in each in the order of its bytes.

    Args:
        source: Where the shards are; empty if they are beside the index.
    """

    def __init__(self, source: str = '') -> None:
        self._source = source
        self._shards: list[Shard] = []
        self._names = bytearray()
        self._columns = dict(
            ends=array('q'), shard=array('i'), offset=array('q'), size=array('q'), checksum=array('I')
        )  # fmt: skip

    def add_shard(self, name: str, size: int) -> None:
        """Begins a shard."""
        self._shards.append(Shard(name, size, len(self._columns['ends'])))

    def add(self, name: str, offset: int, size: int, checksum: int) -> None:
        """Adds a clip of the shard that was begun last."""
        self._names += name.encode()
        row = len(self._names), len(self._shards) - 1, offset, size, checksum
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)

    def finish(self) -> bytes:
        """The bytes of the index.

        Raises:
            MmavError: Two clips have the same name.
        """
        columns = {name: np.frombuffer(column, column.typecode) for name, column in self._columns.items()}
        blob = np.frombuffer(self._names, np.uint8)
        hashes = hash_names(blob, columns['ends'])
        order = np.argsort(hashes, kind='stable')
        hashes = hashes[order]
        for k in np.flatnonzero(hashes[1:] == hashes[:-1]).tolist():
            one, two = (self._name(int(order[each])) for each in (k, k + 1))
            if one == two:
                raise MmavError(f'two clips of the shards are named {one!r}: a clip is found by its name')
            raise MmavError(f'the names {one!r} and {two!r} have the same hash: rename one')
        columns |= dict(names=blob, hashes=hashes, order=order.astype(np.int32))
        body, table = bytearray(), {}
        for name, column in columns.items():
            body += bytes(-len(body) % _ALIGNED)
            table[name] = [column.dtype.str, len(column), len(body)]
            body += np.ascontiguousarray(column).data.cast('B') if len(column) else b''
        text = json.dumps(
            dict(source=self._source, shards=self._shards, columns=table, body=len(body), identity=zlib.crc32(body))
        ).encode()
        head = _HEAD.pack(_MAGIC, len(text), zlib.crc32(text)) + text
        return b''.join([head, bytes(-len(head) % _ALIGNED), body])

    def _name(self, clip: int) -> str:
        ends = self._columns['ends']
        return self._names[ends[clip - 1] if clip else 0 : ends[clip]].decode()


class ShardIndex:
    """An index, mapped into memory.

    Args:
        path: Its file.

    Raises:
        ConfigError: There is none.
        MmavError: It is not whole.

    Attributes:
        path: As given.
        shards: The shards.
        source: Where they are; empty if they are beside the index.
        identity: Differs between indices.
        shard: Which shard each clip is in (N,).
        offset: First byte of each (N,).
        size: Bytes of each (N,).
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            with open(path, 'rb') as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigError(
                f"no index of shards at '{path}': `mmav make-shards` makes shards and their index, and with --index "
                'the index of shards that are there'
            ) from None
        except (OSError, ValueError) as error:
            raise MmavError(f"the index of shards '{path}' cannot be read: {error}") from error
        try:
            magic, length, checksum = _HEAD.unpack_from(self._map)
            text = self._map[_HEAD.size : _HEAD.size + length]
            if magic != _MAGIC or zlib.crc32(text) != checksum:
                raise ValueError('its head is damaged')
            head = json.loads(text)
            begin = _HEAD.size + length
            begin += -begin % _ALIGNED
            if len(self._map) != begin + head['body']:
                raise ValueError(f'it has {len(self._map):,} bytes, not {begin + head["body"]:,}')
        except (struct.error, ValueError) as error:
            raise MmavError(f"'{path}' is no whole index of shards ({error}): make it again") from error
        column = {
            name: np.frombuffer(self._map, dtype, number, begin + at)
            for name, (dtype, number, at) in head['columns'].items()
        }
        self.source: str = head['source']
        self.identity: int = head['identity']
        self.shards = [Shard(*each) for each in head['shards']]
        self.shard, self.offset, self.size = column['shard'], column['offset'], column['size']
        self._names, self._ends, self._checksum = column['names'], column['ends'], column['checksum']
        self._hashes, self._order = column['hashes'], column['order']

    def __len__(self) -> int:
        return len(self.shard)

    def __reduce__(self) -> tuple[object, ...]:
        return same_index, (self.path, self.identity)

    def name(self, clip: int) -> str:
        """Name of a clip."""
        begin = int(self._ends[clip - 1]) if clip else 0
        return self._names[begin : int(self._ends[clip])].tobytes().decode()

    def place(self, clip: int) -> Place:
        """Where a clip is."""
        return Place(int(self.shard[clip]), int(self.offset[clip]), int(self.size[clip]), int(self._checksum[clip]))

    def find(self, name: str) -> int:
        """The clip of a name; -1 if there is none."""
        clip = int(self.find_all(*joined([name]))[0])
        return clip if clip < 0 or self.name(clip) == name else -1

    def find_all(self, blob: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The clips of many names, (N,), by their hashes alone; -1 where there is none.

        Args:
            blob: UTF-8 of all names, one after the other (M,) uint8.
            ends: Where each ends (N,).
        """
        hashes = hash_names(blob, ends)
        if not len(self):
            return np.full(len(hashes), -1)
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self) - 1)
        return np.where(self._hashes[at] == hashes, self._order[at], -1).astype(np.int64)


@lru_cache(maxsize=8)
def _opened(path: str, size: int, time: int) -> ShardIndex:
    return ShardIndex(path)


def open_index(path: str) -> ShardIndex:
    """An index, opened once in a process as long as its file is the same.

    Raises:
        ConfigError: There is none.
        MmavError: It is not whole.
    """
    try:
        status = os.stat(path)
    except OSError:
        return ShardIndex(path)  # which says what is wrong
    return _opened(path, status.st_size, status.st_mtime_ns)


def same_index(path: str, identity: int) -> ShardIndex:
    """The index that another process has open.

    Raises:
        MmavError: Its file is another one by now.
    """
    index = open_index(path)
    if index.identity != identity:
        raise MmavError(f"'{path}' was replaced while it was in use: start again")
    return index
