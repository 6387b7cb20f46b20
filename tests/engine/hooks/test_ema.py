import pytest
import torch
from mmengine.model import BaseModel

from mmav.evaluation.predictions import load_predictions
from tests import toys

EMA = "custom_hooks = [dict(type='EMAHook', momentum=0.25)]\n"


@pytest.fixture
def config(tmp_path):
    return toys.write_config(tmp_path, EMA)


def load(path):
    return torch.load(path, weights_only=True)


def train(config, work_dir, *arguments):
    assert toys.run_tool('train.py', config, '--work-dir', work_dir, *arguments) == 0


def test_the_average_is_that_of_the_formula(tmp_path, config):
    """One step an epoch, so that checkpoints hold the trained weights of every step."""
    options = ['train_dataloader.batch_size=12', 'default_hooks.checkpoint.max_keep_ckpts=9']
    train(config, tmp_path / 'a', '--cfg-options', *options)
    expected = None
    for epoch in range(1, 5):
        checkpoint = load(tmp_path / 'a' / f'epoch_{epoch}.pth')
        trained, average = checkpoint['ema_state_dict']['module.fc.weight'], checkpoint['state_dict']['fc.weight']
        expected = trained if expected is None else 0.75 * expected + 0.25 * trained
        torch.testing.assert_close(average, expected)
        assert checkpoint['ema_state_dict']['steps'] == epoch
    assert not torch.allclose(trained, average)


@pytest.mark.parametrize('name', ['epoch_2.pth', 'iter_5.pth'])
def test_resumed_equals_uninterrupted(tmp_path, config, name):
    train(config, tmp_path / 'a', '--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=9')
    if name.startswith('iter'):
        options = ['default_hooks.resume_point.interval=5', 'train_cfg.max_epochs=2', 'default_hooks.checkpoint=None']
        train(config, tmp_path / 'c', '--cfg-options', *options)
        checkpoint = tmp_path / 'c' / name
    else:
        checkpoint = tmp_path / 'a' / name
    train(config, tmp_path / 'b', '--resume', checkpoint)
    one, two = (load(tmp_path / run / 'epoch_4.pth') for run in 'ab')
    for part in ('state_dict', 'ema_state_dict', 'optimizer'):
        torch.testing.assert_close(one[part], two[part], rtol=0, atol=0)


def scores(config, checkpoint, dump):
    assert toys.run_tool('test.py', config, checkpoint, '--work-dir', dump.parent / 't', '--dump', dump) == 0
    return torch.stack([torch.from_numpy(row['scores']['label']) for row in load_predictions(dump)[0]])


def test_validated_and_tested_with_the_average(tmp_path, config, monkeypatch):
    seen = []

    def val_step(model, data):
        seen.append(model.fc.weight.detach().clone())
        return BaseModel.val_step(model, data)

    monkeypatch.setattr(toys.ToyModel, 'val_step', val_step, raising=False)
    train(config, tmp_path / 'a', '--cfg-options', 'optim_wrapper.optimizer.lr=0.5', 'train_cfg.max_epochs=2')
    path = tmp_path / 'a' / 'epoch_2.pth'
    torch.testing.assert_close(seen[-1], load(path)['state_dict']['fc.weight'], rtol=0, atol=0)
    with_hook = scores(config, path, tmp_path / 'with.pkl')
    plain = tmp_path / 'plain.py'
    plain.write_text(config.read_text().replace(EMA, ''))
    # whoever loads the checkpoint gets the average, with or without the hook
    torch.testing.assert_close(with_hook, scores(plain, path, tmp_path / 'without.pkl'), rtol=0, atol=0)
    checkpoint = load(path)
    trained = {name.removeprefix('module.'): value for name, value in checkpoint['ema_state_dict'].items()}
    trained.pop('steps')
    torch.save(dict(state_dict=trained), tmp_path / 'trained.pth')
    assert not torch.allclose(with_hook, scores(plain, tmp_path / 'trained.pth', tmp_path / 'other.pkl'))


def test_begins_with_weights_that_are_loaded(tmp_path, config):
    """Also with a bare state dict, as public weights are."""
    weights = {name: torch.full_like(value, 0.5) for name, value in toys.ToyModel().state_dict().items()}
    torch.save(weights, tmp_path / 'weights.pth')
    options = [f'load_from={tmp_path / "weights.pth"}', 'optim_wrapper.optimizer.lr=0', 'train_cfg.max_epochs=1']
    train(config, tmp_path / 'a', '--cfg-options', *options)
    torch.testing.assert_close(dict(load(tmp_path / 'a' / 'epoch_1.pth')['state_dict']), weights)
