"""Which runs begin when, and that one that dies takes no other with it."""

import os
import signal
import time
from types import SimpleNamespace

import pytest

from mmav.analysis.ablation import schedule
from mmav.analysis.ablation.plan import Run
from mmav.analysis.ablation.results import Result
from mmav.analysis.ablation.rows import Row
from mmav.errors import MmavError

ROWS = [Row(name, f'{name}.py') for name in 'abc']
A, B, C = (Run(row, 0) for row in ROWS)


@pytest.fixture
def log(tmp_path, monkeypatch):
    """What fake runs do, by name; they note when they begin and end in a file."""
    file = tmp_path / 'log'

    def fake(task):
        with open(file, 'a') as out:
            out.write(f'{task.name}+ ')
        answer = task.act() if task.act else None
        with open(file, 'a') as out:
            out.write(f'{task.name}- ')
        return answer or ('done', Result(dict(top1=0.5), ''))

    monkeypatch.setattr(schedule, 'run_logged', fake)
    return file


def run(runs, acts=None, **more):
    def task_of(each):
        return SimpleNamespace(name=each.row.title, act=(acts or {}).get(each))

    return {ended.run: ended for ended in schedule.run_all(runs, task_of, **more)}


def test_what_a_run_needs_ends_before_it_begins(log):
    ended = run([A, B, C], needs={A: [C]}, jobs=2)
    assert all(each.result.figures == dict(top1=0.5) for each in ended.values())
    words = log.read_text().split()
    assert words.index('c-') < words.index('a+') and len(words) == 6


def test_a_run_that_dies_is_one_failed_run(log):
    acts = {B: lambda: os.kill(os.getpid(), signal.SIGKILL), C: lambda: os._exit(3)}
    ended = run([B, A, C], acts, needs={})
    assert ended[A].result is not None
    assert ended[B].why == 'its process was killed (SIGKILL), perhaps for lack of memory'
    assert ended[C].why == 'its process ended with exit status 3'


def test_a_run_at_work_elsewhere_is_waited_for_behind_the_others(log, tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, 'PAUSE', 0.05)

    def busy_until_b_has_ended():
        return None if 'b-' in log.read_text() and log.read_text().count('a+') > 2 else ('busy', 'elsewhere')

    waited = []
    ended = run([A, B, C], {A: busy_until_b_has_ended}, needs={C: [A]}, waits=waited.append)
    assert waited == [A] and all(each.result is not None for each in ended.values())
    words = log.read_text().split()
    assert words[:4] == ['a+', 'a-', 'b+', 'b-'] and words[-2:] == ['c+', 'c-']  # which needs the one that was away


def test_what_needs_a_failed_run_does_not_begin(log):
    ended = run([A, B, C], {C: lambda: ('failed', 'no room')}, needs={A: [C]})
    assert ended[A].why == 'it needs c_seed0, which has no checkpoint: no room' and ended[C].why == 'no room'
    assert ended[B].result is not None and 'a+' not in log.read_text()
    killed = {C: lambda: ('done', Result({}, '', killed='killed after epoch 1'))}
    assert 'killed after epoch 1' in run([A, C], killed, needs={A: [C]})[A].why
    assert run([A], needs={A: [C]}, lost={C: 'killed before'})[A].why.endswith('no checkpoint: killed before')


def test_a_run_that_cannot_be_begun_is_one_failed_run(log):
    def task_of(each):
        if each == A:
            raise MmavError('its checkpoint is gone')
        return SimpleNamespace(name=each.row.title, act=None)

    ended = {each.run: each for each in schedule.run_all([A, B], task_of)}
    assert ended[A].why == 'its checkpoint is gone' and ended[B].result is not None


def test_an_interrupt_asks_the_others_to_stop(log, tmp_path):
    before = signal.getsignal(signal.SIGTERM)

    def saving():
        signal.signal(signal.SIGTERM, lambda *_: (tmp_path / 'saved').touch() or os._exit(0))
        (tmp_path / 'ready').touch()
        time.sleep(60)

    def quick():
        while not (tmp_path / 'ready').exists():
            time.sleep(0.01)

    def interrupted():
        acts = {A: saving, B: quick}
        for _ in schedule.run_all([A, B], lambda each: SimpleNamespace(name='x', act=acts[each]), jobs=2):
            os.kill(os.getpid(), signal.SIGTERM)  # as Ctrl-C, or a cluster that takes the machine away

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / 'saved').exists()
    assert signal.getsignal(signal.SIGTERM) == before
