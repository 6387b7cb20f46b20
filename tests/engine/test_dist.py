import socket

import pytest
from torch import distributed

from mmav.engine.dist import init_gloo, leave
from mmav.errors import ConfigError


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
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
