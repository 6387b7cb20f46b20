"""An order that reads shards forward: nothing twice, the same again, and each byte by one worker."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import pytest
import torch
from torch.utils.data import DataLoader

from mmav.datasets import ConcatDataset, RepeatDataset, ResumableSampler, ShardSampler, av_collate
from mmav.datasets.shards import forward
from mmav.engine.loader_check import check_loader, follow_loader
from mmav.errors import ConfigError
from tests.datasets.shards.conftest import NUMBER

SIZE = 3


def sampler(dataset, *, workers=2, rank=0, world_size=1, buffer=4, epoch=0, **options) -> ShardSampler:
    made = ShardSampler(dataset, seed=7, buffer=buffer, batch_size=SIZE, num_workers=workers, **options)
    made.rank, made.world_size = rank, world_size
    made.set_epoch(epoch)
    return made


def shares(dataset, *, workers, world_size, epoch=0, buffer=4) -> dict[tuple[int, int], list]:
    """The draws of each worker of each process."""
    found = defaultdict(list)
    for rank in range(world_size):
        order = list(sampler(dataset, workers=workers, rank=rank, world_size=world_size, epoch=epoch, buffer=buffer))
        for batch, first in enumerate(range(0, len(order), SIZE)):
            found[rank, batch % workers] += order[first : first + SIZE]
    return dict(found)


@pytest.mark.parametrize(('workers', 'world_size'), [(1, 1), (2, 1), (2, 3), (3, 2)])
def test_processes_and_workers_share_nothing(packed, workers, world_size):
    data = packed.data('shards')
    found = shares(data, workers=workers, world_size=world_size)
    counts = Counter(int(draw) for draws in found.values() for draw in draws)
    total = -(-NUMBER // world_size) * world_size
    assert sorted(counts) == list(range(NUMBER)) and sum(counts.values()) == total
    assert sum(draw.repeat for draws in found.values() for draw in draws) == total - NUMBER
    # each worker's clips lie together, but for the shards' order and the clips that fill up
    index = data.shards.index
    members = {k: data.get_data_info(k)['path'].clip for k in range(NUMBER)}
    runs = 0
    for draws in found.values():
        places = sorted({members[int(draw)] for draw in draws if not draw.repeat})
        runs += sum(b != a + 1 or index.shard[a] != index.shard[b] for a, b in pairwise(places)) + 1
    assert runs <= len(index.shards) + workers * world_size


def test_epochs_differ_and_come_again(packed):
    data = packed.data('shards')
    orders = [[int(k) for k in sampler(data, epoch=epoch)] for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert orders[0] != [int(k) for k in sampler(data, workers=1)]


def test_pools_are_random_and_say_where_their_bytes_are(packed):
    data = packed.data('shards')
    draws = list(sampler(data, workers=1, buffer=8))
    index = data.shards.index
    assert len({draw.pool for draw in draws}) == 3
    for first in range(0, NUMBER, 8):
        pool = draws[first : first + 8]
        assert sorted(pool[0].pool.clips) == sorted(map(int, pool)) and len({draw.pool for draw in pool}) == 1
        assert list(pool[0].pool.clips) != [int(draw) for draw in pool]
        for draw in pool:
            place = index.place(data.get_data_info(draw)['path'].clip)
            assert any(
                shard == place.shard and begin <= place.offset and place.offset + place.size <= end
                for shard, begin, end in draw.pool.stretches
            )


def load(dataset, order, workers=2) -> list:
    loader = DataLoader(dataset, SIZE, sampler=order, num_workers=workers, collate_fn=av_collate)
    return [(batch['inputs']['video'], [sample.sample_idx for sample in batch['data_samples']]) for batch in loader]


def assert_same(one: list, two: list) -> None:
    assert len(one) == len(two) > 0
    for (video, clips), (other, twins) in zip(one, two, strict=True):
        assert clips == twins and torch.equal(video, other)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_loader_gets_what_range_reads_give_and_reads_each_byte_once(packed, counted, monkeypatch, workers):
    block = 2048
    monkeypatch.setattr(forward, 'BLOCK', block)
    address, log = counted
    data = packed.data(address)
    order = sampler(data, workers=workers)
    found = load(data, order, workers)
    reads = Counter(tuple(line.split()[1:]) for line in log.read_text().splitlines())
    assert all(int(end) - int(begin) <= block and int(begin) % block == 0 for _, begin, end in reads)
    # only blocks at the border of two workers' parts are read by both
    assert sum(reads.values()) - len(reads) <= max(0, workers - 1) * (len(data.shards.index.shards) - 1)
    log.unlink()
    plain = [int(k) for k in order]
    assert_same(found, load(packed.data(), plain, workers))
    pipe = dict(index='shards', source=f'pipe:cat {packed.out}/shards/{{}}')
    assert_same(found, load(packed.data(pipe), order, workers))


def test_the_rest_of_an_epoch_is_exact(packed):
    data = packed.data('shards')
    whole = load(data, ResumableSampler(data, dict(type='ShardSampler', batch_size=SIZE, num_workers=2), seed=7))
    rest = ResumableSampler(data, dict(type='ShardSampler', batch_size=SIZE, num_workers=2), seed=7)
    rest.skip = 3 * SIZE
    assert_same(whole[3:], load(data, rest))


def test_a_broken_clip_is_replaced_from_its_pool_whoever_reads_it(packed, tmp_path):
    pipe = dict(index='shards', source=f'pipe:cat {packed.out}/shards/{{}}')
    data = packed.data(pipe)
    bad = 5
    found = []
    for workers in (0, 2):
        data = packed.data(pipe)
        data.states[bad] = 2  # broken
        order = list(sampler(data))
        draw = next(k for k in order if k == bad)
        found.append(load(data, order, workers))
        place = order.index(bad)
        taken = found[-1][place // SIZE][1][place % SIZE]
        assert taken != bad and taken in draw.pool.clips
    assert_same(*found)


def test_wrappers_of_shards(packed):
    joined = ConcatDataset([packed.data('shards'), packed.data('shards')])
    order = list(sampler(joined, buffer=9))
    assert sorted(map(int, order)) == list(range(2 * NUMBER))
    assert_same(load(joined, order), load(ConcatDataset([packed.data(), packed.data()]), [int(k) for k in order]))
    twice = RepeatDataset(packed.data('shards'), 2)
    assert sorted(map(int, sampler(twice))) == list(range(2 * NUMBER))


def test_clips_that_no_shard_has_stay_broken_clips(packed, tmp_path):
    data = packed.data('shards', indices=[0, 3])
    assert sorted(map(int, sampler(data))) == [0, 1]
    (tmp_path / 'train.csv').write_text((packed.out / 'train.csv').read_text() + 'none.mp4,a,,\n')
    (tmp_path / 'classes.txt').write_text('a\nb\n')
    data = packed._replace(out=tmp_path).data(str(packed.out / 'shards'))
    order = list(sampler(data))
    assert sorted(map(int, order)) == list(range(NUMBER + 1))
    clips = [clip for _, batch in load(data, order) for clip in batch]
    assert len(clips) == NUMBER + 1 and NUMBER not in clips and data.broken_count() == 1


def test_it_follows_the_loader_and_refuses_what_it_cannot(packed):
    data = packed.data('shards')
    made = ShardSampler(data, seed=0)
    with pytest.raises(ConfigError, match='give batch_size and num_workers'):
        list(made)
    made.follow_loader(4, 3)
    assert made.depends_on == dict(shard_workers=3, batch_size=4, world_size=1, buffer=256)
    kept = ShardSampler(data, seed=0, num_workers=2)
    kept.follow_loader(4, 3)
    assert kept.depends_on['shard_workers'] == 2
    for options, match in ((dict(in_order=False), 'in_order=False'), (dict(), 'batch_size=5 is not the 4')):
        with pytest.raises(ConfigError, match=match):
            ShardSampler(data, seed=0, batch_size=5).follow_loader(4, 3, **options)
    with pytest.raises(ConfigError, match='is not in shards'):
        ShardSampler(packed.data(), seed=0)
    with pytest.raises(ConfigError, match='buffer=0'):
        ShardSampler(data, seed=0, buffer=0)
    with pytest.raises(ConfigError, match='shuffle=False'):
        ShardSampler(data, seed=0, shuffle=False)


def test_loaders_for_which_it_is_and_is_not(packed):
    data = packed.data(dict(index='shards', source='pipe:cat {}'))
    made = ResumableSampler(data, dict(type='ShardSampler'), seed=0)
    loader = DataLoader(data, SIZE, sampler=made, num_workers=2)
    follow_loader(loader)
    assert made.inner.depends_on['shard_workers'] == 2 and len(list(made)) == NUMBER
    check_loader('train_dataloader', loader)
    with pytest.raises(
        ConfigError, match=r"read forward only: set train_dataloader.sampler=dict\(type='ShardSampler'\)"
    ):
        check_loader('train_dataloader', DataLoader(data, SIZE, shuffle=True))
    tested = packed.data('shards', test_mode=True)
    order = ShardSampler(tested, seed=0, batch_size=SIZE, num_workers=0)
    with pytest.raises(ConfigError, match='val_dataloader.sampler: a ShardSampler would put clips out of order'):
        check_loader('val_dataloader', DataLoader(tested, SIZE, sampler=order))
