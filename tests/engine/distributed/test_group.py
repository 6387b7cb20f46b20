import os
import socket

import pytest
from torch import distributed

from mmav.engine.distributed import group as dist
from mmav.engine.distributed.group import _export_ranks, init_gloo, leave
from mmav.errors import ConfigError


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'SLURM_PROCID', 'SLURM_NODELIST'):
        monkeypatch.setenv(name, '')  # so that what the code sets is undone
        monkeypatch.delenv(name)
    yield
    leave()


@pytest.mark.parametrize(
    ('launcher', 'variable'), [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM_WORLD_RANK')]
)
def test_started_without_the_launcher(launcher, variable, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigError, match=f"launcher '{launcher}' needs the environment variable {variable}"):
        init_gloo(launcher)


def test_unknown_launcher():
    with pytest.raises(ConfigError, match="got 'horovod'"):
        init_gloo('horovod')


def test_slurm_variables_make_a_group(monkeypatch):
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    for name, value in dict(SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_LOCALID='0').items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    monkeypatch.setenv('MASTER_PORT', str(port))
    init_gloo('slurm', timeout=60)
    assert distributed.get_backend() == 'gloo' and distributed.get_world_size() == 1
    init_gloo('slurm')  # a second call changes nothing


@pytest.mark.parametrize(
    ('scontrol', 'expected'), [('echo first; echo second', 'first'), ('exit 1', None), (None, None)]
)
def test_processes_of_slurm_meet_on_the_first_node(scontrol, expected, monkeypatch, tmp_path):
    """Also where scontrol fails, or is not there, as in a container."""
    if scontrol is not None:
        (tmp_path / 'scontrol').write_text(f'#!/bin/sh\n{scontrol}\n')
        (tmp_path / 'scontrol').chmod(0o755)
    for name, value in dict(SLURM_PROCID='1', SLURM_NTASKS='2', SLURM_LOCALID='1', SLURM_NODELIST='n[0-1]').items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('PATH', str(tmp_path))
    if expected is None:
        with pytest.raises(ConfigError, match=r"first node of 'n\[0-1\]'.*set MASTER_ADDR"):
            _export_ranks('slurm')
    else:
        _export_ranks('slurm')
        assert (os.environ['MASTER_ADDR'], os.environ['RANK'], os.environ['LOCAL_RANK']) == (expected, '1', '1')


def test_the_threads_of_gloo_come_to_rest_before_python_ends(tmp_path, monkeypatch):
    """One that frees a tensor while the interpreter ends aborts the process; seen with 8 processes on 2 cores."""
    for number, name in enumerate(('python', 'pt_gloo_runloop', 'a (b) c')):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / 'stat').write_text(f'{number} ({name}) R 1 2 3')
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 4:
            (tmp_path / '1' / 'stat').write_text('1 (pt_gloo_runloop) S 1 2 3')

    monkeypatch.setattr(dist.time, 'sleep', sleep)
    dist._let_gloo_rest(tmp_path)
    assert len(naps) == 6  # three times in a row, the first of them the fourth
    dist._let_gloo_rest(tmp_path / 'not Linux')
    assert len(naps) == 9
    (tmp_path / '1' / 'stat').write_text('1 (pt_gloo_runloop) R 1 2 3')
    dist._let_gloo_rest(tmp_path, patience=0.0)  # for ever is too long
