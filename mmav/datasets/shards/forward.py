"""Reads shards forward, in big blocks, each once: for stores in which a seek costs more than a megabyte."""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

from mmav.datasets.shards.index import ShardIndex
from mmav.datasets.shards.stores import ShardPipe, Store

BLOCK = 8 << 20


class Pool(NamedTuple):
    """Clips that are read one after the other and drawn at random.

    Attributes:
        stretches: Where their bytes are: a shard, its first byte and the one after its last, in the order of reading.
        clips: Their indices in the dataset.
    """

    stretches: tuple[tuple[int, int, int], ...]
    clips: tuple[int, ...]


class ForwardReader:
    """Reads the clips of one pool after another, and keeps the blocks that the pool needs.

    Args:
        index: The shards' index.
        store: Where their bytes are.
        block: Bytes that are read at a time; defaults to :data:`BLOCK`.
    """

    def __init__(self, index: ShardIndex, store: Store, *, block: int | None = None) -> None:
        self._index, self._store, self._block = index, store, block or BLOCK
        self._pool: Pool | None = None
        self._blocks: dict[tuple[int, int], bytes] = {}
        # of a pipe: its shard, how many bytes of it were read, and the rest
        self._pipe: tuple[int, int, BinaryIO] | None = None

    def close(self) -> None:
        """Ends a command that prints a shard."""
        if self._pipe is not None:
            self._pipe[2].close()
        self._pipe = None

    def read(self, shard: int, begin: int, size: int, pool: Pool) -> bytes:
        """Reads bytes of a shard, fewer at its end.

        Args:
            shard: The shard.
            begin: The first byte.
            size: How many.
            pool: The pool that the bytes belong to.

        Raises:
            OSError: There is no such shard, or it cannot be read.
        """
        if pool != self._pool:
            needed = {(one, k) for one, first, end in pool.stretches for k in self._spanned(first, end)}
            self._blocks = {key: block for key, block in self._blocks.items() if key in needed}
            self._pool = pool
        wanted = self._spanned(begin, begin + size)
        for k in wanted:
            if (shard, k) not in self._blocks:
                self._load(shard, k, pool)
        first = wanted.start * self._block
        data = b''.join(self._blocks[shard, k] for k in wanted) if len(wanted) > 1 else self._blocks[shard, wanted[0]]
        return data[begin - first : begin - first + size]

    def _spanned(self, begin: int, end: int) -> range:
        """The blocks that bytes lie in."""
        return range(begin // self._block, max(begin, end - 1) // self._block + 1)

    def _load(self, shard: int, k: int, pool: Pool) -> None:
        if not isinstance(self._store, ShardPipe):
            begin = k * self._block
            size = min(self._block, max(0, self._index.shards[shard].size - begin))
            self._blocks[shard, k] = self._store.read(self._index.shards[shard].name, begin, size)
            return
        # what comes before it in the pool passes by, and is needed later
        for one, first, end in pool.stretches:
            for block in self._spanned(first, end):
                if (one, block) not in self._blocks:
                    self._blocks[one, block] = self._next_of_pipe(one, block)
                if (one, block) == (shard, k):
                    return
        self._blocks[shard, k] = self._next_of_pipe(shard, k)

    def _next_of_pipe(self, shard: int, k: int) -> bytes:
        begin = k * self._block
        if self._pipe is None or self._pipe[0] != shard or self._pipe[1] > begin:
            self.close()
            self._pipe = shard, 0, self._store.open(self._index.shards[shard].name)
        _, place, file = self._pipe
        try:
            while place < begin and (passed := len(file.read(min(self._block, begin - place)))):
                place += passed
            data = file.read(self._block) if place == begin else b''
        except OSError:
            self.close()
            raise
        self._pipe = shard, place + len(data), file
        return data
