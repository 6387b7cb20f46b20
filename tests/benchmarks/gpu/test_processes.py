"""Sections in processes of their own; the processes here are scripts that start in milliseconds."""

import io
import json
import os
import sys
import time

import pytest
import torch

from benchmarks.gpu import processes
from benchmarks.gpu.processes import Child, Report, follow_orders, run_section, run_sections
from mmav.errors import ConfigError

# takes its order, tells of one part and then does what its argument says
SCRIPT = """
import json, os, subprocess, sys, time
order = json.loads(sys.stdin.readline())
with open(order['report'], 'w') as file:
    json.dump(dict(results=dict(first=1, seconds=order['seconds']), errors=[], left_out=['b: no time']), file)
exec(sys.argv[1])
"""


@pytest.fixture
def child(tmp_path):
    (tmp_path / 'script.py').write_text(SCRIPT)
    children = []

    def start(code, log='log'):
        children.append(Child([sys.executable, '-S', str(tmp_path / 'script.py'), code], tmp_path / log))
        return children[-1]

    yield start
    for one in children:
        one.end()


@pytest.fixture
def report(tmp_path):
    return Report(tmp_path / 'report.json', 5.0, tmp_path)


def written(report):
    return json.loads(report.path.read_text())


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f'/proc/{pid}/stat') as file:
        return file.read().split()[2] != 'Z'


def test_a_part_that_fails_leaves_the_others_alone(report, capsys):
    def fail():
        raise torch.OutOfMemoryError('CUDA out of memory.\nTried to allocate 2 GiB' + 400 * '.')

    assert report.part('a', lambda: 1) == 1
    report.put(a=1)
    assert report.part('b', fail) is None
    report.put(c=report.part('c', lambda: 3))
    found = written(report)
    assert found['results'] == dict(a=1, c=3) and found['left_out'] == []
    (line,) = found['errors']
    assert line.startswith('b: OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB...') and len(line) < 350
    assert 'Traceback' in capsys.readouterr().err


def test_what_a_failure_held_is_freed(report):
    class Held:
        pass

    seen = []

    def fail():
        held = Held()
        held.itself = held
        import weakref

        seen.append(weakref.ref(held))
        raise RuntimeError('no')

    report.part('a', fail)
    assert seen[0]() is None


def test_a_part_that_takes_too_long_is_stopped(report):
    begin = time.monotonic()

    def sleep():
        try:
            time.sleep(5)
        except Exception:  # noqa: BLE001  # as in a library that passes over what it does not know
            return 'took it for its own'

    assert report.part('slow', sleep, most=0.1) is None
    assert time.monotonic() - begin < 2 and report.part('next', lambda: 1) == 1
    time.sleep(0.15)  # no alarm is left
    assert written(report)['errors'] == ['slow: took more than 0 s']


def test_what_there_is_no_time_for_is_left_out(report):
    assert report.part('a', lambda: 1, least=60) is None
    assert written(report) == dict(results={}, errors=[], left_out=['a: 5 s are left, it takes 60'])


@pytest.mark.parametrize('optional', [True, False])
def test_what_is_not_there_is_left_out_where_it_may_be(report, optional):
    def fail():
        raise ConfigError('not installed: timm')

    report.part('a', fail, optional=optional)
    assert written(report)['left_out' if optional else 'errors'] == ['a: not installed: timm']


def test_a_section_that_ends(child, tmp_path):
    ticks = []
    outcome = run_section(child('pass'), tmp_path, 20.0, tick=ticks.append)
    assert (outcome.status, outcome.errors, outcome.left_out) == ('done', [], ['b: no time'])
    assert outcome.results == dict(first=1, seconds=10.0) and 0 <= outcome.seconds < 10
    assert ticks == sorted(ticks) and ticks


@pytest.mark.parametrize(
    ('code', 'error'),
    [
        ('raise ValueError("no")', 'ended by exit status 1; last line: ValueError: no'),
        ('os.kill(os.getpid(), 11)', 'ended by signal SIGSEGV; last line: none'),
    ],
)
def test_a_section_that_dies_keeps_what_it_told(child, tmp_path, code, error):
    outcome = run_section(child(code), tmp_path, 10.0)
    assert (outcome.status, outcome.errors) == ('failed', [error]) and outcome.results['first'] == 1


