"""What ``freeze`` and ``lora`` leave training, in every registered backbone and in networks from outside."""

import copy

import pytest
import torch
from mmcv.cnn.bricks import DropPath
from mmengine.registry import init_default_scope
from torch import nn

from mmav.engine.memory.meter import MemoryMeter
from mmav.errors import ConfigError
from mmav.models import AVClassifier, Backbone
from mmav.models.backbones.base import layers_of
from mmav.models.tuning import FREEZE, hold_eval, thaw, training_line, tune
from mmav.registry import MODELS
from mmav.structures import Tokens
from tests.models.test_contracts import BACKBONES, backbone_input, make_backbone, make_neck, randomise
from tests.models.test_lora import ADAPTABLE

LORA = dict(rank=2, alpha=4)
NORMS = nn.LayerNorm | nn.BatchNorm2d


@MODELS.register_module()
class TunedNet(Backbone):
    """A stem and blocks with everything that behaves differently in training."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__((4, 4), 1, out_dims=8)
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 1), nn.BatchNorm2d(8))
        self.drop = nn.Dropout(0.5)
        self.encoder = nn.ModuleDict(dict(layers=nn.ModuleList(self._block() for _ in range(blocks))))
        self.blocks = self.encoder['layers']
        self.norm, self.last = nn.BatchNorm2d(8), nn.Dropout(0.5)

    @staticmethod
    def _block() -> nn.Module:
        return nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), DropPath(0.5), nn.Dropout(0.5))

    def forward(self, x):
        x = self.drop(self.stem(x))
        for block in self.blocks:
            x = x + block(x)
        x = self.last(self.norm(x)).flatten(2).transpose(1, 2)
        return Tokens(x.mean(dim=1), x, (4, 4))


def tuned(name, **options):
    backbone = make_backbone(name)
    tune(backbone, options, 'backbones.it')
    return randomise(backbone).train()


def trained(module):
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def backward(backbone, x):
    tokens = backbone(x)
    results = [tokens.cls, tokens.patches]
    if any(result.requires_grad for result in results):
        weights = [torch.cos(torch.arange(float(result.numel()))).view_as(result) for result in results]
        torch.autograd.backward(results, weights)
    return results


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize(
    'options', [dict(freeze=value) for value in (*FREEZE, 0, 1)] + [dict(lora=LORA), dict(freeze=1, lora=LORA)], ids=str
)
def test_only_what_trains_gets_gradients(name, options):
    if 'lora' in options and name not in ADAPTABLE:
        options = {key: value for key, value in options.items() if key != 'lora'} or dict(freeze=2)
    plain, backbone = set(dict(make_backbone(name).named_parameters())), tuned(name, **options)
    layers, freeze = layers_of(backbone, backbone.blocks), options.get('freeze')
    matrices = {key for key in layers if 'lora' in key}
    if 'lora' in options:
        expected = matrices
        assert matrices and all(layers[key] > (freeze or 0) for key in matrices)
    elif isinstance(freeze, int):
        expected = {key for key in plain if layers[key] > freeze}
    else:
        parts = [(key, part) for key, part in make_backbone(name).named_modules() if isinstance(part, NORMS)]
        norms = {f'{key}.{own}' for key, part in parts for own, _ in part.named_parameters()}
        expected = dict(all=set(), all_but_norms=norms).get(freeze, norms | {k for k in plain if k.endswith('.bias')})
    assert trained(backbone) == expected
    results = backward(backbone, backbone_input(name))
    got = {key for key, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert got == expected and all(result.requires_grad for result in results) == bool(expected)


@pytest.mark.parametrize('name', BACKBONES)
def test_gradients_are_those_of_the_unfrozen_model(name):
    x, number = backbone_input(name), len(make_backbone(name).blocks) - 1
    whole, part = randomise(make_backbone(name)), make_backbone(name).eval()  # statistics would differ in training
    part.load_state_dict(whole.state_dict())
    tune(part, dict(freeze=number), 'backbones.it')
    torch.testing.assert_close(backward(part, x), backward(whole, x))
    for key, parameter in part.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, whole.get_parameter(key).grad)


@pytest.mark.parametrize('name', BACKBONES)
def test_activations_of_frozen_blocks_are_not_kept(name):
    """Counted between the forward and the backward pass; tests/engine/memory/test_plan.py has a whole step on a GPU."""

    def kept(**options):
        backbone, x = make_backbone(name), backbone_input(name)
        tune(backbone, options, 'backbones.it')
        backbone.train()
        with MemoryMeter('cpu') as meter:
            tokens = backbone(x)
            whole = meter.now
            del tokens
            return whole - meter.now

    number = len(make_backbone(name).blocks)
    counts = [kept(**({} if value is None else dict(freeze=value))) for value in (None, 0, number - 1, number, 'all')]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) >= 4
    tokens = kept(freeze='all')  # its result and nothing else
    assert tokens <= 0.2 * counts[0]
    if name in ADAPTABLE:
        assert kept(lora=LORA, freeze=number - 1) < 0.7 * kept(lora=LORA)


def modes(module):
    return {name for name, part in module.named_modules() if not part.training}


def test_what_is_frozen_stays_in_eval_mode():
    net = TunedNet()
    tune(net, dict(freeze=2), 'backbones.it')
    model = nn.ModuleDict(dict(it=net)).train()
    hold_eval(model)
    inside = {name for name in modes(net) if not name.startswith('encoder')}
    assert {name for name in inside if '.' not in name} == {'stem', 'drop'}
    assert modes(net.blocks) == {name for name, _ in net.blocks.named_modules() if name.split('.')[0] in '01' and name}
    assert net.training and net.norm.training and net.last.training and net.blocks[2].training
    x = torch.randn(6, 1, 4, 4)
    before = copy.deepcopy(net.state_dict())
    net(x)
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    statistics = ('running_mean', 'running_var', 'num_batches_tracked')
    assert changed == {f'{part}.{key}' for part in ('encoder.layers.2.1', 'blocks.2.1', 'norm') for key in statistics}


def test_statistics_without_a_scale_are_those_of_their_block():
    net = TunedNet()
    for block in net.blocks:
        block.append(nn.BatchNorm2d(8, affine=False))
    tune(net, dict(freeze=2), 'backbones.it')
    hold_eval(net.train())
    assert [block[-1].training for block in net.blocks] == [False, False, True]


def test_all_blocks_frozen_leaves_what_follows_them_in_training():
    net = TunedNet()
    tune(net, dict(freeze=3), 'backbones.it')
    hold_eval(net.train())
    assert trained(net) == {'norm.weight', 'norm.bias'} and net.norm.training and net.last.training
    assert not any(block.training for block in net.blocks) and not net.drop.training


@pytest.mark.parametrize(
    ('options', 'held'), [(dict(freeze='all_but_norms'), False), (dict(lora=dict(rank=2, targets='fc')), True)]
)
def test_statistics_of_frozen_scales_stay_and_dropout_acts_where_anything_trains(options, held):
    net = TunedNet()
    for block in net.blocks:
        block.append(nn.ModuleDict(dict(fc=nn.Linear(2, 2))))
    tune(net, options, 'backbones.it')
    hold_eval(net.train())
    assert net.norm.training != held and net.stem[1].training != held
    assert net.drop.training and net.blocks[0][2].training


def make_model(neck=None, **video):
    init_default_scope('mmav')
    neck = neck or dict(type='AVBottleneck', embed_dims=8, num_blocks=1, num_heads=2, order=['video'])
    return AVClassifier(dict(video=dict(type='TunedNet', **video)), neck, dict(type='ClsHead', num_classes=3))


def test_a_classifier_holds_it_whoever_calls_train():
    model = make_model(freeze='all')
    assert copy.deepcopy(model).train().backbones.video.drop.training is False
    nn.ModuleDict(dict(module=model)).train()
    assert (
        model.training
        and model.neck.training
        and modes(model.backbones) == {name for name, _ in model.backbones.named_modules() if name}
    )
    inputs = dict(video=torch.randn(2, 1, 1, 4, 4))
    first, second = (model.encode(inputs)[0]['video'].cls for _ in range(2))
    assert torch.equal(first, second) and not first.requires_grad


def test_a_neck_freezes_too():
    neck = dict(type='AVBottleneck', embed_dims=8, num_blocks=2, num_heads=2, order=['video'])
    model = make_model(neck | dict(freeze='all', lora=dict(rank=1, targets=('qkv',))))
    assert model.tuned == ('neck',) and trained(model.neck) == {
        f'blocks.{k}.video.attn.qkv.lora_{each}' for k in (0, 1) for each in 'ab'
    }
    assert len(trained(model.backbones)) == len(list(model.backbones.parameters()))


def test_none_leaves_everything_as_it_is():
    model = make_model(freeze=None, lora=None)
    assert model.tuned == () and all(parameter.requires_grad for parameter in model.parameters())


def test_fixed_parameters_stay_fixed():
    net = TunedNet()
    net.norm.weight.requires_grad_(False)
    tune(net, dict(freeze=1), 'backbones.it')
    assert 'norm.weight' not in trained(net) and 'norm.bias' in trained(net)


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (dict(freeze='all'), 'it: 3 of 3 blocks frozen, 0 of 312 parameters train'),
        (dict(freeze=2), 'it: 2 of 3 blocks frozen, 104 of 312 parameters train'),
        (dict(freeze='all_but_norms'), 'it: 80 of 312 parameters train'),
    ],
)
def test_the_line_of_the_log(options, line):
    net = TunedNet()
    tune(net, options, 'backbones.it')
    assert training_line(net, 'it') == line


def test_the_line_of_lora():
    backbone = make_backbone('AST')
    tune(backbone, dict(freeze=1, lora=dict(rank=4, targets='mlp')), 'backbones.audio')
    assert training_line(backbone, 'audio').startswith(
        'audio: 1 of 2 blocks frozen, LoRA of rank 4 in 2 layers, 640 of '
    )
    large = nn.Linear(1000, 2000)
    assert training_line(large, 'it') == 'it: 2 M of 2 M parameters train'


class Empty(Backbone):
    """Without blocks and norms."""

    def __init__(self, *, linear: bool = True) -> None:
        super().__init__((1,), 1, out_dims=2)
        self.fc = nn.Linear(2, 2) if linear else nn.Identity()


@pytest.mark.parametrize(
    ('part', 'options', 'message'),
    [
        (Empty, dict(freeze=1), "backbones.it.freeze=1: Empty has no blocks to count; give 'all'"),
        (Empty, dict(freeze='all_but_norms'), "freeze='all_but_norms': Empty has no norms; give 'all'"),
        (TunedNet, dict(freeze=4), "backbones.it.freeze=4: TunedNet has 3 blocks; give less, or 'all'"),
        (TunedNet, dict(freeze=3, lora={}), 'freeze=3: TunedNet has 3 blocks, and LoRA needs one of them; give less'),
        (TunedNet, dict(freeze='al'), "freeze='al': choose 'all', .*did you mean 'all'"),
        (TunedNet, dict(freeze=-1), 'freeze=-1: choose .* or a number of blocks, from the input'),
        (TunedNet, dict(freeze=True), 'freeze=True: choose'),
        (TunedNet, dict(lora={}), 'backbones.it.lora.targets: TunedNet has no layers of the class nn.Linear there'),
        (
            lambda: Empty(linear=False),
            dict(freeze='all'),
            'backbones.it: Empty has no parameters: leave freeze and lora',
        ),
    ],
)
def test_mistakes(part, options, message):
    with pytest.raises(ConfigError, match=message):
        tune(part(), options, 'backbones.it')


def test_necks_of_the_library_count_their_blocks():
    neck = make_neck('AVBottleneck')
    tune(neck, dict(freeze=1), 'neck')
    assert {name.split('.')[1] for name in trained(neck) if name.startswith('blocks.')} == {'1'}
    assert not neck.tokens.requires_grad


@pytest.mark.parametrize('freeze', [0, 2, *FREEZE])
def test_what_is_thawed_is_as_before(freeze):
    backbone = TunedNet()
    backbone.norm.weight.requires_grad_(False)  # fixed by the network itself
    names, marks = trained(backbone), [dict(module.__dict__) for module in backbone.modules()]
    tune(backbone, dict(freeze=freeze), 'backbones.it')
    assert trained(backbone) != names
    thaw(backbone, names)
    assert trained(backbone) == names and 'norm.weight' not in names
    assert [module.__dict__.keys() for module in backbone.modules()] == [mark.keys() for mark in marks]
    hold_eval(backbone.train())
    assert all(module.training for module in backbone.modules())
