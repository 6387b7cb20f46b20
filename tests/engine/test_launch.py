"""What training and testing refuse before anything is built. Whole runs: tests/tools/test_train.py."""

import sys

import pytest

from tests import toys


@pytest.fixture
def config(tmp_path):
    return toys.write_config(tmp_path)


def test_workers_without_shared_memory_are_refused_before_the_data_are_read(tmp_path, config, capsys, monkeypatch):
    monkeypatch.setattr('mmav.parallel.worker_problem', lambda: 'no /dev/shm')
    options = ['--work-dir', tmp_path / 'w', '--cfg-options', 'train_dataloader.num_workers=2']
    assert toys.run_tool('train.py', config, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: train_dataloader.num_workers above 0 need shared memory, and there is none (no /')
    assert error.endswith(' or --cfg-options train_dataloader.num_workers=0\n')
    assert error.count('\n') == 1 and not (tmp_path / 'w').exists()
    assert toys.run_tool('train.py', config, *options[:2], '--cfg-options', 'train_cfg.max_epochs=1') == 0


def test_without_tensorboard_one_line_says_what_is_missing(tmp_path, monkeypatch, capsys):
    for name in ('tensorboardX', 'torch.utils.tensorboard'):
        monkeypatch.setitem(sys.modules, name, None)
    board = "visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])\n"
    config = toys.write_config(tmp_path, board)
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w') == 2
    # before anything is built
    assert capsys.readouterr().err == 'error: TensorboardVisBackend needs tensorboard: pip install tensorboard\n'
    assert not (tmp_path / 'w').exists()


def test_options_that_exclude_each_other(tmp_path, config, capsys):
    arguments = ['--work-dir', str(tmp_path / 'run'), '--cache', 'ram', '--features', str(tmp_path)]
    assert toys.run_tool('train.py', config, *arguments) == 2
    assert '--cache ram has no effect with --features, which decodes no clips' in capsys.readouterr().err
    arguments[2:4] = ['--shards', 'shards']
    assert toys.run_tool('train.py', config, *arguments) == 2
    assert '--shards shards has no effect with --features, which reads no clips' in capsys.readouterr().err
    arguments[4:] = ['--cfg-options', 'train_dataloader.dataset.shards.index=other']
    assert toys.run_tool('train.py', config, *arguments) == 2
    assert '--shards shards would replace train_dataloader.dataset.shards.index of' in capsys.readouterr().err
