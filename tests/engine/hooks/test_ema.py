import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from torch.optim.swa_utils import SWALR, AveragedModel

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


SWA = "custom_hooks = [dict(type='EMAHook', ema_type='StochasticWeightAverage', begin_epoch=2, interval=1)]\n"


@pytest.fixture(scope='module')
def swa(tmp_path_factory):
    """Stochastic weight averaging from the second of 4 epochs on, one step an epoch."""
    folder = tmp_path_factory.mktemp('swa')
    config = toys.write_config(folder, SWA)
    options = ['train_dataloader.batch_size=12', 'default_hooks.checkpoint.max_keep_ckpts=9']
    train(config, folder / 'a', '--cfg-options', *options)
    return folder, config, options


def test_stochastic_weight_averaging_is_that_of_torch(swa):
    folder = swa[0]
    reference, steps = None, []
    for epoch in range(1, 5):
        checkpoint = load(folder / 'a' / f'epoch_{epoch}.pth')
        model = toys.ToyModel()
        trained = {name.removeprefix('module.'): value for name, value in checkpoint['ema_state_dict'].items()}
        steps.append(int(trained.pop('steps')))
        model.load_state_dict(trained)
        if epoch >= 2:
            reference = reference or AveragedModel(model)
            reference.update_parameters(model)
        expected = model if epoch < 2 else reference.module
        torch.testing.assert_close(dict(checkpoint['state_dict']), dict(expected.state_dict()))
    # averaging begins with epoch 2: before, the average follows the weights
    assert steps == [0, 1, 2, 3]


@pytest.mark.parametrize('epoch', [1, 2, 3])
def test_stochastic_weight_averaging_resumes(swa, tmp_path, epoch):
    folder, config, options = swa
    train(config, tmp_path / 'b', '--resume', folder / 'a' / f'epoch_{epoch}.pth', '--cfg-options', *options)
    one, two = (load(run / 'epoch_4.pth') for run in (folder / 'a', tmp_path / 'b'))
    for part in ('state_dict', 'ema_state_dict', 'optimizer'):
        torch.testing.assert_close(one[part], two[part], rtol=0, atol=0)


@pytest.mark.parametrize('kind', ['linear', 'cos'])
def test_the_rate_of_stochastic_weight_averaging_is_that_of_swalr(kind):
    """MMEngine's schedules, as docs/recipes.md composes them, give SWALR's rates: annealed, then constant."""
    rate, final, begin, length, epochs = 0.1, 0.02, 3, 4, 12
    kinds = dict(
        linear=dict(type='LinearLR', start_factor=1.0, end_factor=final / rate),
        cos=dict(type='CosineAnnealingLR', T_max=length, eta_min=final),
    )
    # MMEngine's steps end before ``end``
    parts = [dict(**kinds[kind], begin=begin, end=begin + length + 1)]
    found, expected = [], []
    for rates, swalr in ((found, False), (expected, True)):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
        if swalr:
            schedules = [SWALR(optimizer, swa_lr=final, anneal_epochs=length, anneal_strategy=kind)]
        else:
            init_default_scope('mmav')
            schedules = [PARAM_SCHEDULERS.build(dict(part, optimizer=optimizer)) for part in parts]
        for epoch in range(epochs):
            rates.append(optimizer.param_groups[0]['lr'])
            optimizer.step()
            for schedule in schedules:
                if not swalr or epoch >= begin:
                    schedule.step()
    assert found == pytest.approx(expected) and found[-1] == pytest.approx(final) and found[0] == rate


def test_averages_without_effect_are_refused(tmp_path, capsys):
    config = toys.write_config(tmp_path, SWA)
    cases = {
        'custom_hooks.0.momentum=0.1': 'EMAHook.momentum: StochasticWeightAverage takes no such argument, but interval',
        'custom_hooks.0.intervall=1': "did you mean 'interval'",
        'custom_hooks.0.ema_type=StochasticWeightAveraging': "did you mean 'StochasticWeightAverage'",
        'custom_hooks.0.begin_iter=3': 'give begin_iter or begin_epoch, not both',
        'custom_hooks.0.begin_epoch=9': 'EMAHook.begin_epoch=9 comes after the last one of training, 4',
    }
    for number, (option, message) in enumerate(cases.items()):
        arguments = ['--work-dir', tmp_path / f'{number}', '--cfg-options', option]
        assert toys.run_tool('train.py', config, *arguments) == 2
        assert message in capsys.readouterr().err


def test_statistics_of_batch_norm_are_told(tmp_path, capsys):
    config = toys.write_config(
        tmp_path,
        SWA + "custom_imports['imports'] += ['tests.engine.hooks.test_checkpoint_averaging']\n"
        "model['type'] = 'NormedToy'\n",
    )
    for value, told in (('False', 1), ('True', 0)):
        train(config, tmp_path / value, '--cfg-options', f'custom_hooks.0.update_buffers={value}')
        assert capsys.readouterr().out.count('EMAHook leaves 1 BatchNorms the running statistics') == told
