import copy

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from mmav.engine.optim import param_groups
from mmav.engine.optim.param_groups import DefaultOptimWrapperConstructor, regroup, undecayed_parameters
from mmav.errors import ConfigError
from mmav.models import AVClassifier
from tests import toys

MMENGINES = 'mmengine.DefaultOptimWrapperConstructor'


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmav')
    torch.manual_seed(0)


def make_model():
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2), nn.LayerNorm(2))


def make_wrapper(model, *, fused=False, **options):
    optimizer = dict(type='AdamW', lr=0.1, weight_decay=0.5, fused=fused)
    paramwise = dict(norm_decay_mult=0.0, custom_keys={'2.weight': dict(lr_mult=0.1, decay_mult=1.0)})
    return build_optim_wrapper(model, dict(optimizer=optimizer, paramwise_cfg=paramwise, **options))


def train(model, wrapper, schedule, steps):
    for step in steps:
        torch.manual_seed(step)
        wrapper.update_params(model(torch.randn(5, 3)).pow(3).sum())
        schedule.step()


def test_equal_options_share_a_group():
    model = make_model()
    groups = make_wrapper(model).optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert [[names[id(p)] for p in group['params']] for group in groups] == [
        ['0.weight', '0.bias', '2.bias'], ['1.weight', '1.bias', '3.weight', '3.bias'], ['2.weight']
    ]  # fmt: skip
    assert [(group['lr'], group['weight_decay']) for group in groups] == [(0.1, 0.5), (0.1, 0.0), (0.1 * 0.1, 0.5)]


@pytest.mark.parametrize('fused', [False, True])
def test_a_checkpoint_with_a_group_for_each_parameter_goes_on(fused):
    """As if it had never been written, also where the one is fused and the other is not."""
    model = make_model()
    old = make_wrapper(model, constructor=MMENGINES)
    assert len(old.optimizer.param_groups) == 8
    schedule = CosineAnnealingLR(old, T_max=6)
    train(model, old, schedule, range(3))
    checkpoint = copy.deepcopy(dict(optimizer=old.state_dict(), param_schedulers=[schedule.state_dict()]))
    other = copy.deepcopy(model)
    train(model, old, schedule, range(3, 6))

    new = make_wrapper(other, fused=fused)
    new_schedule = CosineAnnealingLR(new, T_max=6)
    regroup(checkpoint, new, other)
    new.load_state_dict(checkpoint['optimizer'])
    new_schedule.load_state_dict(checkpoint['param_schedulers'][0])
    assert all(bool(group['fused']) == fused for group in new.optimizer.param_groups)
    train(other, new, new_schedule, range(3, 6))
    torch.testing.assert_close(list(other.parameters()), list(model.parameters()), rtol=1e-6 * fused, atol=1e-6 * fused)
    assert len(new.optimizer.param_groups) == 3 and len(new_schedule.base_values) == 4
    assert new.get_lr()['base_lr'] == old.get_lr()['base_lr']


def test_others_are_left_as_they_are():
    model = make_model()
    wrapper = make_wrapper(model)
    for saved in (wrapper, make_wrapper(nn.Sequential(make_model(), nn.Linear(2, 2)), constructor=MMENGINES)):
        checkpoint = dict(optimizer=saved.state_dict())
        before = copy.deepcopy(checkpoint)
        regroup(checkpoint, wrapper, model)
        assert checkpoint['optimizer']['param_groups'] == before['optimizer']['param_groups']
    with pytest.raises(ValueError, match='different number of parameter groups'):
        wrapper.load_state_dict(checkpoint['optimizer'])


def test_a_run_goes_on_from_an_older_checkpoint(tmp_path):
    """Two groups become one, in the runner; the same weights as if the run had kept its groups."""
    config = toys.write_config(tmp_path, "optim_wrapper['paramwise_cfg'] = dict(bias_lr_mult=1.0)\n")
    older = ['--cfg-options', f'optim_wrapper.constructor={MMENGINES}']
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'a', *older) == 0
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b' / 'epoch_2.pth').write_bytes((tmp_path / 'a' / 'epoch_2.pth').read_bytes())
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'b', '--resume') == 0
    one, two = (torch.load(tmp_path / run / 'epoch_4.pth', weights_only=True) for run in 'ab')
    assert [len(run['optimizer']['param_groups']) for run in (one, two)] == [2, 1]
    torch.testing.assert_close(one['state_dict'], two['state_dict'], rtol=0, atol=0)
    rates = [run['message_hub']['log_scalars']['train/lr']['values'] for run in (one, two)]
    assert torch.equal(*rates)


