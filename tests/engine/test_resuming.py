"""What a resumed run takes from its checkpoint and what from its config; what it cannot go on with is one line."""

import pytest
import torch

from tests import toys


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The work dir of a toy that was trained for two epochs of 3 iterations, with and without averaged weights."""
    folder = tmp_path_factory.mktemp('trained')
    plain = toys.write_config(folder, "train_cfg['max_epochs'] = 2\n")
    assert toys.run_tool('train.py', plain, '--work-dir', folder / 'plain') == 0
    text = "train_cfg['max_epochs'] = 2\ncustom_hooks = [dict(type='EMAHook', momentum=0.5)]\n"
    assert toys.run_tool('train.py', toys.write_config(folder, text), '--work-dir', folder / 'average') == 0
    return folder


def resume(tmp_path, trained, more, name='plain'):
    path = toys.write_config(tmp_path, more)
    checkpoint = trained / name / 'epoch_2.pth'
    return toys.run_tool('train.py', path, '--work-dir', tmp_path / 'w', '--resume', checkpoint), checkpoint


@pytest.mark.parametrize('old', ['None', "[dict(type='LinearLR', end=1), dict(type='CosineAnnealingLR', T_max=4)]"])
def test_a_schedule_that_the_checkpoint_does_not_have(tmp_path, old):
    """It begins anew with MMEngine, as if training did."""
    before = toys.write_config(tmp_path, f"train_cfg['max_epochs'] = 2\nparam_scheduler = {old}\n")
    assert toys.run_tool('train.py', before, '--work-dir', tmp_path / 'plain') == 0
    assert resume(tmp_path, tmp_path, '')[0] == 0
    assert toys.run_tool('train.py', toys.write_config(tmp_path), '--work-dir', tmp_path / 'whole') == 0
    ends = [torch.load(tmp_path / name / 'epoch_4.pth', weights_only=True) for name in ('w', 'whole')]
    rates = [end['message_hub']['log_scalars']['train/lr']['values'] for end in ends]
    torch.testing.assert_close(rates[0][6:], rates[1][6:])


def test_a_rate_without_a_schedule_is_the_configs(tmp_path, trained):
    assert resume(tmp_path, trained, "param_scheduler = None\noptim_wrapper['optimizer']['lr'] = 0.25\n")[0] == 0
    (group,) = torch.load(tmp_path / 'w' / 'epoch_4.pth', weights_only=True)['optimizer']['param_groups']
    assert group['lr'] == 0.25


def test_without_averaging_the_trained_weights_go_on(tmp_path, trained, capsys):
    """``state_dict`` holds the average, to which the optimizer's state does not belong."""
    assert resume(tmp_path, trained, "optim_wrapper['optimizer']['lr'] = 0.0\n", 'average')[0] == 0
    assert 'training continues with the trained ones, as the config has no EMAHook' in capsys.readouterr().out
    went_on = torch.load(tmp_path / 'w' / 'epoch_4.pth', weights_only=True)['state_dict']
    # the averaging run trains as the plain one does
    without = torch.load(trained / 'plain' / 'epoch_2.pth', weights_only=True)['state_dict']
    for name, value in without.items():
        torch.testing.assert_close(went_on[name], value)
