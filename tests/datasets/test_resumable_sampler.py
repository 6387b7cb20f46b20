from __future__ import annotations

import pytest
from torch.utils.data import DataLoader

from mmav.datasets import ResumableSampler

DATA = list(range(10))


@pytest.fixture
def sampler():
    return ResumableSampler(DATA, dict(type='DefaultSampler', shuffle=True), seed=3)


def test_the_rest_of_a_round_then_whole_rounds(sampler):
    whole = list(sampler)
    sampler.skip = 4
    assert list(sampler) == whole[4:] and list(sampler) == whole
    assert len(sampler) == 10 and sorted(whole) == DATA


def test_the_epoch_reaches_the_other_sampler(sampler):
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first


@pytest.mark.parametrize('workers', [0, 2])
def test_a_loader_does_not_read_what_is_left_out(sampler, workers):
    loader = DataLoader(DATA, batch_size=2, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
    whole = [batch.tolist() for batch in loader]
    sampler.skip = 6
    assert [batch.tolist() for batch in loader] == whole[3:]
    assert [batch.tolist() for batch in loader] == whole and len(loader) == 5
