"""The estimate of an epoch adds up from steps and reading, by how many processes share them."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from mmav.analysis.folder import timing
from mmav.analysis.folder.timing import seconds_of_epoch
from mmav.errors import MediaError, MmavError


class Clips:
    """So many clips, with a cache or without."""

    def __init__(self, number, cache):
        self.number, self.decoded = number, cache

    def __len__(self):
        return self.number


@pytest.fixture
def estimate(monkeypatch):
    """The estimate for made-up seconds of a step and of reading a clip, without the margin."""

    def make(step, read, *, workers, cores=2, train=80, val=20, cached=None):
        times = iter([read, cached])
        monkeypatch.setattr(timing, '_read', lambda dataset, number: ([0], next(times)))
        monkeypatch.setattr(timing, '_step_seconds', lambda cfg, items: step)
        monkeypatch.setattr(timing, 'cpu_count', lambda: cores)
        cfg = Config(dict(train_dataloader=dict(batch_size=8, num_workers=workers)))
        took = seconds_of_epoch(cfg, Clips(train, cached), range(val))
        if cached is not None:
            return [seconds / timing._MARGIN for seconds in took]
        assert took.first == took.later
        return took.first / timing._MARGIN

    return make


def test_without_workers_everything_adds_up(estimate):
    # 10 steps of 3 s with 8 clips of 1 s; 2.5 batches whose step is a third
    assert estimate(3.0, 1.0, workers=0) == pytest.approx(10 * 11 + 2.5 * 9)


def test_workers_read_beside_the_steps(estimate):
    assert estimate(10.0, 0.5, workers=2, val=0) == pytest.approx(100)
    # reading takes longest
    assert estimate(1.0, 4.0, workers=2, cores=8, val=0) == pytest.approx(160)
    # there are only so many cores
    assert estimate(10.0, 2.0, workers=2, cores=2, val=0) == pytest.approx(130)


def test_later_epochs_read_from_the_cache(estimate):
    assert estimate(3.0, 2.0, workers=0, val=0, cached=0.25) == pytest.approx([10 * 19, 10 * 5])


class Broken:
    """A dataset whose first clips cannot be read."""

    def __init__(self, number, broken):
        self.number, self.broken = number, broken

    def __len__(self):
        return self.number

    def __getitem__(self, place):
        if place < self.broken:
            raise MediaError(f'{place}.mp4', 'broken')
        return place


def test_clips_that_cannot_be_read_are_passed_over():
    items, seconds = timing._read(Broken(9, 2), 3)
    assert items == [4, 8] and seconds >= 0
    with pytest.raises(MmavError, match='none of 3 training clips can be read'):
        timing._read(Broken(9, 9), 3)
