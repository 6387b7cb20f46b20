from __future__ import annotations

import copy
import errno
import multiprocessing
import os
import pickle

import numpy as np
import pytest

from mmav.datasets import shared_array
from mmav.datasets.shared_array import SHARED_FROM, GrowingArray, SharedArray, compact

LARGE = np.arange(SHARED_FROM // 4, dtype=np.int32)


def _sum(array, answers):
    # the pages of the file, not a copy of them
    answers.put((int(array.values.sum(dtype=np.int64)), array._file is not None, array.values.flags.writeable))


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_workers_have_the_same_memory(method):
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    worker = context.Process(target=_sum, args=(SharedArray(LARGE), answers))
    worker.start()
    assert answers.get() == (LARGE.sum(dtype=np.int64), True, False)
    worker.join()


def test_elsewhere_it_is_copied():
    array = SharedArray(LARGE.reshape(2, -1))
    other = pickle.loads(pickle.dumps(array))
    assert np.array_equal(other.values, array.values) and other.values.base is not array.values.base
    assert copy.deepcopy(array) is array


def test_files_are_closed_with_the_last_array():
    before = len(os.listdir('/proc/self/fd'))
    arrays = [SharedArray(LARGE) for _ in range(3)]
    assert len(os.listdir('/proc/self/fd')) > before
    del arrays
    assert len(os.listdir('/proc/self/fd')) == before
    assert SharedArray(LARGE[:10])._file is None


@pytest.mark.parametrize(
    ('parts', 'kind'),
    [
        ([[1, 2], [], [32_767]], np.int16),
        ([[1], [-40_000]], np.int32),
        ([[2**31]], np.int64),
        ([[0.5, np.nan]], np.float32),
        ([[0.1]], np.float64),
        ([], np.int16),
    ],
)
@pytest.mark.parametrize('times', [1, 100_000])
def test_what_grows_has_the_smallest_type(parts, kind, times):
    dtype = np.float64 if np.dtype(kind).kind == 'f' else np.int64
    growing = GrowingArray(dtype)
    for part in parts:
        growing.append(np.array(part * times, dtype=dtype))
    expected = np.concatenate([np.array(part * times, dtype=dtype) for part in parts] or [np.empty(0)])
    array = growing.take()
    assert array.values.dtype == kind and np.array_equal(array.values, expected, equal_nan=True)
    assert np.array_equal(compact(expected.astype(dtype)), array.values, equal_nan=True)
    assert len(growing.take().values) == 0


@pytest.mark.parametrize('files', [0, 1])
def test_without_room_it_goes_on_in_memory(monkeypatch, files):
    real, written = os.write, []

    def write(file, data):
        if len(written) >= 3:
            raise OSError(errno.ENOSPC, 'no space')
        written.append(1)
        return real(file, data)

    def no_file():
        raise OSError(errno.ENOSPC, 'no space')

    if files:
        monkeypatch.setattr(shared_array.os, 'write', write)
    else:
        monkeypatch.setattr(shared_array, '_nameless', no_file)
    growing = GrowingArray(np.int64)
    for begin in range(0, 500_000, 100_000):
        growing.append(np.arange(begin, begin + 100_000))
    array = growing.take()
    assert np.array_equal(array.values, np.arange(500_000)) and array._file is None


def test_a_system_without_files_in_memory(monkeypatch):
    monkeypatch.delattr(shared_array.os, 'memfd_create', raising=False)
    array = SharedArray(LARGE)
    assert array._file is not None and np.array_equal(array.values, LARGE)
