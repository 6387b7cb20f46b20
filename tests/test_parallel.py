"""Work in several processes: order does not matter, and deaths do not spread."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import signal
import time

import av
import cv2
import numpy as np
import pytest
import torch

from mmav.errors import ConfigError, MmavError
from mmav.parallel import Lost, run_parallel, shared_memory_problem, worker_problem


def square(value):
    return value * value


def fragile(value, deadly):
    if value in deadly:
        os.kill(os.getpid(), deadly[value])
    return value


def slow(value, seconds):
    time.sleep(seconds.get(value, 0))
    return value


def failing(value):
    if value == 2:
        raise MmavError('torn')
    if value == 3:

        class Unknown(Exception):
            """Of a class that no other process can find."""

        raise Unknown('of its own')
    return value


@pytest.mark.parametrize('jobs', [1, 2])
def test_every_item_is_worked_on_once(jobs):
    results = list(run_parallel(square, range(20), jobs=jobs))
    assert sorted(results) == [(i, i * i) for i in range(20)]


@pytest.mark.parametrize('jobs', [1, 2])
def test_an_item_that_kills_its_process_costs_no_other(jobs):
    deadly = {0: signal.SIGSEGV, 11: signal.SIGKILL}
    results = dict(run_parallel(functools.partial(fragile, deadly=deadly), range(16), jobs=jobs))
    lost = {i: Lost(f'kills the process ({name.name})') for i, name in deadly.items()}
    assert results == {**{i: i for i in range(16)}, **lost}


def test_an_item_that_dies_once_is_tried_again(tmp_path):
    results = dict(run_parallel(functools.partial(die_once, tmp_path / 'note'), range(4), jobs=1))
    assert results == {i: i for i in range(4)}


def die_once(note, value):
    if value == 1 and not note.exists():
        note.touch()
        os._exit(3)
    return value


@pytest.mark.parametrize('jobs', [1, 2])
def test_an_item_that_hangs_is_given_up(jobs):
    work = functools.partial(slow, seconds={1: 60, 4: 60})
    began = time.monotonic()
    # starting a process takes seconds of its own, which do not count
    results = dict(run_parallel(work, range(6), jobs=jobs, time_limit=0.3))
    lost = Lost('takes longer than 0.3 s', timed_out=True)
    assert results == {**{i: i for i in range(6)}, 1: lost, 4: lost}
    assert time.monotonic() - began < 30
    # a caller who takes his time is not the item's fault
    for _, result in run_parallel(slow_none, range(3), jobs=1, time_limit=0.1):
        time.sleep(0.15)
        assert not isinstance(result, Lost)


def slow_none(value):
    return value


def test_what_the_work_raises_ends_all():
    with pytest.raises(MmavError, match='torn') as caught:
        list(run_parallel(failing, [1, 2], jobs=1))
    assert 'in failing' in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match='Unknown: of its own'):
        list(run_parallel(failing, [3], jobs=1))


@pytest.fixture
def opencv_threads():
    """Two threads of OpenCV, awake."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (1000, 1000), interpolation=cv2.INTER_AREA)
    yield
    assert cv2.getNumThreads() == 2
    cv2.setNumThreads(before)


def test_threads_of_opencv_in_this_process_do_not_hold_up_the_others(opencv_threads):
    assert list(run_parallel(shrink, [8], jobs=1, time_limit=20)) == [(0, (8, 8))]


def ends_in_a_fork(work, *args):
    process = multiprocessing.get_context('fork').Process(target=work, args=args)
    process.start()
    process.join(20)
    ended = not process.is_alive()
    process.kill()
    process.join()
    return ended and process.exitcode == 0


def test_nor_do_they_hold_up_any_fork(opencv_threads):
    """Such as workers of a DataLoader that a user's own script makes after it has read a clip.

    Using OpenCV there waits forever only where a thread held a lock at that moment, ending its threads always does.
    """
    assert ends_in_a_fork(shrink_by_one_thread, 1000)


def test_garbage_of_this_process_does_not_hold_up_its_forks():
    """A frame that refers to itself, as PyAV's do once their side data are read, and holds a scaler with threads."""
    gc.collect()
    gc.disable()
    try:
        frame = av.VideoFrame(640, 480, 'yuv420p')
        frame.reformat(320, 240, format='rgb24', threads=4)
        assert frame.side_data is not None
        del frame
        assert ends_in_a_fork(gc.collect)
    finally:
        gc.enable()


def shrink_by_one_thread(size):
    cv2.setNumThreads(1)
    shrink(size)


def shrink(size):
    return cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (size, size), interpolation=cv2.INTER_AREA).shape[:2]


def test_progress_counts_what_an_earlier_run_has_done(capsys):
    list(run_parallel(square, range(3), jobs=1, label='squares', done_before=7))
    assert 'squares: 100%' in (text := capsys.readouterr().err) and '10/10' in text


def test_jobs_are_checked():
    with pytest.raises(ConfigError, match='jobs must be at least 1, got 0'):
        list(run_parallel(square, [1], jobs=0))
    with pytest.raises(ConfigError, match='time limit must be above 0 seconds, got -1'):
        list(run_parallel(square, [1], time_limit=-1))


def test_a_machine_that_starts_no_others(capsys, monkeypatch):
    def no_lock(self):
        raise OSError(38, 'Function not implemented')

    monkeypatch.setattr('multiprocessing.context.BaseContext.Lock', no_lock)
    assert worker_problem() == '[Errno 38] Function not implemented'
    assert sorted(run_parallel(square, [1, 2, 3], jobs=2)) == [(0, 1), (1, 4), (2, 9)]
    error = capsys.readouterr().err
    assert 'one process alone does the work, as others cannot be started here: [Errno 38] Function not' in error


def test_shared_memory(monkeypatch):
    values = torch.zeros(3)
    assert shared_memory_problem(values) is None and values.is_shared()
    assert worker_problem() is None
