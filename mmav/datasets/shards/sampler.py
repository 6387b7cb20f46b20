"""Training epochs that read shards forward: random within pools of clips that lie together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmav.datasets.av_dataset import Draw
from mmav.datasets.class_counts import clips_within
from mmav.datasets.shards.forward import Pool
from mmav.errors import ConfigError
from mmav.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ShardSampler(Sampler[int]):
    """Draws clips so that each worker reads shards forward, in big blocks, and each byte is read by one worker.

    In each epoch the shards are put in a random order and their clips one after the other. Each process gets an equal
    part of that, and of it each of its workers: parts that lie together. A worker's part is cut into pools, whose clips
    come in a random order. So clips that were packed far from each other seldom share a batch: pack them in a random
    order (``mmav make-shards --shuffle``). The order is a function of (seed, epoch, number of processes, batch size,
    number of workers), and no clip comes twice, but for those that make all processes' parts equal, as with
    DefaultSampler.

    A worker keeps the bytes of a pool in memory, about ``buffer`` clips and two blocks of 8 MB.

    Args:
        dataset: An AVDataset with ``shards``, or a wrapper of some.
        seed: Seed of the order; drawn, and the same in all processes, if None.
        buffer: Clips of a pool.
        batch_size: Clips of a batch; the data loader's, if the runner builds it.
        num_workers: Parts of each process's share; the data loader's number of workers, if the runner builds it. To
            resume a run in mid-epoch with another number of workers, give that of before.
        shuffle: Always True, as configs write it for DefaultSampler.

    Raises:
        ConfigError: The dataset has no shards, or a number is below 1.
    """

    def __init__(
        self,
        dataset: Any,
        seed: int | None = None,
        *,
        buffer: int = 256,
        batch_size: int | None = None,
        num_workers: int | None = None,
        shuffle: bool = True,
    ) -> None:
        if not shuffle:
            raise ConfigError("ShardSampler: shuffle=False: the order of the manifest is DefaultSampler's, take that")
        for name, value in (('buffer', buffer), ('batch_size', batch_size), ('num_workers', num_workers)):
            least = 0 if name == 'num_workers' else 1
            if value is not None and (type(value) is not int or value < least):
                raise ConfigError(f'ShardSampler: {name}={value!r} must be a whole number, {least} or more')
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self.buffer = buffer
        self._batch_size, self._num_workers = batch_size, num_workers
        self._order_clips(dataset)

    def _order_clips(self, dataset: Any) -> None:
        """Puts the clips in the order of leaves, shards and bytes; each shard of each leaf is a unit."""
        leaves: dict[int, int] = {}
        self._indexes = []
        columns: list[list[np.ndarray]] = [[], [], []]
        for leaf, clips in clips_within(dataset):
            if getattr(leaf, 'shards', None) is None:
                raise ConfigError(
                    f'ShardSampler: {getattr(leaf, "ann_file", type(leaf).__name__)} is not in shards: give its '
                    "dataset shards=..., or take sampler=dict(type='DefaultSampler', shuffle=True)"
                )
            if id(leaf) not in leaves:
                leaves[id(leaf)] = len(leaves)
                self._indexes.append(leaf.shards.index)
            members = leaf.shards.index.find_all(*leaf.manifest.flat_paths())[leaf.rows][clips]
            for column, values in zip(columns, (np.full(len(clips), leaves[id(leaf)]), members, clips), strict=True):
                column.append(np.asarray(values, np.int32))
        of_leaf, member, inner = (np.concatenate(column) for column in columns)
        # a stable sort, so that the rows of one file stay in the manifest's order
        order = np.lexsort((member, of_leaf))
        self._outer = order.astype(np.int32)
        self._leaf, self._member, self._inner = of_leaf[order], member[order], inner[order]
        shard = np.full(len(order), -1, np.int32)
        for k, index in enumerate(self._indexes):
            known = (self._leaf == k) & (self._member >= 0)
            shard[known] = index.shard[self._member[known]]
        begins = np.flatnonzero((np.diff(shard, prepend=-2) != 0) | (np.diff(self._leaf, prepend=-1) != 0))
        self._units = np.stack([begins, np.append(begins[1:], len(order))], axis=1)

    def follow_loader(self, batch_size: int | None, num_workers: int, *, in_order: bool = True) -> None:
        """Takes from a data loader what it was not given.

        Raises:
            ConfigError: The loader mixes the batches of its workers, or makes none of its own.
        """
        if not in_order or batch_size is None:
            what = 'in_order=False' if not in_order else 'a batch_sampler'
            raise ConfigError(f'ShardSampler: {what} would give the workers batches of each other: leave it out')
        if self._batch_size is not None and self._batch_size != batch_size:
            raise ConfigError(
                f'ShardSampler: batch_size={self._batch_size} is not the {batch_size} of the data loader: leave it out'
            )
        self._batch_size = batch_size
        self._num_workers = num_workers if self._num_workers is None else self._num_workers

    @property
    def depends_on(self) -> dict[str, int | None]:
        """What the order depends on besides seed and epoch."""
        return dict(
            shard_workers=max(1, self._num_workers or 0),
            batch_size=self._batch_size,
            world_size=self.world_size,
            buffer=self.buffer,
        )

    def __len__(self) -> int:
        """How many indices this process has in an epoch."""
        return math.ceil(len(self._outer) / self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, on which the order depends."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """The indices of this process in an epoch: the first batch is the first worker's, and so on in turn."""
        if self._batch_size is None or self._num_workers is None:
            raise ConfigError('ShardSampler: give batch_size and num_workers, the same as the data loader has')
        size, workers = self._batch_size, max(1, self._num_workers)
        sizes = [min(size, len(self) - first) for first in range(0, len(self), size)]
        shares = [sum(sizes[k::workers]) for k in range(workers)]
        begins = self.rank * len(self) + np.cumsum([0, *shares])
        units = self._units[np.random.default_rng((self.seed, self.epoch)).permutation(len(self._units))]
        streams = [self._draws(units, k, int(begins[k]), int(begins[k + 1])) for k in range(workers)]
        for k, clips in enumerate(sizes):
            for _ in range(clips):
                yield next(streams[k % workers])

    def _draws(self, units: np.ndarray, worker: int, begin: int, end: int) -> Iterator[Draw]:
        """The indices of a worker, pool by pool."""
        number, ends = len(self._outer), np.cumsum(units[:, 1] - units[:, 0])
        for first in range(begin, end, self.buffer):
            positions = np.arange(first, min(first + self.buffer, end))
            repeats, within = np.divmod(positions, number)
            unit = np.searchsorted(ends, within, side='right')
            places = units[unit, 1] - (ends[unit] - within)
            pools = {leaf: self._pool(leaf, places) for leaf in set(self._leaf[places].tolist())}
            rng = np.random.default_rng((self.seed, self.epoch, self.rank, worker, (first - begin) // self.buffer))
            for k in rng.permutation(len(places)).tolist():
                place = int(places[k])
                pool = pools[int(self._leaf[place])]
                yield Draw.of(int(self._outer[place]), None, repeat=int(repeats[k]), pool=pool)

    def _pool(self, leaf: int, places: np.ndarray) -> Pool:
        index = self._indexes[leaf]
        places = places[self._leaf[places] == leaf]
        members = self._member[places].astype(np.int64)
        known = members[members >= 0]
        shard, offset = index.shard[known], index.offset[known]
        ends = offset + index.size[known]
        # runs of one shard; a shard that comes again, for clips that fill up the last part, is a run of its own
        cuts = np.flatnonzero((np.diff(shard) != 0) | (np.diff(offset) < 0)) + 1
        stretches = [
            (int(shard[run[0]]), int(offset[run[0]]), int(ends[run].max()))
            for run in np.split(np.arange(len(known)), cuts)
            if len(run)
        ]
        return Pool(tuple(stretches), tuple(self._inner[places].tolist()))
