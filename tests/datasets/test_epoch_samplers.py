from __future__ import annotations

import inspect
from collections import Counter
from itertools import islice

import mmengine.dataset.sampler as mmengine_sampler
import pytest
from mmengine.dataset import DefaultSampler as MMEngineDefaultSampler
from mmengine.dataset import InfiniteSampler as MMEngineInfiniteSampler

from mmav.datasets import ResumableSampler, ShuffledSampler
from mmav.datasets.epoch_samplers import DefaultSampler, blocks
from mmav.datasets.resumable_sampler import InfiniteSampler
from mmav.registry import DATA_SAMPLERS


@pytest.fixture(params=[(0, 1), (0, 3), (2, 3), (7, 8)])
def process(request, monkeypatch):
    monkeypatch.setattr(mmengine_sampler, 'get_dist_info', lambda: request.param)
    return request.param


@pytest.mark.parametrize('number', [1, 5, 100, 9001])
@pytest.mark.parametrize('options', [dict(shuffle=True), dict(shuffle=False), dict(shuffle=True, round_up=False)])
def test_it_is_mmengines_order(process, number, options):
    ours, theirs = (kind(range(number), seed=3, **options) for kind in (DefaultSampler, MMEngineDefaultSampler))
    for epoch in (0, 2):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        whole = list(theirs)
        assert list(ours) == whole and len(ours) == len(theirs)
        assert list(ours.iter_from(len(whole) // 3)) == whole[len(whole) // 3 :]
    assert all(type(index) is int for index in ours)


def test_configs_get_it():
    assert type(DATA_SAMPLERS.build(dict(type='DefaultSampler', dataset=range(3), seed=0))) is DefaultSampler


@pytest.mark.parametrize('shuffle', [True, False])
def test_endless_passes_are_mmengines(process, shuffle):
    number, (rank, world) = 5000, process
    ours, theirs = (kind(range(number), shuffle, 5) for kind in (InfiniteSampler, MMEngineInfiniteSampler))
    length = 3 * number // world + 5
    whole = list(islice(theirs, length))
    drawn = list(islice(ours, length))
    assert drawn == whole
    assert [index.epoch for index in drawn] == [(place * world + rank) // number for place in range(length)]
    rest = list(islice(ours.iter_from(length // 2), length - length // 2))
    assert rest == whole[length // 2 :]
    assert [index.epoch for index in rest] == [index.epoch for index in drawn[length // 2 :]]


@pytest.mark.parametrize('number', [1, 7, 9001])
def test_processes_share_a_computed_order(number, monkeypatch):
    shares = []
    for rank in range(3):
        monkeypatch.setattr(mmengine_sampler, 'get_dist_info', lambda rank=rank: (rank, 3))
        shares.append(list(ShuffledSampler(range(number), seed=1)))
    dealt = [index for turn in zip(*shares, strict=True) for index in turn]
    assert sorted(dealt[:number]) == list(range(number))
    assert dealt[number:] == (dealt[:number] * 3)[: len(dealt) - number]
    monkeypatch.setattr(mmengine_sampler, 'get_dist_info', lambda: (2, 3))
    uneven = ShuffledSampler(range(number), seed=1, round_up=False)
    assert list(uneven) == dealt[:number][2::3] and len(list(uneven)) == len(uneven)


def test_a_computed_epoch_is_a_function_of_seed_and_epoch():
    sampler = ShuffledSampler(range(1000), seed=0)
    first = list(sampler)
    assert list(sampler) == first == list(ShuffledSampler(range(1000), seed=0))
    sampler.set_epoch(1)
    assert Counter(list(sampler)) == Counter(first) and list(sampler) != first
    assert list(ShuffledSampler(range(1000), seed=1)) != first


def test_it_goes_on_anywhere_at_once():
    """At the end of an epoch of 10^15 clips, which nothing could run through."""
    sampler = ResumableSampler(range(10**15), dict(type='ShuffledSampler'), seed=0)
    sampler.skip = 10**15 - 3
    rest = list(iter(sampler))  # a list of the sampler itself would make room for all
    assert len(set(rest)) == 3 and all(0 <= index < 10**15 for index in rest)


def test_a_subclass_with_another_order_is_run_through():
    class Backwards(DefaultSampler):
        def __iter__(self):
            return iter(range(9, -1, -1))

    sampler = ResumableSampler(range(10), dict(type='DefaultSampler'), seed=0)
    sampler.inner = Backwards(range(10), seed=0)
    sampler.skip = 7
    assert list(sampler) == [2, 1, 0]


@pytest.mark.parametrize('span', [(0, 10, 3), (2, 20_000, 3), (5, 5, 1), (7, 3, 2)])
def test_blocks_are_a_range(span):
    assert [index for block in blocks(*span) for index in block.tolist()] == list(range(*span))
    assert inspect.isgenerator(blocks(*span)) and all(len(block) <= 4096 for block in blocks(*span))
