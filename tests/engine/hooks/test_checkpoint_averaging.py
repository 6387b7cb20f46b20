import re

import pytest
import torch
from torch import nn

from mmav.analysis.logs import read_log, summarise
from mmav.engine.averaging import average_checkpoints
from mmav.engine.hooks.checkpoint_averaging import KEY, CheckpointAveragingHook
from mmav.errors import ConfigError
from mmav.registry import MODELS
from tests import toys
from tests.processes import run_tool_in_pair

HOOK = "custom_hooks = [dict(type='CheckpointAveragingHook', begin=2)]\n"
KEEP = ['default_hooks.checkpoint.max_keep_ckpts=9', 'optim_wrapper.optimizer.lr=0.3']


@MODELS.register_module()
class NormedToy(toys.ToyModel):
    """With a BatchNorm before the linear layer."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Sequential(self.norm, nn.Dropout(0.2))


def load(path):
    return torch.load(path, weights_only=True)


def train(config, work_dir, *arguments, status=0):
    assert toys.run_tool('train.py', config, '--work-dir', work_dir, *arguments) == status


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """A run of 4 epochs of 3 iterations, and its config."""
    folder = tmp_path_factory.mktemp('averaging')
    config = toys.write_config(folder, HOOK)
    train(config, folder / 'a', '--cfg-options', *KEEP)
    return folder, config


def test_the_average_is_that_of_the_files(runs):
    folder = runs[0]
    found = load(folder / 'a' / 'averaged_epoch_2-4.pth')
    files = [folder / 'a' / f'epoch_{epoch}.pth' for epoch in (2, 3, 4)]
    expected = average_checkpoints(files)
    torch.testing.assert_close(dict(found['state_dict']), expected['state_dict'], rtol=0, atol=0)
    assert [each['epoch'] for each in found['meta']['averaged']] == [2, 3, 4]
    assert 'optimizer' not in found and KEY not in found and found['meta']['epoch'] == 4
    assert not torch.equal(found['state_dict']['fc.weight'], load(files[-1])['state_dict']['fc.weight'])
    assert KEY not in load(folder / 'a' / 'epoch_1.pth') and KEY in load(files[0])


def test_the_average_is_what_the_log_validates(runs):
    folder, config = runs
    path = folder / 'a' / 'averaged_epoch_2-4.pth'
    (log,) = (folder / 'a').glob('*/*.log')
    told = re.search(r'Averaged weights, validated: top1 ([\d.]+)', log.read_text())
    out = folder / 'figures.json'
    assert toys.run_tool('test.py', config, path, '--work-dir', folder / 't', '--out', out) == 0
    tested = float(re.search(r'top1": ([\d.]+)', out.read_text())[1])
    assert float(told[1]) == pytest.approx(tested, abs=1e-4)
    assert 'averaged/top1' in next((folder / 'a').glob('*/vis_data/scalars.json')).read_text()
    best = summarise(read_log(folder / 'a'))['best']
    assert best['averaged/top1']['value'] == pytest.approx(tested) and best['averaged/top1']['epoch'] == 4


@pytest.mark.parametrize('name', ['epoch_1.pth', 'epoch_3.pth', 'iter_8.pth', 'epoch_4.pth'])
def test_resumed_equals_uninterrupted(runs, tmp_path, name):
    folder, config = runs
    checkpoint = folder / 'a' / name
    if name.startswith('iter'):
        # stopped in the third epoch
        options = [*KEEP, 'default_hooks.resume_point.interval=8', 'default_hooks.checkpoint=None']
        options = [option for option in options if 'max_keep' not in option]
        train(config, tmp_path / 'c', '--cfg-options', *options, 'custom_hooks.0.end=4')
        checkpoint = tmp_path / 'c' / name
    train(config, tmp_path / 'b', '--resume', checkpoint, '--cfg-options', KEEP[1])
    one, two = (load(run / 'averaged_epoch_2-4.pth')['state_dict'] for run in (folder / 'a', tmp_path / 'b'))
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_training_itself_is_as_without(runs, tmp_path):
    folder = runs[0]
    plain = toys.write_config(tmp_path)
    train(plain, tmp_path / 'b', '--cfg-options', *KEEP)
    one, two = (load(run / 'epoch_4.pth') for run in (folder / 'a', tmp_path / 'b'))
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(one[part], two[part], rtol=0, atol=0)


def test_a_sum_of_other_epochs_is_not_resumed(runs, tmp_path, capsys):
    folder, config = runs
    for number, (name, option, message) in enumerate([
        ('epoch_3.pth', 'custom_hooks.0.begin=1', 'needs the sum of epochs 1, 2, 3, but .* has that of epochs 2, 3'),
        ('epoch_3.pth', 'custom_hooks.0.begin=3', 'needs the sum of epochs 3, but'),
        ('epoch_1.pth', 'custom_hooks.0.begin=1', 'has that of nothing: .* or set begin=2 or later'),
    ]):  # fmt: skip
        checkpoint = folder / 'a' / name
        train(config, tmp_path / f'{number}', '--resume', checkpoint, '--cfg-options', option, status=2)
        assert re.search(message, capsys.readouterr().err)


def test_statistics_of_batch_norm_are_those_of_the_average(tmp_path):
    """The hook and the tool compute the same; iterations are counted as epochs are."""
    config = toys.write_config(
        tmp_path,
        "custom_imports['imports'] += ['tests.engine.hooks.test_checkpoint_averaging']\nmodel['type'] = 'NormedToy'\n"
        "custom_hooks = [dict(type='CheckpointAveragingHook', begin=6, interval=3, by_epoch=False, update_bn=True)]\n",
    )
    train(config, tmp_path / 'a', '--cfg-options', *KEEP)
    files = [tmp_path / 'a' / f'epoch_{epoch}.pth' for epoch in (2, 3, 4)]
    averaged = average_checkpoints(files)['state_dict']
    found = load(tmp_path / 'a' / 'averaged_iteration_6-12.pth')['state_dict']
    torch.testing.assert_close(found['fc.weight'], averaged['fc.weight'], rtol=0, atol=0)
    data = toys.ToyDataset()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(4)).tolist()  # DefaultSampler's, epoch 4, seed 0
    batches = torch.stack([data[index]['inputs'] for index in order]).unflatten(0, (3, 4))
    torch.testing.assert_close(found['norm.running_mean'], batches.mean(dim=(0, 1)))
    torch.testing.assert_close(found['norm.running_var'], batches.var(dim=1).mean(dim=0))
    assert not torch.allclose(found['norm.running_mean'], averaged['norm.running_mean'])


def test_in_training_by_iterations(tmp_path):
    config = toys.write_config(
        tmp_path,
        'train_cfg = dict(by_epoch=False, max_iters=12, val_interval=12)\n'
        "param_scheduler = [dict(type='CosineAnnealingLR', T_max=12, by_epoch=False)]\n"
        'default_hooks = dict(checkpoint=dict(by_epoch=False, interval=3, max_keep_ckpts=9))\n'
        "custom_hooks = [dict(type='CheckpointAveragingHook', begin=6, interval=3, by_epoch=False)]\n",
    )
    train(config, tmp_path / 'a')
    files = [tmp_path / 'a' / f'iter_{number}.pth' for number in (6, 9, 12)]
    expected = average_checkpoints(files)['state_dict']
    train(config, tmp_path / 'b', '--resume', tmp_path / 'a' / 'iter_9.pth')
    for run in 'ab':
        found = load(tmp_path / run / 'averaged_iteration_6-12.pth')['state_dict']
        torch.testing.assert_close(dict(found), expected, rtol=0, atol=0)
    assert toys.run_tool(
        'train.py', config, '--work-dir', tmp_path / 'c', '--cfg-options', 'custom_hooks.0.by_epoch=True'
    ) == 2  # fmt: skip


def test_two_processes_average_the_same(tmp_path):
    config = toys.write_config(tmp_path, HOOK)
    run_tool_in_pair(tmp_path, 'train.py', config, '--work-dir', tmp_path / 'a', '--cfg-options', *KEEP)
    found = load(tmp_path / 'a' / 'averaged_epoch_2-4.pth')['state_dict']
    expected = average_checkpoints([tmp_path / 'a' / f'epoch_{epoch}.pth' for epoch in (2, 3, 4)])['state_dict']
    torch.testing.assert_close(dict(found), expected, rtol=0, atol=0)


def test_what_has_no_effect_is_refused(tmp_path, capsys):
    config = toys.write_config(tmp_path, HOOK)
    cases = {
        'custom_hooks.0.end=9': 'CheckpointAveragingHook.end=9 comes after the last epoch of training, 4',
        'custom_hooks.0.begin=4': 'from epoch 4 to 4 with interval=1 there are no two states to average',
        'custom_hooks.0.interval=3': 'from epoch 2 to 4 with interval=3 there are no two states',
        'custom_hooks.0.update_bn=True': 'update_bn=True has no effect: the model has no BatchNorm that trains',
        'custom_hooks.1.type=EMAHook': 'EMAHook averages the weights already',
        'custom_hooks.1.type=CheckpointAveragingHook': 'CheckpointAveragingHook is given twice',
    }
    config.write_text(config.read_text().replace('begin=2)', "begin=2), dict(type='IterTimerHook')"))
    for number, (option, message) in enumerate(cases.items()):
        train(config, tmp_path / f'{number}', '--cfg-options', option, status=2)
        assert message in capsys.readouterr().err
    # an epoch of 2.5 is never there
    wrong = (dict(begin=0), dict(begin=3, end=3), dict(interval=0), dict(begin='2'), dict(begin=2.5), dict(end=4.5))
    for values in wrong:
        with pytest.raises(ConfigError, match='begin and interval must be whole numbers, 1 or more, and end after'):
            CheckpointAveragingHook(**values)
