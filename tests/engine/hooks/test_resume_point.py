"""Runs that are asked to stop, and go on where they were, bit for bit."""

import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub

from mmav.engine import ResumePointHook
from mmav.engine.hooks.resume_point import RESUME_POINTS
from mmav.errors import ConfigError
from tests import toys
from tests.processes import run_tool_in_pair

# 3 batches an epoch, 4 epochs
EXTRA = """
custom_hooks = [dict(type='SignalHook', number={number}, after_iter={after_iter}, in_val={in_val})]
"""


def config(tmp_path, number=signal.SIGTERM, after_iter=None, in_val=None, more=''):
    return toys.write_config(tmp_path, EXTRA.format(number=int(number), after_iter=after_iter, in_val=in_val) + more)


@pytest.fixture
def uninterrupted(tmp_path):
    assert toys.run_tool('train.py', config(tmp_path), '--work-dir', tmp_path / 'whole') == 0
    return torch.load(tmp_path / 'whole' / 'epoch_4.pth', weights_only=True)


def assert_same(one, path):
    other = torch.load(path, weights_only=True)
    for name, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][name])
    torch.testing.assert_close(one['optimizer'], other['optimizer'], rtol=0, atol=0)
    losses = [run['message_hub']['log_scalars']['train/loss']['values'] for run in (one, other)]
    assert torch.equal(*losses)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize('after_iter', [1, 5, 6])
def test_stopped_in_mid_epoch_equals_uninterrupted(tmp_path, uninterrupted, number, after_iter, capsys):
    work_dir, read = tmp_path / 'w', tmp_path / 'read.txt'
    more = f"train_dataloader['dataset']['record'] = {str(read)!r}\n"
    path = config(tmp_path, number, after_iter, more=more)
    assert toys.run_tool('train.py', path, '--work-dir', work_dir) == 0
    name = f'iter_{after_iter}.pth'
    assert f'stopped by {signal.Signals(number).name}: {work_dir / name} is saved, --resume' in capsys.readouterr().err
    assert (work_dir / 'last_checkpoint').read_text().endswith(name)
    read.unlink()
    assert toys.run_tool('train.py', path, '--work-dir', work_dir, '--resume') == 0
    # Nothing is read again: what is left of 48 clips, 4 a batch.
    assert len(read.read_text().splitlines()) == 48 - 4 * after_iter
    assert_same(uninterrupted, work_dir / 'epoch_4.pth')
    assert not list(work_dir.glob('iter_*.pth'))


def test_all_processes_stop_where_one_got_a_signal(tmp_path, capfd):
    text = (
        "custom_hooks = [dict(type='SignalHook', number=10, after_iter=3, rank=1)]\n"
        "train_dataloader['dataset']['length'] = 80\n"
        'default_hooks = dict(resume_point=dict(agree_every=4))\n'
    )
    run_tool_in_pair(tmp_path, 'train.py', toys.write_config(tmp_path, text), '--work-dir', tmp_path / 'w')
    assert 'iter_4.pth is saved, --resume continues from there' in capfd.readouterr().err
    assert [path.name for path in (tmp_path / 'w').glob('*.pth')] == ['iter_4.pth']


def test_a_resume_point_that_was_not_yet_named_stays_until_a_later_checkpoint(tmp_path):
    """A run that is killed after it has written iter_4.pth, and before last_checkpoint names it, goes on from there."""
    files = {name: tmp_path / name for name in ('iter_2.pth', 'epoch_1.pth', 'iter_4.pth')}
    for age, path in enumerate(files.values()):
        path.touch()
        os.utime(path, (age, age))
    (tmp_path / 'last_checkpoint').write_text(str(files['epoch_1.pth']))
    hub = MessageHub('a test of resume points')
    hub.update_info(RESUME_POINTS, ['iter_2.pth', 'iter_4.pth'])
    hook, runner = ResumePointHook(), SimpleNamespace(work_dir=str(tmp_path), message_hub=hub)
    hook.before_train_epoch(runner)
    assert {path.name for path in tmp_path.glob('*.pth')} == {'epoch_1.pth', 'iter_4.pth'}
    files['epoch_2.pth'] = tmp_path / 'epoch_2.pth'
    files['epoch_2.pth'].touch()
    (tmp_path / 'last_checkpoint').write_text(str(files['epoch_2.pth']))
    hook.before_train_epoch(runner)
    assert {path.name for path in tmp_path.glob('*.pth')} == {'epoch_1.pth', 'epoch_2.pth'}


