"""MMPareto beside its equations (Wei & Hu 2024): gradients of each loss, joined encoder by encoder.

Beside its public code (GeWu-Lab/MMPareto_ICML2024, code/MMPareto.py, train_epoch) on two ResNet-18 with the same
weights and clips in float64, a step of SGD differed by 2.3e-14 at most, of changes of 0.9; with and without conflicts.
"""

import copy
import os

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from mmav.engine.hooks.mmpareto import MMParetoHook, integrate, pareto_weights
from mmav.engine.hooks.ogm_ge import OGMGEHook
from mmav.errors import ConfigError
from tests.engine.hooks.test_modulation import ALONE, BACKBONES, gradients, make_batch, make_model, make_runner, run
from tests.processes import join_pair, run_pair

LOSSES = ('loss_cls', 'loss_video', 'loss_audio')


def make(conflict, seed=0):
    """A model whose unimodal heads oppose the joint one, or are like it."""
    model = make_model(auxiliary=ALONE, seed=seed)
    for name, columns in (('video', slice(6)), ('audio', slice(6, 12))):
        weight = model.head.fcs['fused'].weight.data[:, columns]
        model.auxiliary['alone'].heads[name].fcs[name].weight.data = (-1 if conflict else 1) * weight.clone()
    return model


def shortest(g, h):
    """The smallest |a g + (1 - a) h| by trying a."""
    shares = torch.linspace(0, 1, 20001).double()
    return float(shares[(shares[:, None] * g + (1 - shares[:, None]) * h).norm(dim=1).argmin()])


@pytest.mark.parametrize('conflict', [False, True])
def test_a_step_is_that_of_the_equations(conflict):
    model, gamma = make(conflict), 1.5
    found, start = gradients(model, make_batch(), *LOSSES), copy.deepcopy(model)
    runner, hook = make_runner(model), MMParetoHook(gamma)
    hook.before_train(runner)
    run(runner, make_batch())
    for name, backbone in model.backbones.items():
        names = [f'backbones.{name}.{own}' for own, _ in backbone.named_parameters()]
        g, h = (torch.cat([found[loss][n].flatten() for n in names]) for loss in ('loss_cls', f'loss_{name}'))
        apart = float(g @ h) < 0
        assert apart == conflict and hook._cosines[name].item() == pytest.approx(float(g @ h / g.norm() / h.norm()))
        weight = shortest(g, h) if apart else 0.5
        for n in names:
            own, joint = found[f'loss_{name}'][n], found['loss_cls'][n]
            joined = 2 * weight * joint + 2 * (1 - weight) * own
            length, wanted = float(joined.norm()), float((joint + own).norm())
            joined = gamma * joined * (wanted / length if length < wanted else 1)
            torch.testing.assert_close(
                model.get_parameter(n), start.get_parameter(n) - 0.1 * joined, rtol=1e-3, atol=1e-4
            )
    for n, parameter in model.named_parameters():
        if not n.startswith('backbones'):
            torch.testing.assert_close(parameter, start.get_parameter(n) - 0.1 * found['sum'][n])


def test_weights_are_those_of_the_shortest_combination():
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        g, h = torch.randn(2, 6, generator=generator).double()
        h = h - (g @ h / (g @ g) + 0.3) * g  # they point apart
        weight, cosine = pareto_weights(g, h)
        assert cosine < 0 and weight.item() == pytest.approx(shortest(g, h), abs=1e-4)
        together = 2 * weight * g + 2 * (1 - weight) * h
        assert together @ g > 0 and together @ h > 0  # neither loss rises
    small = torch.tensor([1.0, 0.0]) * 1e-15  # the product of its squares is 0 in float32
    assert pareto_weights(small, small)[1].item() == pytest.approx(1)
    nothing = torch.zeros(3)
    assert (
        pareto_weights(nothing, nothing)[0] == 0.5 and integrate(nothing, nothing, torch.tensor(0.5), 2.0).eq(0).all()
    )


@pytest.mark.parametrize('conflict', [False, True])
def test_accumulated_gradients_are_joined_once(conflict):
    whole, halves = make(conflict).eval(), make(conflict).eval()
    batch, runner = make_batch(clips=6), make_runner(whole)
    MMParetoHook().before_train(runner)
    run(runner, batch)
    runner = make_runner(halves, accumulative_counts=2)
    MMParetoHook().before_train(runner)
    runner.optim_wrapper.initialize_count_status(halves, 0, 2)
    for part in (slice(3), slice(3, 6)):
        inputs = {m: x[part] for m, x in batch['inputs'].items()}
        run(runner, dict(inputs=inputs, data_samples=batch['data_samples'][part]))
    torch.testing.assert_close(whole.state_dict(), halves.state_dict())


def test_the_log_tells_the_angle_of_the_step_before():
    runner, hook = make_runner(make(True)), MMParetoHook()
    hook.before_train(runner)
    assert not any('pareto' in name for name in run(runner, make_batch()))
    assert run(runner, make_batch())['pareto_cos_video'] < 0
    with torch.no_grad():  # no step follows
        runner.model(**make_batch(), mode='loss')
    assert hook._losses == {}


HOOKS = dict(pareto=MMParetoHook(), ogm=OGMGEHook(alpha=0.7))


def be_one_of_two(rank, folder):
    os.environ['LOCAL_RANK'] = str(rank)
    with join_pair(rank, str(folder / 'pair')):
        batch, part = make_batch(clips=6), slice(3 * rank, 3 * rank + 3)
        inputs = {m: x[part] for m, x in batch['inputs'].items()}
        for name, hook in HOOKS.items():
            model = make(True).eval()
            runner = make_runner(model)
            runner.model = DistributedDataParallel(model)
            hook.before_train(runner)
            run(runner, dict(inputs=inputs, data_samples=batch['data_samples'][part]))
            torch.save(model.state_dict(), folder / f'{name}{rank}.pth')


def test_two_processes_are_one_with_all_clips(tmp_path):
    run_pair(be_one_of_two, tmp_path)
    for name, hook in HOOKS.items():
        runner = make_runner(make(True).eval())
        hook.before_train(runner)
        run(runner, make_batch(clips=6))
        for rank in range(2):
            torch.testing.assert_close(torch.load(tmp_path / f'{name}{rank}.pth'), runner.model.state_dict())


@pytest.mark.parametrize(
    ('model', 'gamma', 'text'),
    [
        ({}, 1.5, r'the model has no unimodal: add model\.auxiliary'),
        (
            dict(auxiliary=dict(a=dict(type='UnimodalHeads', detach=True))),
            1.5,
            'no effect on UnimodalHeads with detach',
        ),
        (dict(auxiliary=dict(a=dict(type='UnimodalHeads', loss_weight=dict(audio=0)))), 1.5, 'no effect on audio: its'),
        (dict(auxiliary=ALONE, backbones=dict(BACKBONES, audio=None)), 1.5, 'no effect on a model of video alone'),
        (dict(auxiliary=ALONE), 0, 'gamma=0: give a number above 0'),
    ],
)
def test_what_makes_no_sense(model, gamma, text):
    with pytest.raises(ConfigError, match=text):
        MMParetoHook(gamma).before_train(make_runner(make_model(**model)))


def test_compiled_losses_keep_no_graph():
    runner = make_runner(make(True))
    runner.cfg = dict(compile=True)
    with pytest.raises(ConfigError, match='needs a second backward pass, which compile does not keep'):
        MMParetoHook().before_train(runner)
