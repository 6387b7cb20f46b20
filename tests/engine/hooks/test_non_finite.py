"""Losses that are not finite: named, skipped, and at last the end."""

from types import SimpleNamespace

import pytest
import torch

from mmav.engine.hooks.non_finite import NonFiniteHook, _skips_by_itself
from mmav.errors import MmavError
from tests import toys


def run(tmp_path, infinite, *, more='', workers=0):
    text = f"train_dataloader['dataset']['infinite'] = {infinite}\ntrain_dataloader['num_workers'] = {workers}\n{more}"
    return toys.run_tool('train.py', toys.write_config(tmp_path, text), '--work-dir', tmp_path / 'w')


@pytest.mark.parametrize('fused', [False, True])
def test_a_bad_batch_is_named_and_skipped(tmp_path, capsys, fused):
    """Also where the optimizer skips it by itself."""
    clip = "optim_wrapper['clip_grad'] = dict(max_norm=1.0)"
    assert run(tmp_path, (7,), more=f"optim_wrapper['optimizer']['fused'] = {fused}\n{clip}\n") == 0
    checkpoint = torch.load(tmp_path / 'w' / 'epoch_4.pth', weights_only=True)
    assert all(torch.isfinite(value).all() for value in checkpoint['state_dict'].values())
    lines = [line for line in capsys.readouterr().out.splitlines() if 'the step is skipped' in line]
    # Once an epoch, with the four clips of its batch.
    assert len(lines) == 4 and all('loss is nan' in line and '7.mp4' in line for line in lines)
    assert lines[0].count('.mp4') == 4
    norms = checkpoint['message_hub']['log_scalars']['train/grad_norm']['values']
    assert len(norms) == 8 and norms.isfinite().all()
    # 12 steps but 4.
    assert {int(state['step']) for state in checkpoint['optimizer']['state'].values()} == {8}


def test_too_many_end_the_run(tmp_path, capsys):
    more = 'default_hooks = dict(non_finite=dict(limit=5))\n'
    assert run(tmp_path, tuple(range(12)), more=more) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    assert '5 steps in a row were not finite, the last at epoch 2, iteration 5' in error


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
    assert 'the gradients are not finite; the step is skipped' in capsys.readouterr().out


def test_which_optimizers_skip_a_step_by_themselves():
    weight = torch.nn.Parameter(torch.ones(2))
    for make, expected in (
        (lambda: torch.optim.AdamW([weight], fused=True), True),
        (lambda: torch.optim.Adam([weight], fused=True), True),
        (lambda: torch.optim.AdamW([weight]), False),
        (lambda: torch.optim.SGD([weight], lr=1.0, momentum=0.9, fused=True), False),
    ):
        assert _skips_by_itself(make(), [torch.ones(2)]) is expected


def test_on_a_gpu_the_report_waits_for_the_log(monkeypatch):
    """Three iterations are not looked at; the third is logged."""
    warnings, due = [], [False, False, True]
    monkeypatch.setattr('mmav.engine.hooks.non_finite.should_read', lambda runner, index, values: due[index])
    runner = SimpleNamespace(epoch=0, iter=0, logger=SimpleNamespace(warning=warnings.append))
    hook = NonFiniteHook(limit=2)
    for index, loss in enumerate((1.0, float('nan'), float('inf'))):
        runner.iter = index
        hook._bad_step = torch.tensor(float(index == 1))
        batch = dict(data_samples=[f'{index}.mp4'])
        if index == 2:
            with pytest.raises(MmavError, match='2 steps in a row were not finite, the last at epoch 1, iteration 3'):
                hook.after_train_iter(runner, index, batch, dict(loss=torch.tensor(loss)))
        else:
            hook.after_train_iter(runner, index, batch, dict(loss=torch.tensor(loss)))
            assert not warnings
    assert [line.split(';')[0] for line in warnings] == [
        'epoch 1, iteration 2: loss is nan', 'epoch 1, iteration 3: loss is inf'
    ]  # fmt: skip
    assert '1.mp4' in warnings[0] and '2.mp4' in warnings[1] and hook.skipped == 1