@pytest.mark.parametrize(('kind', 'decay'), [('SGD', 0), ('Adam', 0), ('AdamW', 0.01)])
def test_factors_of_a_weight_decay_that_is_not_stated_are_of_the_optimizers_own(kind, decay):
    paramwise = dict(norm_decay_mult=0.0, custom_keys={'2.weight': dict(decay_mult=0.5)})
    wrapper = build_optim_wrapper(make_model(), dict(optimizer=dict(type=kind, lr=0.1), paramwise_cfg=paramwise))
    assert {group['weight_decay'] for group in wrapper.optimizer.param_groups} == {0.0, 0.5 * decay, decay}


ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
PLAIN = dict(embed_dims=16, num_layers=1, num_heads=2)
ENCODERS = dict(
    multiscale=dict(
        video=dict(type='MViTv2', arch=ARCH, input_size=(4, 16, 16)),
        audio=dict(type='MAT', arch=ARCH, input_size=(16, 32), q_strides=[(1, 2)]),
    ),
    plain=dict(
        video=dict(type='ViT', input_size=(2, 16, 16), **PLAIN), audio=dict(type='AST', input_size=(16, 32), **PLAIN)
    ),
)
FUSION = dict(embed_dims=16, num_blocks=1, num_heads=2)
NECKS = dict(AVBottleneck=FUSION, MergedAttention=FUSION, Avg={})
# what schedules of version 0.1 named
NAMES = ('cls_token', 'dist_token', 'pos_embed', 'rel_pos', 'neck.tokens')


def make_classifier(encoders='multiscale', neck='AVBottleneck'):
    neck = dict(type=neck, **NECKS[neck])
    return AVClassifier(ENCODERS[encoders], neck, dict(type='ClsHead', num_classes=3))


def groups_of(model, constructor='DefaultOptimWrapperConstructor', **paramwise):
    """Options of each group, and the names of its parameters."""
    paramwise = dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0, **paramwise)
    optimizer = dict(type='AdamW', lr=1e-3, weight_decay=0.05)
    cfg = dict(optimizer=optimizer, constructor=constructor, paramwise_cfg=paramwise)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    return [{**group, 'params': [names[id(p)] for p in group['params']]} for group in groups]


def decay_of(groups):
    return {name: group['weight_decay'] for group in groups for name in group['params']}


@pytest.mark.parametrize('neck', NECKS)
@pytest.mark.parametrize('encoders', ENCODERS)
def test_what_parts_do_not_decay_is_what_schedules_named(encoders, neck):
    model = make_classifier(encoders, neck)
    present = [word for word in NAMES if any(word in name for name, _ in model.named_parameters())]
    named = groups_of(model, custom_keys={name: dict(decay_mult=0.0) for name in present})
    assert groups_of(model, token_decay_mult=0.0) == named
    undecayed = set(undecayed_parameters(model))
    assert undecayed == {name for name, _ in model.named_parameters() if any(word in name for word in NAMES)}
    assert groups_of(model, token_decay_mult=1.0) == groups_of(model) != named
    decayed = groups_of(model, 'LayerDecayConstructor', layer_decay=0.5, token_decay_mult=0.5)
    decays = decay_of(decayed)
    assert undecayed and {decays[name] for name in undecayed} == {0.025}


def test_another_neck_says_which_of_its_parameters_are_tokens():
    model = make_classifier()
    neck = model.neck
    neck.latents, neck.tokens_mlp = nn.Parameter(torch.zeros(1, 2, 16)), nn.Linear(16, 16)
    found = decay_of(groups_of(model, token_decay_mult=0.0))
    assert found['neck.latents'] == found['neck.tokens'] == 0.0 and found['neck.tokens_mlp.weight'] == 0.05
    own = groups_of(model, token_decay_mult=0.0, custom_keys={'latents': dict(decay_mult=2.0)})
    assert decay_of(own)['neck.latents'] == 0.1


def test_a_factor_of_no_weight_decay_is_refused():
    with pytest.raises(ConfigError, match=r'^paramwise_cfg.token_decay_mult=0 has no effect without weight decay'):
        DefaultOptimWrapperConstructor(dict(optimizer=dict(type='Rprop', lr=0.1)), dict(token_decay_mult=0.0))


def test_frozen_parameters_are_left_out():
    """MMEngine would give the optimizer all of them where there is no paramwise_cfg."""
    model = make_classifier()
    model.backbones.requires_grad_(False)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    (group,) = build_optim_wrapper(model, dict(optimizer=dict(type='AdamW', lr=0.1))).optimizer.param_groups
    assert {id(p) for p in group['params']} == {id(model.get_parameter(name)) for name in trained}
    assert sorted(name for group in groups_of(model) for name in group['params']) == sorted(trained)
    model.requires_grad_(False)
    with pytest.raises(ConfigError, match='nothing of the model trains, everything is frozen'):
        groups_of(model)


