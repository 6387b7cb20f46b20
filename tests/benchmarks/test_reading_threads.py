from __future__ import annotations

import threading

import pytest

from benchmarks.reading_threads import measure_threads, read_batches


class Numbers:
    """A dataset of numbers; notes by which threads it is read."""

    def __init__(self, length=5):
        self.length, self.threads, self.read = length, set(), []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index == 4:
            raise ValueError('the fifth is a mistake')
        self.threads.add(threading.get_ident())
        self.read.append(index)
        return index


def test_batches_come_in_order_from_other_threads():
    dataset = Numbers()
    rows = [[k % 4, (k + 1) % 4] for k in range(20)]
    assert list(read_batches(dataset, list, rows, 3)) == rows
    assert threading.get_ident() not in dataset.threads and len(dataset.threads) <= 3
    with pytest.raises(ValueError, match='the fifth is a mistake'):
        list(read_batches(dataset, list, [[0], [4]], 2))


def test_no_more_is_read_than_is_asked_for():
    dataset = Numbers()
    found = read_batches(dataset, list, [[0]] * 50, 2)
    next(found)
    found.close()
    assert len(dataset.read) <= 4


def test_what_is_measured():
    dataset = Numbers(length=4)
    found = measure_threads(dataset, list, threads=2, batch_size=3, clips=7, progress=False)
    assert found['clips'] == 9 and found['clips_per_second'] > 0 and found['threads'] == 2
