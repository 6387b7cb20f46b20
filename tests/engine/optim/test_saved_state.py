"""What belongs to an optimizer's saved state, and which options it continues with."""

import pytest
import torch

from tests import toys


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The work dir of a toy that was trained for two epochs of 3 iterations."""
    folder = tmp_path_factory.mktemp('trained')
    plain = toys.write_config(folder, "train_cfg['max_epochs'] = 2\n")
    assert toys.run_tool('train.py', plain, '--work-dir', folder / 'plain') == 0
    return folder


def resume(tmp_path, trained, more):
    path = toys.write_config(tmp_path, more)
    checkpoint = trained / 'plain' / 'epoch_2.pth'
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
    assert 'betas (0.8, 0.9) instead of (0.9, 0.999)' in out and 'weight_decay 0.5 instead of 0.01' in out
    (group,) = torch.load(tmp_path / 'w' / 'epoch_4.pth', weights_only=True)['optimizer']['param_groups']
    assert group['weight_decay'] == 0.5 and tuple(group['betas']) == (0.8, 0.9)
