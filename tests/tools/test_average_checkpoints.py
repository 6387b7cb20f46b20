import pytest
import torch

from mmav.checkpoints import load_checkpoint_file
from mmav.engine.averaging import average_checkpoints
from tests import toys

TOOL = 'model_converters/average_checkpoints.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two epochs of a model without BatchNorm, and of one with."""
    folder = tmp_path_factory.mktemp('average')
    config = toys.write_config(
        folder, "custom_imports['imports'] += ['tests.engine.hooks.test_checkpoint_averaging']\n"
    )
    for name, model in (('plain', 'ToyModel'), ('normed', 'NormedToy')):
        options = ['train_cfg.max_epochs=2', f'model.type={model}', 'optim_wrapper.optimizer.lr=0.3']
        assert toys.run_tool('train.py', config, '--work-dir', folder / name, '--cfg-options', *options) == 0
    return folder


def run(*arguments, out):
    return toys.run_tool(TOOL, *arguments, '--out', out)


def test_epochs_of_a_work_dir(folder, tmp_path, capsys):
    out = tmp_path / 'avg.pth'
    assert run(folder / 'plain', '--epochs', '1-2', out=out) == 0
    assert 'averaged: epoch_1.pth, epoch_2.pth' in capsys.readouterr().out
    expected = average_checkpoints([folder / 'plain' / f'epoch_{k}.pth' for k in (1, 2)])
    torch.testing.assert_close(load_checkpoint_file(out)['state_dict'], expected['state_dict'], rtol=0, atol=0)
    assert toys.run_tool('test.py', folder / 'toy.py', out, '--work-dir', tmp_path / 't') == 0
    # the command can be repeated, and other files are safe
    assert run(folder / 'plain', '--epochs', '1-2', out=out) == 0
    (tmp_path / 'mine.pth').write_bytes(b'mine')
    assert run(folder / 'plain', '--epochs', '1-2', out=tmp_path / 'mine.pth') == 2
    assert run(folder / 'plain', '--epochs', '1-2', out=folder / 'plain' / 'epoch_2.pth') == 2


def test_statistics_of_batch_norm(folder, tmp_path, capsys):
    files = [folder / 'normed' / f'epoch_{k}.pth' for k in (1, 2)]
    assert run(*files, out=tmp_path / 'kept.pth') == 0
    assert 'note: running statistics of BatchNorm are averaged like weights' in capsys.readouterr().out
    update = ['--update-bn', folder / 'toy.py', '--cfg-options', 'model.type=NormedToy']
    assert run(*files, *update, out=tmp_path / 'new.pth') == 0
    assert 'statistics of 1 BatchNorms: computed on 3 batches' in capsys.readouterr().out
    kept, new = (load_checkpoint_file(tmp_path / f'{name}.pth')['state_dict'] for name in ('kept', 'new'))
    changed = {name for name in kept if not torch.equal(kept[name], new[name])}
    statistics = ('running_mean', 'running_var', 'num_batches_tracked')
    assert changed == {f'{layer}.{name}' for layer in ('norm', 'drop.0') for name in statistics}
    points = torch.stack([toys.ToyDataset()[index]['inputs'] for index in range(12)])
    torch.testing.assert_close(new['norm.running_mean'], points.mean(dim=0))
    # of one checkpoint, too
    assert run(files[0], *update, out=tmp_path / 'one.pth') == 0
    one = load_checkpoint_file(tmp_path / 'one.pth')
    torch.testing.assert_close(one['state_dict']['norm.running_mean'], new['norm.running_mean'])
    assert torch.equal(one['state_dict']['fc.weight'], load_checkpoint_file(files[0])['state_dict']['fc.weight'])
    assert 'optimizer' not in one


def test_mistakes_are_one_line(folder, tmp_path, capsys):
    plain, config = folder / 'plain', folder / 'toy.py'
    cases = [
        ([plain], 'is a folder: say which checkpoints'),
        ([plain, '--epochs', '1-3'], 'has no checkpoint of epoch 3 (it has 1-2)'),
        ([plain, plain, '--epochs', '1-2'], '--epochs is for one work dir'),
        ([plain / 'epoch_1.pth'], 'one checkpoint is its own average'),
        ([plain, '--epochs', '1-2', '--data-root', 'x'], '--data-root has no effect without --update-bn'),
        ([plain, '--epochs', '1-2', '--update-bn', config], 'ToyModel has no BatchNorm whose statistics train'),
        ([plain / 'epoch_1.pth', folder / 'normed' / 'epoch_2.pth'], 'cannot be averaged with'),
    ]
    for arguments, message in cases:
        assert run(*arguments, out=tmp_path / 'o.pth') == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / 'o.pth').exists()
