import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from mmav.engine.hooks.mmpareto import MMParetoHook
from mmav.engine.hooks.modulation import before_step, encoders_of, unimodal_heads
from mmav.engine.hooks.ogm_ge import OGMGEHook
from mmav.engine.hooks.progressive_unfreeze import ProgressiveUnfreezeHook
from mmav.errors import ConfigError
from mmav.registry import MODELS
from mmav.structures import AVDataSample

ALONE = dict(alone=dict(type='UnimodalHeads'))
CONV = dict(type='ConvEncoder', widths=(4, 6))
BACKBONES = dict(
    video=dict(**CONV, input_size=(2, 8, 8)), audio=dict(**CONV, in_channels=1, input_size=(8, 16))
)  # fmt: skip


def make_model(neck='Concat', auxiliary=None, head=None, backbones=BACKBONES, seed=0):
    """A small model of two encoders in float64, for the tests of hooks that look at gradients."""
    init_default_scope('mmav')
    torch.manual_seed(seed)
    model = MODELS.build(
        dict(
            type='AVClassifier',
            backbones=backbones,
            neck=neck if isinstance(neck, dict) else dict(type=neck),
            head=head or dict(type='ClsHead', num_classes=3),
            auxiliary=auxiliary,
        )
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.1, std=0.3)
    return model.double().train()


def make_batch(seed=0, masks=None, clips=4):
    generator = torch.Generator().manual_seed(seed)
    inputs = dict(
        video=torch.randn(clips, 1, 3, 2, 8, 8, generator=generator).double(),
        audio=torch.randn(clips, 1, 1, 8, 16, generator=generator).double(),
    )
    return dict(inputs=inputs, data_samples=[AVDataSample().set_gt_label(i % 3) for i in range(clips)], masks=masks)


def make_runner(model, **wrapper):
    optim = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1), **wrapper)
    runner = SimpleNamespace(model=model, plain_model=model, optim_wrapper=build_optim_wrapper(model, optim), cfg={})
    runner.train_loop = SimpleNamespace(max_epochs=5, by_iterations=False)
    runner.seed, runner.epoch, runner.iter = 3, 0, 0
    return runner


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


def run(runner, *batches):
    """Iterations as MMEngine's train_step makes them; returns what the last one logs."""
    for batch in batches:
        losses = runner.model(**batch, mode='loss')
        runner.optim_wrapper.update_params(total(losses))
        runner.iter += 1
    return losses


def gradients(model, batch, *names):
    """Name of a loss, or 'sum' -> parameter -> its gradient, without any hook."""
    losses = model(**batch, mode='loss')
    parameters = dict(model.named_parameters())
    found = {}
    for name in (*names, 'sum'):
        loss = total(losses) if name == 'sum' else losses[name]
        each = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
        found[name] = dict(zip(parameters, each, strict=True))
    return found


def test_encoders_and_heads():
    model = make_model(auxiliary=ALONE)
    encoders = encoders_of(make_runner(model), 'A hook')
    assert list(encoders) == ['video', 'audio'] and len(encoders['video']) == len([*model.backbones.video.parameters()])
    assert unimodal_heads(model) is model.auxiliary['alone'] and unimodal_heads(make_model()) is None


@pytest.mark.parametrize(
    ('backbones', 'text'),
    [
        (dict(BACKBONES, audio=None), 'A hook has no effect on a model of video alone'),
        (
            dict(BACKBONES, audio=dict(BACKBONES['audio'], freeze='all')),
            'A hook has no effect on audio, of which nothing trains',
        ),
    ],
)
def test_models_without_an_effect(backbones, text):
    with pytest.raises(ConfigError, match=text):
        encoders_of(make_runner(make_model(backbones=backbones)), 'A hook')


def test_two_hooks_of_a_kind():
    runner = make_runner(make_model())
    runner.hooks = [OGMGEHook(), OGMGEHook(alpha=0.1)]
    with pytest.raises(ConfigError, match='custom_hooks has OGMGEHook twice, which would act twice: leave one'):
        runner.hooks[0].before_train(runner)


@pytest.mark.parametrize('first', [False, True])
def test_what_is_thawed_later_is_modulated_then(first):
    """Whether the encoders are frozen before the hooks look at them or after."""
    freezing = ProgressiveUnfreezeHook(stages=[(1, 'all'), (2, None)])
    runner = make_runner(make_model(auxiliary=ALONE))
    runner.hooks, runner.wrap_again = [MMParetoHook(), OGMGEHook(alpha=0.7, noise=False)], lambda: None
    runner.logger = SimpleNamespace(info=lambda text: None)
    runner.hooks.insert(0 if first else 2, freezing)
    for hook in runner.hooks:
        hook.before_train(runner)
    start = copy.deepcopy(runner.model.state_dict())
    run(runner, make_batch())
    encoders = {name for name, _ in runner.model.named_parameters() if name.startswith('backbones')}
    assert all(torch.equal(runner.model.get_parameter(name), start[name]) for name in encoders)
    runner.epoch = 1
    freezing.before_train_epoch(runner)
    always = make_runner(copy.deepcopy(runner.model))
    always.iter, always.epoch = runner.iter, runner.epoch
    always.model.observers.clear()
    for hook in (MMParetoHook(), OGMGEHook(alpha=0.7, noise=False)):
        hook.before_train(always)
    for each in (runner, always):
        run(each, make_batch())
    torch.testing.assert_close(runner.model.state_dict(), always.model.state_dict(), rtol=0, atol=0)
    assert all(not torch.equal(runner.model.get_parameter(name), start[name]) for name in encoders)


def test_other_models_and_wrappers():
    other = make_runner(make_model())
    other.plain_model = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match='A hook needs an AVClassifier, not Linear'):
        encoders_of(other, 'A hook')
    other = make_runner(make_model())
    other.optim_wrapper = dict(a=1)
    with pytest.raises(ConfigError, match='A hook works with one optimizer, not with dict'):
        encoders_of(other, 'A hook')


def test_acts_once_a_step_before_the_clipping():
    runner, seen = make_runner(make_model(), accumulative_counts=2, clip_grad=dict(max_norm=1e-3)), []
    first = next(runner.model.backbones.video.parameters())
    before_step(runner.optim_wrapper, lambda: seen.append(float(first.grad.norm())))
    runner.optim_wrapper.initialize_count_status(runner.model, 0, 4)
    run(runner, *(make_batch(i) for i in range(4)))
    assert len(seen) == 2 and min(seen) > 1e-3 and runner.optim_wrapper.step._with_counter
