"""Reads all shards of an index and compares them with it."""

from __future__ import annotations

from functools import partial

from mmav.datasets.shards.index import ShardIndex
from mmav.datasets.shards.stores import Store, reason_of
from mmav.datasets.shards.tar import TarScan, TornTar
from mmav.parallel import Lost, run_parallel


def verify(index: ShardIndex, store: Store, *, jobs: int | None = None) -> list[tuple[str, str]]:
    """Reads all shards of an index and compares them with it.

    Args:
        index: The index.
        store: Where the shards are.
        jobs: Processes; defaults to one per core.

    Returns:
        What is damaged, a clip or a whole shard, and how.
    """
    tasks = list(range(len(index.shards)))
    found: dict[int, list[tuple[str, str]]] = {}
    for k, result in run_parallel(partial(_verify, index, store), tasks, jobs=jobs, label='verifying'):
        where = store.where(index.shards[k].name)
        found[k] = [(where, f'reading it {result.reason}')] if isinstance(result, Lost) else result
    return [each for k in tasks for each in found[k]]


def _verify(index: ShardIndex, store: Store, number: int) -> list[tuple[str, str]]:
    shard = index.shards[number]
    where = store.where(shard.name)
    last = index.shards[number + 1].first if number + 1 < len(index.shards) else len(index)
    places = {index.place(clip).offset: clip for clip in range(shard.first, last)}
    damaged, size = [], 0
    try:
        with store.open(shard.name) as file:
            scan = TarScan(file)
            for packed, _ in scan:
                clip = places.pop(packed.offset, None)
                if clip is None:
                    continue
                place = index.place(clip)
                if (packed.size, packed.checksum) != (place.size, place.checksum):
                    damaged.append((f'{where}:/{index.name(clip)}', 'its bytes are not those that were packed'))
            size = scan.size
    except (TornTar, OSError) as error:
        return [*damaged, (where, reason_of(error))]
    if size != shard.size:
        damaged.append((where, f'has {size:,} bytes, not {shard.size:,}'))
    damaged += [(f'{where}:/{index.name(clip)}', 'is not where the index says') for clip in places.values()]
    return damaged
