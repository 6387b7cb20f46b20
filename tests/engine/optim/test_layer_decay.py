import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from mmav.engine.optim import layer_decay
from mmav.engine.optim.layer_decay import LayerDecayConstructor
from mmav.errors import ConfigError
from mmav.models import AVClassifier
from mmav.models.backbones.base import layers_of
from tests import resnet
from tests.toys import ROOT

ARCH = dict(embed_dims=8, num_layers=3, num_heads=1, stage_blocks=(1, 2))
BACKBONES = {
    'MViTv2': dict(type='MViTv2', arch=ARCH, input_size=(4, 32, 32)),
    'MAT': dict(type='MAT', arch=ARCH, input_size=(32, 64), q_strides=[(2, 2), (1, 2)]),
    'AST': dict(type='AST', input_size=(32, 64), embed_dims=8, num_layers=3, num_heads=2),
    'ViT': dict(type='ViT', input_size=(4, 32, 32), embed_dims=8, num_layers=3, num_heads=2),
}
LR, WEIGHT_DECAY, DECAY = 0.01, 0.05, 0.5


def make_model(*kinds):
    init_default_scope('mmav')
    return AVClassifier(
        {f'm{i}': dict(BACKBONES[kind]) for i, kind in enumerate(kinds)},
        dict(type='AVBottleneck', embed_dims=8, num_blocks=2, num_heads=2, order=[f'm{i}' for i in range(len(kinds))]),
        dict(type='ClsHead', num_classes=3),
        contrast=dict(type='ContrastiveHead', embed_dims=4),
    )


def recipe(undecayed_tokens=False, **optim_wrapper):
    """The optimizer of the schedule that the paper's configs share."""
    schedule = Config.fromfile(ROOT / 'configs' / '_base_' / 'schedules' / 'mvitv2_50e.py')
    cfg = schedule.optim_wrapper
    cfg.optimizer.update(lr=LR, weight_decay=WEIGHT_DECAY)
    if undecayed_tokens:
        cfg.paramwise_cfg.token_decay_mult = 0.0
    cfg.update(optim_wrapper)
    return cfg


def build(model, decay=DECAY, **options):
    cfg = recipe(constructor='LayerDecayConstructor', **options)
    cfg.paramwise_cfg.layer_decay = decay
    return build_optim_wrapper(model, cfg)


def options(model, wrapper):
    """Name of a parameter -> its learning rate and weight decay."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(parameter)]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    assert found.keys() == set(names.values())
    return found


@pytest.mark.parametrize('kind', BACKBONES)
def test_rates_follow_the_formula(kind):
    model = make_model(kind)
    rates = {name: lr for name, (lr, _) in options(model, build(model)).items()}
    for name, rate in rates.items():
        parts = name.split('.')
        if parts[0] != 'backbones' or parts[2] == 'norm':
            power = 0
        elif parts[2] == 'blocks':
            power = 3 - int(parts[3])  # of 3 blocks the last one is a step below the norm
        else:
            assert parts[2] in ('patch_embed', 'cls_token', 'dist_token', 'pos_embed')
            power = 4
        assert rate == pytest.approx(LR * DECAY**power), name
    assert len(set(rates.values())) == 5


def test_each_backbone_counts_its_own_blocks():
    deep = dict(BACKBONES['AST'], num_layers=6)
    model = make_model('MAT', 'AST')
    model.backbones['m1'] = type(model.backbones['m1'])(**{k: v for k, v in deep.items() if k != 'type'})
    rates = options(model, build(model))
    assert (
        rates['backbones.m0.blocks.2.norm1.weight'][0] == rates['backbones.m1.blocks.5.norm1.weight'][0] == LR * DECAY
    )
    assert rates['backbones.m0.patch_embed.proj.weight'][0] == pytest.approx(LR * DECAY**4)
    assert rates['backbones.m1.patch_embed.proj.weight'][0] == pytest.approx(LR * DECAY**7)


@pytest.mark.parametrize('undecayed_tokens', [False, True])
def test_weight_decay_is_as_without(undecayed_tokens):
    """And the recipe decays all but vectors, as the public one does, or all but vectors, tokens and positions."""
    model = make_model('MViTv2', 'AST')
    decays = {
        name: decay for name, (_, decay) in options(model, build(model, undecayed_tokens=undecayed_tokens)).items()
    }
    plain = build_optim_wrapper(model, recipe(undecayed_tokens))
    assert decays == {name: decay for name, (_, decay) in options(model, plain).items()}
    undecayed = {name for name, decay in decays.items() if decay == 0}
    assert set(decays.values()) == {0.0, WEIGHT_DECAY}
    special = ('_token', 'pos_embed', 'rel_pos', 'neck.tokens') if undecayed_tokens else ()
    for name, parameter in model.named_parameters():
        # facebookresearch/SlowFast, slowfast/models/optimizer.py, with SOLVER.ZERO_WD_1D_PARAM
        vector = parameter.dim() == 1 or name.endswith('.bias')
        assert (name in undecayed) == (vector or any(word in name for word in special)), name


def test_a_network_from_outside_counts_its_own_blocks():
    """torchvision's ResNet: the stem is layer 0, and each of its four layers a block."""
    init_default_scope('mmav')
    backbones = dict(video=resnet.VIDEO)
    model = AVClassifier(backbones, dict(type='Avg'), dict(type='ClsHead', num_classes=3))
    for name, (lr, _) in options(model, build(model)).items():
        block = name.removeprefix('backbones.video.blocks.')[0]
        power = 4 - int(block) if block.isdigit() else 5 if '.stem.' in name else 0
        assert lr == pytest.approx(LR * DECAY**power), name
    model.backbones['video'].blocks = nn.ModuleList()
    with pytest.raises(ConfigError, match="a list 'blocks'; video, a ResNet, has none"):
        build(model)


