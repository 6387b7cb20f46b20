"""The training loop in what it adds: other samplers, workers that die."""

import torch

from tests import toys


def test_a_sampler_of_ones_own_is_read_and_passed_over(tmp_path):
    """Batches made elsewhere cannot be left out by their sampler; what follows is the same."""
    more = "train_dataloader['batch_sampler'] = dict(type='ToyBatchSampler', drop_last=False)\n"
    for stop in (None, 5):
        hook = f"custom_hooks = [dict(type='SignalHook', number=15, after_iter={stop})]\n"
        config = toys.write_config(tmp_path, more + hook)
        assert toys.run_tool('train.py', config, '--work-dir', tmp_path / f'{stop}') == 0
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / '5', '--resume') == 0
    one, two = (torch.load(tmp_path / f'{stop}' / 'epoch_4.pth', weights_only=True) for stop in (None, 5))
    for name, value in one['state_dict'].items():
        assert torch.equal(value, two['state_dict'][name])


def test_a_dead_worker_is_one_line_and_no_hang(tmp_path, capsys):
    more = "train_dataloader['dataset']['die_at'] = 3\ntrain_dataloader['num_workers'] = 2\n"
    assert toys.run_tool('train.py', toys.write_config(tmp_path, more), '--work-dir', tmp_path / 'w') == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    assert 'a data worker died: ' in error and 'fewer num_workers' in error
