"""Blocks read forward: each once while its pool lasts, whatever the order of the clips."""

from __future__ import annotations

import io

import pytest

from mmav.datasets.shards.forward import ForwardReader, Pool
from mmav.datasets.shards.index import IndexBuilder, ShardIndex
from mmav.datasets.shards.stores import ShardFiles, ShardPipe

DATA = [bytes((k + shard * 7) % 251 for k in range(1000)) for shard in range(2)]
# across a border of shards, and with a gap
POOLS = [Pool(((0, 0, 350),), ()), Pool(((0, 350, 1000), (1, 0, 120)), ()), Pool(((1, 120, 1000),), ())]


class Files(ShardFiles):
    """Shards that note what is read of them."""

    def __init__(self):
        super().__init__('.')
        self.reads = []

    def read(self, shard, begin, size):
        self.reads.append((shard, begin))
        return DATA[int(shard)][begin : begin + size]


class Pipe(ShardPipe):
    """Commands that note which of them were begun."""

    def __init__(self):
        super().__init__('cat {}')
        self.begun = []

    def open(self, shard):
        self.begun.append(shard)
        return io.BytesIO(DATA[int(shard)])


@pytest.fixture
def index(tmp_path):
    builder = IndexBuilder()
    for shard in range(2):
        builder.add_shard(str(shard), 1000)
    (tmp_path / 'i').write_bytes(builder.finish())
    return ShardIndex(str(tmp_path / 'i'))


def read_all(reader: ForwardReader) -> None:
    for pool in POOLS:
        for shard, begin, end in reversed(pool.stretches):
            for first in range(begin, end, 90)[::-1]:
                size = min(90, end - first)
                assert reader.read(shard, first, size, pool) == DATA[shard][first : first + size]


def test_each_block_of_files_is_read_once(index):
    store = Files()
    reader = ForwardReader(index, store, block=100)
    read_all(reader)
    assert len(store.reads) == 20 == len(set(store.reads))
    assert len(reader._blocks) <= 9  # those of the last pool


def test_a_command_runs_once_for_each_shard_and_again_only_to_go_back(index):
    store = Pipe()
    reader = ForwardReader(index, store, block=100)
    read_all(reader)
    assert store.begun == ['0', '1']
    assert reader.read(0, 10, 5, POOLS[0]) == DATA[0][10:15]
    assert store.begun == ['0', '1', '0']
    reader.close()


def test_the_end_of_a_shard_gives_fewer_bytes(index):
    for store in (Files(), Pipe()):
        assert ForwardReader(index, store, block=300).read(1, 990, 20, POOLS[2]) == DATA[1][990:]
