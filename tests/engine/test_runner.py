import logging

import pytest
import torch

from mmav.models import AST
from mmav.models.layers.absolute_position import resize_positions
from mmav.registry import MODELS
from tests import toys


@MODELS.register_module()
class ToyWithPositions(toys.ToyModel):
    """A toy with an encoder beside it, whose positions no gradient reaches."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.audio = AST(size, embed_dims=4, num_layers=1, num_heads=1)


@pytest.fixture
def config(tmp_path):
    return toys.write_config(tmp_path)


def learning_rates(path):
    return torch.load(path, weights_only=True)['message_hub']['log_scalars']['train/lr']['values']


def weights(path):
    return torch.load(path, weights_only=True)['state_dict']


def test_resumed_at_a_boundary_equals_uninterrupted(tmp_path, config):
    """Bit for bit, with dropout; MMEngine alone differs from the first step on. With workers: test_end_to_end."""
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'a') == 0
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b' / 'epoch_2.pth').write_bytes((tmp_path / 'a' / 'epoch_2.pth').read_bytes())
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'b', '--resume') == 0
    one, two = (torch.load(tmp_path / run / 'epoch_4.pth', weights_only=True) for run in 'ab')
    assert not torch.equal(one['state_dict']['fc.weight'], weights(tmp_path / 'a' / 'epoch_2.pth')['fc.weight'])
    for name, value in one['state_dict'].items():
        assert torch.equal(value, two['state_dict'][name])
    torch.testing.assert_close(one['optimizer'], two['optimizer'], rtol=0, atol=0)
    # the history goes on where it stopped
    losses = [run['message_hub']['log_scalars']['train/loss']['values'] for run in (one, two)]
    assert len(losses[0]) == 12 and torch.equal(*losses)


def test_mmengines_loop_by_epochs_is_ours(tmp_path, config):
    path = tmp_path / 'by_epoch.py'
    path.write_text(config.read_text().replace("type='AVTrainLoop', ", 'by_epoch=True, '))
    hook = "custom_hooks = [dict(type='SignalHook', number=15, after_iter=2)]\n"
    path.write_text(path.read_text() + hook)
    assert toys.run_tool('train.py', path, '--work-dir', tmp_path / 'w') == 0
    assert torch.load(tmp_path / 'w' / 'iter_2.pth', weights_only=True)['meta']['clips_per_batch'] == 4


def test_the_rate_is_scaled_to_the_batch_of_a_step(tmp_path, config):
    options = ['--auto-scale-lr', '--cfg-options', 'optim_wrapper.accumulative_counts=4', 'param_scheduler=None']
    options += ['train_cfg.max_epochs=1']
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w', *options) == 0
    # The rate is for 8 clips; a step takes 4 batches of 4.
    assert learning_rates(tmp_path / 'w' / 'epoch_1.pth')[0] == pytest.approx(2 * 0.05)


def test_resume_without_a_checkpoint_starts_anew(tmp_path, config, capsys):
    one_epoch = ['--cfg-options', 'train_cfg.max_epochs=1']
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w', '--resume', *one_epoch) == 0
    assert 'No checkpoint to resume from' in capsys.readouterr().out
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w', '--resume', *one_epoch) == 0
    assert 'nothing is left to train' in capsys.readouterr().out


def test_checkpoints_name_no_python_object(tmp_path, config):
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w') == 0
    for path in (tmp_path / 'w').glob('*.pth'):
        assert not torch.serialization.get_unsafe_globals_in_checkpoint(path)


def test_load_from_takes_what_fits(tmp_path, config, capsys):
    assert (
        toys.run_tool('train.py', config, '--work-dir', tmp_path / 'a', '--cfg-options', 'train_cfg.max_epochs=1') == 0
    )
    path = tmp_path / 'a' / 'epoch_1.pth'
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['state_dict']['extra'] = torch.zeros(1)
    torch.save(checkpoint, path)
    more = ['--cfg-options', f'load_from={path}', 'train_cfg.max_epochs=1', 'optim_wrapper.optimizer.lr=0']
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'b', *more) == 0
    assert 'was loaded in part: 1 unknown (extra)' in capsys.readouterr().out
    assert torch.equal(weights(tmp_path / 'b' / 'epoch_1.pth')['fc.weight'], checkpoint['state_dict']['fc.weight'])


def test_weights_only_cannot_be_resumed(tmp_path, config, capsys):
    torch.save(dict(state_dict=toys.ToyModel().state_dict()), tmp_path / 'weights.pth')
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w', '--resume', tmp_path / 'weights.pth') == 2
    assert 'holds weights only and cannot be resumed from: set load_from=' in capsys.readouterr().err


@pytest.mark.usefixtures('formatted_configs')
def test_console_is_short_and_the_file_complete(tmp_path, config, capsys):
    assert (
        toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w', '--cfg-options', 'train_cfg.max_epochs=1') == 0
    )
    console = capsys.readouterr().out
    (log,) = (tmp_path / 'w').glob('*/*.log')
    for listing in ('System environment', 'Hooks will be executed', 'train_dataloader = dict('):
        assert listing in log.read_text() and listing not in console
    assert 'Epoch(train) [1][3/3]' in console and 'top1:' in console
    assert len(console.splitlines()) < 12


def test_a_longer_schedule_goes_on_where_the_new_one_is(tmp_path, config, capsys):
    """MMEngine would stay at the rate at which the old schedule ended."""
    longer = ['--cfg-options', 'train_cfg.max_epochs=6', 'param_scheduler.0.T_max=6']
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'a') == 0
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'a', '--resume', *longer) == 0
    assert 'training continues with the new one after 12 steps' in capsys.readouterr().out
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'b', *longer) == 0
    rates = [learning_rates(tmp_path / run / 'epoch_6.pth') for run in 'ab']
    torch.testing.assert_close(rates[0][12:], rates[1][12:])
    assert rates[0][12] > 0.01


def test_another_rate_in_the_config_is_taken(tmp_path, config):
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'a') == 0
    options = ['train_cfg.max_epochs=6', 'param_scheduler.0.T_max=6', 'optim_wrapper.optimizer.lr=0.001']
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'a', '--resume', '--cfg-options', *options) == 0
    rates = learning_rates(tmp_path / 'a' / 'epoch_6.pth')
    assert 0 < rates[-1] < rates[12] < 0.001


def test_a_checkpoint_cannot_bring_a_config_that_runs(tmp_path, config):
    """MMEngine runs what it finds under meta.config when it resumes."""
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w') == 0
    path = tmp_path / 'w' / 'epoch_4.pth'
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['meta']['config'] = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    torch.save(checkpoint, path)
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w', '--resume') == 0
    assert not (tmp_path / 'ran').exists()


def test_logs_are_in_utf_8_whatever_the_system_has(tmp_path, config, capsys, monkeypatch):
    make = logging.FileHandler.__init__

    def of_an_ascii_system(self, filename, mode='a', encoding=None, **kwargs):
        make(self, filename, mode, encoding or 'ascii', **kwargs)

    monkeypatch.setattr(logging.FileHandler, '__init__', of_an_ascii_system)
    options = ['--work-dir', tmp_path / '狗', '--cfg-options', 'train_cfg.max_epochs=1']
    assert toys.run_tool('train.py', config, *options) == 0
    assert 'Logging error' not in capsys.readouterr().err
    (log,) = (tmp_path / '狗').glob('*/*.log')
    assert '狗' in log.read_text(encoding='utf-8')


def test_checkpoints_say_what_their_positions_unroll(tmp_path, config, capsys):
    """24 x 24 positions, then a model of as many in 12 x 48: in training from them and in testing."""
    config.write_text(
        config.read_text().replace("dict(type='ToyModel')", "dict(type='ToyWithPositions', size=(246, 246))")
        + "custom_imports['imports'].append('tests.engine.test_runner')\n"
    )
    options = ['--cfg-options', 'train_cfg.max_epochs=1', 'param_scheduler=None']
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'a', *options) == 0
    checkpoint = torch.load(tmp_path / 'a' / 'epoch_1.pth', weights_only=True)
    assert checkpoint['meta']['position_grids'] == {'audio.pos_embed': [24, 24]}
    options += ['model.size=(128,490)']
    args = ['--work-dir', tmp_path / 'b', *options, f'load_from={tmp_path / "a" / "epoch_1.pth"}']
    assert toys.run_tool('train.py', config, *args) == 0
    old, new = (
        state['audio.pos_embed'] for state in (checkpoint['state_dict'], weights(tmp_path / 'b' / 'epoch_1.pth'))
    )
    assert torch.equal(new[:, :2], old[:, :2])
    assert torch.equal(new[:, 2:], resize_positions(old[:, 2:], (24, 24), (12, 48)))
    told = 'audio.pos_embed: positions of (24, 24) interpolated to (12, 48)'
    capsys.readouterr()
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'a', '--resume', *options) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith('error'))
    assert 'its audio.pos_embed is a grid of 24 x 24, but this config has 12 x 48' in line
    assert toys.run_tool('test.py', config, tmp_path / 'a' / 'epoch_1.pth', '--work-dir', tmp_path / 'c', *options) == 0
    console = capsys.readouterr()
    assert told in console.out + console.err
