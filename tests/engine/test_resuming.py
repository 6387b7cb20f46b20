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


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        ("optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))\n", 'this config has SGD over 2'),
        (
            "optim_wrapper['optimizer']['type'] = 'Adam'\n",
            'AdamW over 2 parameters (groups of 2), this config has Adam over 2',
        ),
        ("optim_wrapper['optimizer']['type'] = 'RMSprop'\n", 'this config has RMSprop'),
        (
            "optim_wrapper['paramwise_cfg'] = dict(custom_keys={'bias': dict(lr_mult=2.0)})\n",
            'this config has AdamW over 2 parameters (groups of 1, 1)',
        ),
        ("optim_wrapper['optimizer']['amsgrad'] = True\n", 'with amsgrad=True: it was trained with False'),
    ],
)
def test_another_optimizer_or_other_parameters_are_refused_in_one_line(tmp_path, trained, more, message, capsys):
    status, checkpoint = resume(tmp_path, trained, more)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    assert status == 2 and message in line and f"load_from='{checkpoint}'" in line


def test_freezing_is_refused_where_it_moves_parameters_between_groups(tmp_path, capsys):
    more = "optim_wrapper['optimizer']['weight_decay'] = 0.1\n"
    more += "optim_wrapper['paramwise_cfg'] = dict(bias_decay_mult=0.0)\ntrain_cfg['max_epochs'] = 2\n"
    assert toys.run_tool('train.py', toys.write_config(tmp_path, more), '--work-dir', tmp_path / 'plain') == 0
    assert resume(tmp_path, tmp_path, more + "model['freeze'] = True\n")[0] == 2
    assert 'AdamW over 2 parameters (groups of 1, 1), this config has AdamW over 1 parameter (groups of 1)' in (
        capsys.readouterr().err
    )


def test_equal_numbers_of_other_parameters(tmp_path, trained, capsys):
    checkpoint = torch.load(trained / 'plain' / 'epoch_2.pth', weights_only=True)
    assert checkpoint['meta']['optimizer_parameters'] == ['fc.weight', 'fc.bias']
    checkpoint['meta']['optimizer_parameters'] = ['fc.weight', 'gate.bias']
    (tmp_path / 'plain').mkdir()
    torch.save(checkpoint, tmp_path / 'plain' / 'epoch_2.pth')
    assert resume(tmp_path, tmp_path, '')[0] == 2
    assert 'its optimizer has gate.bias where this config has fc.bias' in capsys.readouterr().err


@pytest.mark.parametrize('known', [True, False])
def test_a_checkpoint_that_does_not_name_its_optimizer(tmp_path, trained, known, capsys):
    """As earlier versions wrote them: told by the names of its options, so far as they tell."""
    checkpoint = torch.load(trained / 'plain' / 'epoch_2.pth', weights_only=True)
    del checkpoint['meta']['optimizer_kind']
    (tmp_path / 'plain').mkdir()
    torch.save(checkpoint, tmp_path / 'plain' / 'epoch_2.pth')
    more = '' if known else "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))\n"
    assert resume(tmp_path, tmp_path, more)[0] == (0 if known else 2)
    assert known or 'trained by another optimizer over 2 parameters' in capsys.readouterr().err


def test_parameters_of_other_shapes_behind_equal_numbers(tmp_path, trained, capsys):
    checkpoint = torch.load(trained / 'plain' / 'epoch_2.pth', weights_only=True)
    state = checkpoint['optimizer']['state']
    state[0], state[1] = state[1], state[0]
    (tmp_path / 'plain').mkdir()
    torch.save(checkpoint, tmp_path / 'plain' / 'epoch_2.pth')
    assert resume(tmp_path, tmp_path, '')[0] == 2
    assert 'knows a parameter of shape (3,) where this config trains one of shape (3, 4)' in capsys.readouterr().err


def test_options_of_the_config_are_taken_and_said(tmp_path, trained, capsys):
    """Torch puts the checkpoint's weight decay back in silence."""
    more = "optim_wrapper['optimizer'].update(weight_decay=0.5, betas=(0.8, 0.9))\n"
    assert resume(tmp_path, trained, more)[0] == 0
    out = capsys.readouterr().out
    assert 'betas (0.8, 0.9) in place of (0.9, 0.999)' in out and 'weight_decay 0.5 in place of 0.01' in out
    (group,) = torch.load(tmp_path / 'w' / 'epoch_4.pth', weights_only=True)['optimizer']['param_groups']
    assert group['weight_decay'] == 0.5 and tuple(group['betas']) == (0.8, 0.9)


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
    assert 'training goes on with the latter, as the config has no EMAHook' in capsys.readouterr().out
    went_on = torch.load(tmp_path / 'w' / 'epoch_4.pth', weights_only=True)['state_dict']
    # the averaging run trains as the plain one does
    without = torch.load(trained / 'plain' / 'epoch_2.pth', weights_only=True)['state_dict']
    for name, value in without.items():
        torch.testing.assert_close(went_on[name], value)