def test_stopped_in_validation(tmp_path, uninterrupted, capsys):
    work_dir = tmp_path / 'w'
    path = config(tmp_path, in_val=2)
    assert toys.run_tool('train.py', path, '--work-dir', work_dir) == 0
    assert 'stopped by SIGTERM in validation' in capsys.readouterr().err
    assert sorted(file.name for file in work_dir.glob('*.pth')) == ['epoch_1.pth', 'epoch_2.pth']
    path = config(tmp_path)
    assert toys.run_tool('train.py', path, '--work-dir', work_dir, '--resume') == 0
    assert_same(uninterrupted, work_dir / 'epoch_4.pth')


def test_a_cycle_of_accumulated_gradients_is_finished(tmp_path):
    more = "optim_wrapper['accumulative_counts'] = 2\ntrain_dataloader['dataset']['length'] = 16\n"
    whole, work_dir = tmp_path / 'whole', tmp_path / 'w'
    assert toys.run_tool('train.py', config(tmp_path, more=more), '--work-dir', whole) == 0
    path = config(tmp_path, after_iter=5, more=more)
    assert toys.run_tool('train.py', path, '--work-dir', work_dir) == 0
    assert (work_dir / 'iter_6.pth').is_file()
    assert toys.run_tool('train.py', path, '--work-dir', work_dir, '--resume') == 0
    assert_same(torch.load(whole / 'epoch_4.pth', weights_only=True), work_dir / 'epoch_4.pth')


def test_resume_points_every_so_often(tmp_path, uninterrupted):
    """The newest is kept, and goes when the epoch's own checkpoint is there."""
    work_dir = tmp_path / 'w'
    more = 'default_hooks = dict(resume_point=dict(interval=2))\n'
    assert toys.run_tool('train.py', config(tmp_path, after_iter=5, more=more), '--work-dir', work_dir) == 0
    assert sorted(file.name for file in work_dir.glob('*.pth')) == ['epoch_1.pth', 'iter_5.pth']
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_1.pth'))
    (work_dir / 'iter_5.pth').rename(work_dir / 'kept')
    # Killed between the two: the file that is newer goes first.
    time.sleep(0.01)
    (work_dir / 'iter_5.pth').write_bytes((work_dir / 'kept').read_bytes())
    assert toys.run_tool('train.py', config(tmp_path, more=more), '--work-dir', work_dir, '--resume') == 0
    assert_same(uninterrupted, work_dir / 'epoch_4.pth')


def test_another_batch_size_goes_on_at_the_same_clip(tmp_path, capsys):
    work_dir = tmp_path / 'w'
    assert toys.run_tool('train.py', config(tmp_path, after_iter=2), '--work-dir', work_dir) == 0
    options = ['--cfg-options', 'train_dataloader.batch_size=2', 'train_cfg.max_epochs=1']
    assert toys.run_tool('train.py', config(tmp_path), '--work-dir', work_dir, '--resume', *options) == 0
    out = capsys.readouterr().out
    assert 'saved after 2 batches of 4 clips, but batches now have 2: training continues after 4 of these' in out


def test_signals_do_what_they_did_before(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    assert toys.run_tool('train.py', config(tmp_path, after_iter=2), '--work-dir', tmp_path / 'w') == 0
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ('options', 'message'),
    [(dict(interval=0), 'interval=0'), (dict(signals=['SIGWINTER']), "no signal 'SIGWINTER'")],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        ResumePointHook(**options)


@pytest.mark.parametrize('missing', [['SIGUSR1'], ['SIGUSR1', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGALRM', 'SIGCONT']])
def test_a_system_without_these_signals(tmp_path, monkeypatch, missing):
    """Windows has no SIGUSR1."""
    for name in missing:
        monkeypatch.delattr(signal, name)
    assert toys.run_tool('train.py', toys.write_config(tmp_path), '--work-dir', tmp_path / 'w') == 0
    assert (tmp_path / 'w' / 'epoch_4.pth').is_file()
    ResumePointHook(signals=['SIGUSR1', 'SIGUSR2'])
    with pytest.raises(ConfigError, match=r"there is no signal 'SIGUSR', did you mean 'SIGUSR[12]'\?"):
        ResumePointHook(signals=['SIGUSR'])
