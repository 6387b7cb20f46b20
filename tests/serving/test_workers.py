import os
import signal
import time

import pytest

from mmav.errors import MmavError
from mmav.serving import workers
from mmav.serving.reading import ClipJob, ReaderSettings
from mmav.serving.workers import ReaderLost, ReaderPool, ReaderProcess
from tests.serving.traps import HANG, KILL


@pytest.fixture(scope='module')
def settings(inferencer):
    return ReaderSettings(inferencer.pipeline, inferencer.modalities, seconds=60, windows=100, megabytes=1024)


@pytest.fixture(scope='module')
def process(settings):
    ends = []
    found = ReaderProcess(settings, clips=3, note_end=ends.append)
    found.ends = ends
    yield found
    found.end()


def read(process, path, seconds=20.0, dropped=lambda: False):
    process.start()
    process.ends.clear()
    return list(process.read(ClipJob(str(path), 2.0), deadline=time.monotonic() + seconds, dropped=dropped))


def test_messages_hold_the_inputs_of_the_model(process, inferencer, flashes):
    messages = read(process, flashes)
    assert [message['kind'] for message in messages] == ['clip', 'window', 'window', 'end']
    expected = inferencer.read(str(flashes), start=2.0, end=4.0)
    item = messages[2]['item']
    for name, value in expected['inputs'].items():
        assert item['inputs'][name].equal(value) and item['inputs'][name].dtype == value.dtype
        assert bool(item['masks'][name]) == bool(expected['masks'][name])
    assert (item['data_samples'].start, item['data_samples'].end) == (2.0, 4.0) and process.ends == []


def test_it_is_replaced_in_the_end(process, silent):
    """What decoders leak does not add up."""
    numbers = set()
    for _ in range(7):
        read(process, silent)
        numbers.add(process.pid)
    assert len(numbers) == 4 and None in numbers  # between two of them there is none


@pytest.mark.parametrize(('trap', 'cause'), [(KILL, 'crash'), (HANG, 'late')])
def test_hostile_clips(process, clip, tmp_path, trap, cause):
    (tmp_path / 'a').write_bytes(clip.read_bytes() + trap)
    with pytest.raises(ReaderLost, match=cause):
        read(process, tmp_path / 'a', seconds=0.3 if cause == 'late' else 20)
    assert process.ends == [cause] and process.pid is None
    assert read(process, clip)[-1]['kind'] == 'end'


def test_a_client_that_left(process, clip, tmp_path):
    (tmp_path / 'a').write_bytes(clip.read_bytes() + HANG)
    with pytest.raises(ReaderLost, match='dropped'):
        read(process, tmp_path / 'a', dropped=lambda: True)
    assert process.ends == ['dropped']


def test_killed_between_two_clips(process, clip):
    process.start()
    os.kill(process.pid, signal.SIGKILL)
    process._process.join()
    assert read(process, clip)[-1]['kind'] == 'end'


def test_a_pool_without_processes_ends_all_the_same(settings, monkeypatch, caplog):
    """Such as where memory for them is lacking: the server tries again, and stops when it is told to."""
    work = iter(['clip'])
    pool = ReaderPool(settings, 1, take=lambda: next(work, None), work=lambda process, piece: None)
    monkeypatch.setattr(workers, 'PAUSE', 0.01)
    monkeypatch.setattr(pool.processes[0], 'start', no_process)
    for thread in pool._threads:
        thread.start()
    while caplog.text.count('no more processes') < 3:
        time.sleep(0.01)
    assert pool.running == 0
    pool.join()


def no_process():
    raise MmavError('no more processes')


def test_signals_for_the_whole_group_do_not_end_it(process, clip):
    """Ctrl-C and systemd tell all processes; the server ends these, once its last request has an answer."""
    process.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(process.pid, number)
    assert read(process, clip)[-1]['kind'] == 'end'
