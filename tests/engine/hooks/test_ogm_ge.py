"""OGM-GE beside its equations (Peng et al. 2022), as loops over clips and classes.

Beside its public code (GeWu-Lab/OGM-GE_CVPR2022, main.py, train_epoch) on two ResNet-18 with the same weights and
clips, a step of SGD was equal in every bit, with noise from the same generator, too.
"""

import copy
import math

import pytest
import torch

from mmav.engine.hooks.ogm_ge import OGMGEHook, coefficients, logits_alone, modulate, sum_of_scores
from mmav.errors import ConfigError
from mmav.models import TrainingBatch
from tests.engine.hooks.test_modulation import ALONE, BACKBONES, gradients, make_batch, make_model, make_runner, run

BOTTLENECK = dict(type='AVBottleneck', embed_dims=8, num_blocks=1, num_heads=2)


def scores_by_hand(model, batch, there=None):
    """Eq. 8: of Concat, s_u = softmax(W_u f_u + b / 2)[y], clip by clip."""
    weight, bias = model.head.fcs['fused'].weight.tolist(), model.head.fcs['fused'].bias.tolist()
    sums, begin = {}, 0
    for name, backbone in model.backbones.items():
        features = backbone(batch['inputs'][name].flatten(0, 1)).cls.tolist()
        sums[name] = 0.0
        for i, feature in enumerate(features):
            logits = [
                sum(w * x for w, x in zip(row[begin : begin + len(feature)], feature, strict=True)) + b / 2
                for row, b in zip(weight, bias, strict=True)
            ]
            norm = sum(math.exp(value) for value in logits)
            label = int(batch['data_samples'][i].gt_label)
            sums[name] += math.exp(logits[label]) / norm * (there is None or there[i])
        begin += len(features[0])
    return sums


def factors_by_hand(sums, alpha):
    """Eq. 9 and 10."""
    factors = {}
    for name, other in (('video', 'audio'), ('audio', 'video')):
        rho = sums[name] / sums[other]
        factors[name] = 1 - math.tanh(alpha * rho) if rho > 1 else 1.0
    return factors


@pytest.mark.parametrize('absent', [False, True])
def test_gradients_are_those_of_the_equations(absent):
    model = make_model()
    masks = dict(video=torch.ones(4).bool(), audio=torch.tensor([True, True, False, True])) if absent else None
    batch = make_batch(masks=masks)
    plain, before = gradients(model, batch)['sum'], copy.deepcopy(model)
    sums = scores_by_hand(model, batch, masks['audio'].tolist() if absent else None)
    factors = factors_by_hand(sums, 0.7)
    runner = make_runner(model)
    OGMGEHook(alpha=0.7, noise=False).before_train(runner)
    log = run(runner, batch)
    assert sorted(factors.values())[0] < 0.9 and 1.0 in factors.values()
    assert log['ogm_ratio_video'].item() == pytest.approx(sums['video'] / sums['audio'])
    for name, parameter in model.named_parameters():
        part = name.split('.')[1]
        factor = factors[part] if name.startswith('backbones') and parameter.dim() > 1 else 1.0
        torch.testing.assert_close(parameter, before.get_parameter(name) - 0.1 * factor * plain[name])


def test_noise_has_the_spread_of_the_gradient_and_comes_from_the_step():
    gradient = torch.randn(200, 300, generator=torch.Generator().manual_seed(0)) * 0.02 + 0.5
    changed = [gradient.clone() for _ in range(3)]
    for value, seed in zip(changed, (1, 1, 2), strict=True):
        modulate(value, torch.tensor(0.25), torch.Generator().manual_seed(seed))
    noise = changed[0] - 0.25 * gradient
    assert noise.std().item() == pytest.approx(gradient.std().item(), rel=0.02)
    assert abs(noise.mean().item()) < 4 * gradient.std().item() / len(gradient.flatten()) ** 0.5
    assert torch.equal(changed[0], changed[1]) and not torch.equal(changed[0], changed[2])


def test_a_step_is_the_same_again_and_norms_have_no_noise():
    weights = []
    for _ in range(2):
        model = make_model()
        start, runner = copy.deepcopy(model), make_runner(model)
        plain = gradients(model, make_batch())['sum']
        OGMGEHook(alpha=0.7).before_train(runner)
        torch.rand(3)
        state = torch.get_rng_state()
        run(runner, make_batch())
        assert torch.equal(torch.get_rng_state(), state)
        weights.append(model.state_dict())
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    for name in (n for n, p in model.named_parameters() if p.dim() == 1):
        torch.testing.assert_close(model.get_parameter(name), start.get_parameter(name) - 0.1 * plain[name])


