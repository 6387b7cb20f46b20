"""The way of ``tools/setup_env.py`` that installs nothing; the other one is what ``.ci/run`` goes."""

import importlib.util
import os
import sys

import pytest

from tests.toys import ROOT


@pytest.fixture
def setup_env():
    spec = importlib.util.spec_from_file_location('setup_env', ROOT / 'tools' / 'setup_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def started(setup_env, monkeypatch):
    """What this process would have become; and no set-up goes on after that."""
    found = []

    def become(program, command, variables):
        found.append((program, command, variables))
        raise SystemExit

    monkeypatch.setattr(os, 'execvpe', become)
    monkeypatch.setattr(setup_env, 'choose_env', lambda: (_ for _ in ()).throw(RuntimeError('it sets up')))
    monkeypatch.delenv('PYTHON', raising=False)
    return found


COMMAND = ['--if-missing', 'tests', '--', 'python', 'tool.py', '--page', 'x.md']


def test_a_python_that_has_all_packages_is_taken_as_it_is(setup_env, started, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', 'mine')
    with pytest.raises(SystemExit):
        setup_env.main(COMMAND)
    ((program, command, variables),) = started
    assert program == sys.executable and command == [sys.executable, 'tool.py', '--page', 'x.md']
    assert variables['PYTHONPATH'].split(os.pathsep) == [str(ROOT), 'mine']


def test_one_that_lacks_some_is_set_up(setup_env, started, monkeypatch):
    monkeypatch.setattr(setup_env, 'ENOUGH', 'sys not_there')
    with pytest.raises(RuntimeError, match='it sets up'):
        setup_env.main(COMMAND)


def test_one_that_does_not_run_is_set_up(setup_env, started, monkeypatch):
    monkeypatch.setenv('PYTHON', str(ROOT / 'no_python'))
    with pytest.raises(RuntimeError, match='it sets up'):
        setup_env.main(COMMAND)


def test_others_are_set_up_in_any_case(setup_env, started):
    with pytest.raises(RuntimeError, match='it sets up'):
        setup_env.main(COMMAND[1:])
