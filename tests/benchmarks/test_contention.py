import io
import json

import pytest
import torch

from benchmarks import contention
from benchmarks.contention import busy_loops, contention_table, measure_contention
from mmav.errors import ConfigError, MmavError
from tests.toys import ROOT, run_tool

CONFIG = str(ROOT / 'configs' / 'ast' / 'ast_tiny_avsynth.py')


class Stepper:
    """In place of a process: so many seconds a step, and more beside loops."""

    def __init__(self, seconds):
        self.seconds, self.stdin = seconds, io.StringIO()

    @property
    def stdout(self):
        return io.StringIO(json.dumps(dict(seconds=self.seconds, threads=2)) + '\n' if self.seconds else '')


@pytest.fixture
def steppers(monkeypatch):
    environments = []
    given = iter((2.0, 1.0, 0.0))

    @contention.contextmanager
    def start(config, batch_size, environment):
        environments.append(environment)
        yield Stepper(next(given))

    monkeypatch.setattr(contention, '_stepper', start)
    return environments


def test_settings_take_turns_alone_and_beside_loops(steppers, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '9')
    results = measure_contention(CONFIG, ['default', 'OMP_WAIT_POLICY=PASSIVE,OMP_NUM_THREADS=2'], busy=1, rounds=2)
    assert [(r['busy'], r['setting'], r['seconds']['median']) for r in results[::2]] == [
        (0, 'default', 2.0),
        (1, 'default', 2.0),
    ]
    assert results[1]['ratio']['median'] == 0.5
    assert 'OMP_NUM_THREADS' not in steppers[0] and steppers[1]['OMP_NUM_THREADS'] == '2'
    rows = contention_table(results).splitlines()
    assert rows[2] == '| 0 | default | 2 | 2000 (2000 to 2000) ms | 1.00 (1.00 to 1.00) |'


def test_mistakes(steppers, capsys):
    for setting in ('GOMP_SPINCOUNT', 'HOME=1'):
        with pytest.raises(ConfigError, match=f"setting '{setting}': give 'default' or NAME=VALUE"):
            measure_contention(CONFIG, [setting])
    with pytest.raises(MmavError, match='a process that was to be timed has failed'):
        measure_contention(CONFIG, ['default'] * 3, rounds=1)
    assert run_tool('analysis_tools/benchmark_contention.py', CONFIG, '--rounds', 0) == 2
    assert capsys.readouterr().err.endswith('error: --rounds 0: give 1 or more\n')


def test_loops_run_and_end():
    with busy_loops(1):
        pass


def test_a_process_answers_with_the_time_of_its_steps(monkeypatch, tmp_path):
    written = tmp_path / 'answers'
    with written.open('w') as out:
        monkeypatch.setattr(contention.os, 'dup', lambda _: out.fileno())
        monkeypatch.setattr(contention.os, 'dup2', lambda *_: None)
        monkeypatch.setattr(contention.os, 'fdopen', lambda *_: out)
        monkeypatch.setattr(contention.sys, 'stdin', io.StringIO('2\n0\n'))
        contention._serve(CONFIG, 1)
    first, second = map(json.loads, written.read_text().splitlines())
    assert first['seconds'] > 0 and first['threads'] == second['threads'] == torch.get_num_threads()