@pytest.mark.parametrize(
    ('keys', 'why'),
    [
        (('haed',), "'haed' has no effect: no parameter has it in its name, did you mean 'head'"),
        (('backbones',), "'backbones' has no effect: all that it names is frozen"),
        (('head', 'head.'), "'head' has no effect: a longer key names each of its parameters"),
    ],
)
def test_a_custom_key_without_effect_is_refused(keys, why):
    model = make_classifier()
    model.backbones.requires_grad_(False)
    with pytest.raises(ConfigError, match=rf'^paramwise_cfg.custom_keys: {why}'):
        groups_of(model, custom_keys={key: dict(lr_mult=10) for key in keys})


def test_the_rate_of_the_head_is_a_multiple():
    model = make_classifier()
    for kind, options in (('DefaultOptimWrapperConstructor', {}), ('LayerDecayConstructor', dict(layer_decay=0.5))):
        groups = groups_of(model, kind, custom_keys={'head.': dict(lr_mult=10)}, **options)
        rates = {name: group['lr'] for group in groups for name in group['params']}
        of_neck = rates['neck.tokens']
        assert {rate for name, rate in rates.items() if name.startswith('head.')} == {10 * of_neck}


def rates_of(groups):
    return {name: group['lr'] for group in groups for name in group['params']}


def test_parts_have_rates_of_their_own(monkeypatch):
    """CAV-MAE's --head_lr, written out: the optimizer's rate for what is pretrained, a multiple for the rest."""
    told = []
    monkeypatch.setattr(param_groups, 'print_log', lambda text, *_: told.append(text))
    model = make_classifier()
    names = [name for name, _ in model.named_parameters()]
    factors = dict(head=10, neck=4.0)
    found = rates_of(groups_of(model, head_lr_mult=10, neck_lr_mult=4.0))
    assert found == {name: pytest.approx(1e-3 * factors.get(name.split('.')[0], 1)) for name in names}
    of_head = sum(name.startswith('head.') for name in names)
    assert told[0] == f'head_lr_mult=10: {of_head} parameters of head learn at 1.00e-02, 10 times the rate'
    assert 'parameters of neck learn at 4.00e-03' in told[1]
    # other options of the groups, and the rates of layers, are as without
    for kind, options in (('DefaultOptimWrapperConstructor', {}), ('LayerDecayConstructor', dict(layer_decay=0.5))):
        options = dict(options, token_decay_mult=0.0, bias_lr_mult=2.0)
        plain, scaled = groups_of(model, kind, **options), groups_of(model, kind, head_lr_mult=10, **options)
        assert decay_of(plain) == decay_of(scaled)
        before, after = rates_of(plain), rates_of(scaled)
        assert after == {
            name: pytest.approx(rate * (10 if name.startswith('head.') else 1)) for name, rate in before.items()
        }


def test_a_rate_of_a_part_yields_to_custom_keys():
    model = make_classifier()
    bias = next(name for name, _ in model.named_parameters() if name.startswith('head.') and name.endswith('bias'))
    found = rates_of(groups_of(model, head_lr_mult=10, custom_keys={bias: dict(lr_mult=3)}))
    assert {name: rate for name, rate in found.items() if name.startswith('head.')} == {
        name: pytest.approx(3e-3 if name == bias else 1e-2) for name in found if name.startswith('head.')
    }


def test_a_rate_of_a_part_without_effect_is_refused():
    cases = [
        (make_classifier(), dict(head_lr_mult=0), '0: give a factor above 0, such as 10'),
        (make_classifier(), dict(head_lr_mult='10'), "'10': give a factor above 0"),
        (make_classifier(), dict(neck_lr_mult=float('inf')), 'inf: give a factor above 0'),
        (make_classifier(neck='Avg'), dict(neck_lr_mult=2), 'has no effect: the neck of this model has no parameters'),
        (
            make_classifier(),
            dict(head_lr_mult=2, custom_keys={'head.': dict(lr_mult=1)}),
            'a custom key names each of its parameters; leave it out',
        ),
    ]
    frozen = make_classifier()
    frozen.head.requires_grad_(False)
    cases.append((frozen, dict(head_lr_mult=2), 'has no effect: all of it is frozen; leave it out'))
    for model, options, why in cases:
        with pytest.raises(ConfigError, match=f'^paramwise_cfg.(head|neck)_lr_mult=.*{why}'):
            groups_of(model, **options)


def test_layer_decay_without_an_encoder_that_trains_is_refused():
    model = make_classifier()
    model.backbones.requires_grad_(False)
    with pytest.raises(ConfigError, match='layer_decay has no effect, as the backbones are frozen'):
        groups_of(model, 'LayerDecayConstructor', layer_decay=0.5)