def test_a_parameter_of_one_value_has_no_spread():
    model = make_model()
    model.backbones.video.scale = torch.nn.Parameter(torch.ones(1, 1).double())
    model.backbones.video.register_forward_hook(
        lambda module, args, tokens: tokens._replace(cls=tokens.cls * module.scale)
    )
    runner = make_runner(model)
    OGMGEHook(alpha=0.7).before_train(runner)
    run(runner, make_batch())
    assert model.backbones.video.scale.isfinite().all()


def test_accumulated_gradients_count_all_clips_of_a_step():
    whole, halves = make_model(), make_model()
    batch, runner = make_batch(clips=6), make_runner(whole)
    # running statistics of a batch are no sums over its halves
    whole.eval(), halves.eval()
    OGMGEHook(alpha=0.7).before_train(runner)
    run(runner, batch)
    runner = make_runner(halves, accumulative_counts=2)
    OGMGEHook(alpha=0.7).before_train(runner)
    runner.optim_wrapper.initialize_count_status(halves, 0, 2)
    for part in (slice(3), slice(3, 6)):
        runner.iter = 0  # noise is drawn by the number of the step
        losses = halves({m: x[part] for m, x in batch['inputs'].items()}, batch['data_samples'][part], mode='loss')
        runner.optim_wrapper.update_params(losses['loss_cls'])
    torch.testing.assert_close(whole.state_dict(), halves.state_dict())


def test_epochs_outside_are_left_alone():
    model = make_model()
    start, runner, hook = copy.deepcopy(model), make_runner(model), OGMGEHook(alpha=0.7, begin=2, end=3)
    hook.before_train(runner)
    batch, changed = make_batch(), []
    for epoch in range(4):
        model.load_state_dict(start.state_dict())
        plain, runner.epoch = gradients(model, batch)['sum'], epoch
        run(runner, batch)
        same = [torch.allclose(p, start.get_parameter(n) - 0.1 * plain[n]) for n, p in model.named_parameters()]
        changed.append(not all(same))
    assert changed == [False, True, True, False]


def test_what_a_modality_alone_gives():
    tokens = make_batch()
    for neck, auxiliary in (('Avg', None), (BOTTLENECK, ALONE)):
        model, seen = make_model(neck, auxiliary), []
        model.observers.append(lambda batch, found, seen=seen: seen.append(batch) or {})
        model(**tokens, mode='loss')
        for name, logits in logits_alone(model)(seen[0])['label'].items():
            head = model.head if auxiliary is None else model.auxiliary['alone'].heads[name]
            torch.testing.assert_close(logits.double(), head.fcs[name](seen[0].tokens[name].cls), rtol=1e-5, atol=1e-5)
    concat = make_model()
    concat.observers.append(lambda batch, found: seen.append(batch) or {})
    concat(**tokens, mode='loss')
    each = logits_alone(concat)(seen[-1])['label']
    torch.testing.assert_close((each['video'] + each['audio']).float(), seen[-1].logits['label']['fused'])


def test_soft_labels_and_parts():
    logits = dict(verb=dict(video=torch.zeros(2, 4)), noun=dict(video=torch.tensor([[0.0, math.log(3)]] * 2)))
    targets = dict(verb=torch.tensor([[0.5, 0.5, 0, 0], [1.0, 0, 0, 0]]), noun=torch.tensor([1, 0]))
    batch = TrainingBatch({}, {}, {}, targets, None, 1, None)
    assert sum_of_scores(logits, batch)['video'].item() == pytest.approx((0.5 + 1.0) / 2)
    ratios, factors = coefficients(dict(video=torch.tensor(0.0), audio=torch.tensor(0.0)), 0.5)
    assert all(value == 0 for value in ratios.values()) and all(value == 1 for value in factors.values())


@pytest.mark.parametrize(
    ('model', 'options', 'text'),
    [
        (dict(neck=BOTTLENECK), {}, r'modalities meet in AVBottleneck .* add model\.auxiliary=dict\(alone='),
        (dict(head=dict(type='MultiLabelHead', num_classes=3)), {}, 'clips here have any number'),
        (dict(backbones=dict(BACKBONES, audio=None)), {}, 'no effect on a model of video alone'),
        ({}, dict(begin=6), 'begin=6 comes after the last epoch of training, 5'),
        ({}, dict(begin=3, end=2), 'begin=3, end=2: give epochs, from 1'),
        ({}, dict(begin=0), 'begin=0, end=None: give epochs, from 1'),
        ({}, dict(alpha=0), 'alpha=0: give a number above 0'),
    ],
)
def test_what_makes_no_sense(model, options, text):
    with pytest.raises(ConfigError, match=text):
        OGMGEHook(**options).before_train(make_runner(make_model(**model)))


def test_iterations_have_no_epochs():
    runner = make_runner(make_model())
    runner.train_loop.by_iterations = True
    OGMGEHook().before_train(runner)
    with pytest.raises(ConfigError, match='begin and end count epochs, but training counts iterations'):
        OGMGEHook(begin=2).before_train(runner)
