"""Losses that are not finite: named, left out, and at last the end."""

import pytest
import torch

from tests import toys


def run(tmp_path, infinite, *, more='', workers=0):
    text = f"train_dataloader['dataset']['infinite'] = {infinite}\ntrain_dataloader['num_workers'] = {workers}\n{more}"
    return toys.run_tool('train.py', toys.write_config(tmp_path, text), '--work-dir', tmp_path / 'w')


def test_a_bad_batch_is_named_and_left_out(tmp_path, capsys):
    assert run(tmp_path, (7,)) == 0
    checkpoint = torch.load(tmp_path / 'w' / 'epoch_4.pth', weights_only=True)
    assert all(torch.isfinite(value).all() for value in checkpoint['state_dict'].values())
    lines = [line for line in capsys.readouterr().out.splitlines() if 'the step is left out' in line]
    # Once an epoch, with the four clips of its batch.
    assert len(lines) == 4 and all('loss is nan' in line and '7.mp4' in line for line in lines)
    assert lines[0].count('.mp4') == 4
    # 12 steps but 4.
    assert {int(state['step']) for state in checkpoint['optimizer']['state'].values()} == {8}


def test_too_many_end_the_run(tmp_path, capsys):
    more = 'default_hooks = dict(non_finite=dict(limit=5))\n'
    assert run(tmp_path, tuple(range(12)), more=more) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    assert '5 steps running were not finite, the last at epoch 2, iteration 5' in error


@pytest.mark.parametrize('amp', ['OptimWrapper', 'AutocastOptimWrapper'])
def test_gradients_alone(tmp_path, capsys, monkeypatch, amp):
    """The loss is finite, its gradient is not: the square root at 0."""
    module = tmp_path / 'rooted.py'
    module.write_text(
        'import torch\nfrom mmav.registry import MODELS\nfrom tests.toys import ToyModel\n'
        '@MODELS.register_module(force=True)\nclass Rooted(ToyModel):\n'
        '    def forward(self, inputs, data_samples, mode="tensor"):\n'
        '        out = super().forward(inputs, data_samples, mode)\n'
        '        if mode == "loss":\n'
        '            out["loss_root"] = torch.sqrt(self.fc.weight.sum() * 0)\n'
        '        return out\n'
    )
    more = (
        f"custom_imports = dict(imports=['tests.toys', 'rooted'])\nmodel = dict(type='Rooted')\n"
        f"optim_wrapper['type'] = '{amp}'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert run(tmp_path, (), more=more) == 2
    assert 'the gradients are not finite; the step is left out' in capsys.readouterr().out