@pytest.mark.parametrize('kind', BACKBONES)
def test_layers_are_those_of_the_names(kind):
    """The order of the parameters says what BEiT and MAE tell by names."""
    (backbone,) = make_model(kind).backbones.values()
    for name, layer in layers_of(backbone, backbone.blocks).items():
        first, _, rest = name.partition('.')
        assert layer == (int(rest[0]) + 1 if first == 'blocks' else 4 if first == 'norm' else 0), name


def test_few_groups_and_no_decay_means_the_same_steps():
    """One group for each pair of rate and weight decay, where MMEngine makes one for each parameter."""
    torch.manual_seed(0)
    model = make_model('MAT')
    assert len(build(model).optimizer.param_groups) == 2 * 5
    mmengines = dict(recipe(), constructor='mmengine.DefaultOptimWrapperConstructor')
    wrappers = [build_optim_wrapper(model, mmengines), build(model, decay=1.0)]
    assert [len(wrapper.optimizer.param_groups) for wrapper in wrappers] == [len(list(model.parameters())), 2]
    start = [parameter.detach().clone() for parameter in model.parameters()]
    results = []
    for wrapper in wrappers:
        for parameter, value in zip(model.parameters(), start, strict=True):
            parameter.data.copy_(value)
            parameter.grad = torch.full_like(parameter, 0.1)
        wrapper.step()
        results.append([parameter.detach().clone() for parameter in model.parameters()])
    torch.testing.assert_close(*results, rtol=0, atol=0)
    assert not torch.equal(results[0][0], start[0])


def test_log_tells_the_rates(monkeypatch):
    messages = []
    monkeypatch.setattr(layer_decay, 'print_log', lambda message, logger: messages.append(message))
    build(make_model('MAT'))
    text = 'Learning rates of m0 (3 blocks, decay 0.5): patches 6.25e-04, first block 1.25e-03, last block 5.00e-03'
    assert f'{text}, norm 1.00e-02' in messages
    assert 'Learning rate of neck and heads: 1.00e-02' in messages


def test_alone_without_other_rules():
    model = make_model('MAT')
    cfg = dict(optimizer=dict(type='SGD', lr=LR), paramwise_cfg=dict(layer_decay=DECAY))
    wrapper = build_optim_wrapper(model, dict(cfg, constructor='LayerDecayConstructor'))
    assert sorted({group['lr'] for group in wrapper.optimizer.param_groups}) == [LR * DECAY**n for n in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize('decay', [None, 0, 1.5, '0.75'])
def test_impossible_decays(decay):
    with pytest.raises(ConfigError, match=f'above 0 and at most 1, such as 0.75, got {decay!r}'):
        LayerDecayConstructor(dict(optimizer=dict(type='SGD', lr=LR)), dict(layer_decay=decay))


def test_models_it_cannot_count():
    constructor = LayerDecayConstructor(dict(optimizer=dict(type='SGD', lr=LR)), dict(layer_decay=DECAY))
    with pytest.raises(ConfigError, match='needs a model with backbones, Linear has none'):
        constructor(nn.Linear(2, 2))
    model = make_model('MAT')
    model.backbones['m0'] = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="a list 'blocks'; m0, a Linear, has none"):
        constructor(model)
    with pytest.raises(ConfigError, match=r'needs optim_wrapper\.optimizer\.lr'):
        LayerDecayConstructor(dict(optimizer=dict(type='SGD')), dict(layer_decay=DECAY))