def test_a_section_that_hangs_is_killed_with_its_processes(child, tmp_path):
    code = f"""
inner = subprocess.Popen(['sleep', '60'])
open({str(tmp_path / 'pid')!r}, 'w').write(str(inner.pid))
time.sleep(60)
"""
    begin = time.monotonic()
    outcome = run_section(child(code), tmp_path, 1.0)
    assert time.monotonic() - begin < 5
    assert (outcome.status, outcome.errors) == ('out of time', ['killed after 1 s']) and outcome.results['first'] == 1
    inner = int((tmp_path / 'pid').read_text())
    # it was killed, but nobody waits for it: on a busy machine it takes a while to end
    while alive(inner) and time.monotonic() - begin < 30:
        time.sleep(0.01)
    assert not alive(inner)


def test_a_failed_part_fails_its_section(child, tmp_path):
    code = "json.dump(dict(results={}, errors=['a: no'], left_out=[]), open(order['report'], 'w'))"
    assert run_section(child(code), tmp_path, 10.0).status == 'failed'


def in_turn(child, tmp_path, codes, **options):
    events, outcomes = [], {}

    def start(name, log):
        events.append(f'start {name}')
        return child(codes[name], log.name)

    def ended(name, outcome, log):
        events.append(f'end {name}')
        outcomes[name] = outcome

    def begun(name, seconds, left):
        events.append(f'begin {name}')
        assert seconds <= left

    options = dict(limits=dict.fromkeys(codes, 5.0), budget=60.0) | options
    run_sections(
        list(codes), start, scratch=tmp_path, begun=begun, tick=lambda name, seconds: None, ended=ended, **options
    )
    return events, outcomes


def test_sections_run_in_turn_while_the_next_one_starts(child, tmp_path):
    events, outcomes = in_turn(child, tmp_path, dict(a='pass', b='sys.exit(3)', c='pass'))
    assert events == ['start a', 'start b', 'begin a', 'end a', 'start c', 'begin b', 'end b', 'begin c', 'end c']
    assert [outcome.status for outcome in outcomes.values()] == ['done', 'failed', 'done']


def test_sections_that_do_not_fit_are_left_out(child, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, 'RESERVE', 0.0)
    codes = dict(a='time.sleep(30)', b='pass', c='pass')
    events, outcomes = in_turn(child, tmp_path, codes, limits=dict(a=1.0, b=5.0, c=5.0), budget=1.5)
    assert outcomes['a'].status == 'out of time' and 'begin b' not in events
    assert (outcomes['b'].status, outcomes['b'].left_out) == ('left out', ['0 s of 2 are left'])
    assert outcomes['c'].status == 'left out'


def test_no_section_is_left_behind(child, tmp_path):
    def broken(name, outcome, log):
        raise KeyboardInterrupt

    started = []

    def start(name, log):
        started.append(child('time.sleep(60)', log.name))
        return started[-1]

    with pytest.raises(KeyboardInterrupt):
        run_sections(
            ['a', 'b'],
            start,
            limits=dict(a=0.5, b=0.5),
            budget=60.0,
            scratch=tmp_path,
            begun=lambda *_: None,
            tick=lambda *_: None,
            ended=broken,
        )
    assert len(started) == 2 and all(one.status() is not None for one in started)


def test_a_child_follows_its_order(tmp_path, monkeypatch):
    order = dict(report=str(tmp_path / 'r.json'), seconds=7.0, scratch=str(tmp_path))
    monkeypatch.setattr('sys.stdin', io.StringIO(json.dumps(order) + '\n'))
    reports = []
    follow_orders(reports.append)
    assert reports[0].path == tmp_path / 'r.json' and reports[0].scratch == tmp_path and 6 < reports[0].left <= 7


def test_a_child_whose_starter_has_gone_ends(monkeypatch):
    monkeypatch.setattr('sys.stdin', io.StringIO(''))
    follow_orders(lambda report: pytest.fail('there is no order'))
