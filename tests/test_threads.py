"""Variables are looked at, and set in processes that import nothing but the package: none imports PyTorch."""

import re
import subprocess
import sys

import pytest
import torch

from mmav import threads
from mmav.threads import CORES, COUNTS, SPINS, WAITING, sharing_cores, threads_beside
from tests import toys

PRINT = 'import os, mmav; print(*[os.environ.get(n, "-") for n in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")])'


@pytest.fixture
def free(monkeypatch):
    """An environment in which nobody has set anything."""
    for name in (*COUNTS, *WAITING, CORES, 'LOCAL_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE'):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ({}, f'{SPINS} -'),
        (dict(GOMP_SPINCOUNT='7'), '7 -'),
        (dict(OMP_WAIT_POLICY='ACTIVE'), '- ACTIVE'),
        (dict(KMP_BLOCKTIME='5'), '- -'),
    ],
)
def test_what_a_user_has_set_stands(free, given, expected):
    for name, value in given.items():
        free.setenv(name, value)
    assert subprocess.check_output([sys.executable, '-c', PRINT], cwd=toys.ROOT, text=True).strip() == expected


def test_it_comes_before_pytorch_or_not_at_all(free):
    threads.wait_briefly()  # PyTorch is there
    assert 'GOMP_SPINCOUNT' not in threads.os.environ
    tools = [*toys.ROOT.glob('tools/**/*.py'), *toys.ROOT.glob('demo/*.py')]
    late = {'merge_checkpoints.py', 'convert_weights.py'}  # compute nothing
    early = [tool.name for tool in tools if re.search(r'^(import|from) torch\b', tool.read_text(), re.MULTILINE)]
    assert len(tools) > 20 and set(early) <= late


def test_threads_are_the_cores_that_data_workers_leave(free):
    free.setattr('mmav.threads.cpu_count', lambda: 8)
    assert threads_beside(0)[0] == 8 and threads_beside(3) == (5, '8 cores less 3 data workers')
    assert threads_beside(20)[0] == 1
    assert threads_beside(1, dict(LOCAL_WORLD_SIZE='4'))[0] == 1
    assert threads_beside(1, dict(LOCAL_WORLD_SIZE='2'))[0] == 3
    assert threads_beside(1, dict(MKL_NUM_THREADS='2')) == (None, 'MKL_NUM_THREADS=2')
    # what tools/*.sh set for torchrun is no choice of the user's
    assert threads_beside(1, dict(MMAV_CORES='3', OMP_NUM_THREADS='3', LOCAL_WORLD_SIZE='2'))[0] == 2


def test_the_log_tells_and_the_number_is_put_back(free, tmp_path, capsys):
    free.setattr('mmav.threads.cpu_count', lambda: 6)
    before = torch.get_num_threads()
    seen = []
    free.setattr(toys.ToyModel, 'init_weights', lambda self: seen.append(torch.get_num_threads()))
    options = ['--work-dir', tmp_path / 'w', '--cfg-options', 'train_cfg.max_epochs=1']
    assert toys.run_tool('train.py', toys.write_config(tmp_path), *options) == 0
    assert 'Threads that compute: 6 (6 cores less 0 data workers)' in capsys.readouterr().out
    assert seen == [6] and torch.get_num_threads() == before
    free.setenv('OMP_NUM_THREADS', '1')
    with sharing_cores(2) as note:
        assert torch.get_num_threads() == before and note == f'Threads that compute: {before} (OMP_NUM_THREADS=1)'


@pytest.mark.parametrize(
    ('groups', 'files', 'expected'),
    [
        ('0::/', {'cpu.max': '250000 100000'}, 2.5),
        ('0::/a/b', {'a/cpu.max': '400000 100000', 'a/b/cpu.max': 'max 100000', 'cpu.max': '800000 100000'}, 4.0),
        ('0::/elsewhere', {'a/cpu.max': '100000 100000'}, None),
        (
            '4:memory:/x\n1:cpu,cpuacct:/x',
            {'cpu/x/cpu.cfs_quota_us': '150000', 'cpu/x/cpu.cfs_period_us': '100000'},
            1.5,
        ),
        ('1:cpu:/', {'cpu/cpu.cfs_quota_us': '-1', 'cpu/cpu.cfs_period_us': '100000'}, None),
        (None, {}, None),
    ],
)
def test_a_containers_quota(tmp_path, groups, files, expected):
    for name, text in files.items():
        (tmp_path / 'fs' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'fs' / name).write_text(text)
    if groups is not None:
        (tmp_path / 'own').write_text(groups)
    assert threads.cpu_quota(tmp_path / 'fs', tmp_path / 'own') == expected


@pytest.mark.parametrize(('quota', 'expected'), [(None, 4), (2.5, 3), (0.2, 1), (8.0, 4)])
def test_cores_are_no_more_than_the_quota(monkeypatch, quota, expected):
    monkeypatch.setattr(threads, 'cpu_quota', lambda: quota)
    monkeypatch.setattr(threads.os, 'sched_getaffinity', lambda _: {0, 1, 2, 3}, raising=False)
    assert threads.cpu_count() == expected
