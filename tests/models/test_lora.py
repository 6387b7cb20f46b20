"""LoRA in every registered backbone, against the formula of the paper, and in models of other packages."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from mmav.errors import ConfigError
from mmav.models.lora import LoRALinear, LoRASettings, add_lora, kind_of, lora_layers, merge_lora
from mmav.models.ops import attention, tiled_mlp
from mmav.models.ops.eager import is_plain
from mmav.models.ops.lean import lean
from tests.models.test_contracts import BACKBONES, backbone_input, make_backbone, randomise

SETTINGS = LoRASettings(rank=2, alpha=6)
# the others consist of convolutions
ADAPTABLE = [name for name in BACKBONES if any(type(layer) is nn.Linear for layer in make_backbone(name).modules())]


@pytest.fixture(autouse=True)
def _fast_paths(monkeypatch):
    """Taken by plain modules of any size: they read weights without calling layers."""
    monkeypatch.setattr(attention, 'LEAST_SCORES', 0)
    monkeypatch.setattr(tiled_mlp, 'LEAST_HIDDEN', 0)


def adapted(name, settings=SETTINGS):
    """A backbone with random weights, and matrices that change what it computes."""
    backbone = make_backbone(name)
    add_lora(backbone, settings, 'lora', blocks=backbone.blocks)
    return randomise(backbone)


def values(backbone, x):
    tokens = backbone(x)
    return torch.cat((tokens.cls.flatten(), tokens.patches.flatten()))


def test_formula():
    """y_i = sum_j (W_ij + alpha / r * sum_k B_ik A_kj) x_j + b_i, in loops; so does peft (tuners/lora/layer.py)."""
    layer = randomise(LoRALinear(nn.Linear(5, 3), rank=2, alpha=6)).double()
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(4, 3, dtype=torch.float64)
    for n in range(4):
        for i in range(3):
            expected[n, i] = layer.bias[i]
            for j in range(5):
                product = sum(layer.lora_b[i, k] * layer.lora_a[k, j] for k in range(2))
                expected[n, i] += (layer.weight[i, j] + 6 / 2 * product) * x[n, j]
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.merged()(x), expected)


def test_initial_values_change_nothing_and_are_those_of_the_paper():
    base = nn.Linear(64, 32)
    layer = LoRALinear(base, rank=8, alpha=16)
    x = torch.randn(3, 64)
    assert torch.equal(layer(x), base(x)) and not layer.lora_b.any()
    assert layer.lora_a.shape == (8, 64) and 0 < layer.lora_a.abs().max() <= 64**-0.5  # Kaiming's, with sqrt(5)
    layer(x).sum().backward()
    assert layer.lora_b.grad.any()


def test_dropout_acts_on_the_product_in_training_only():
    layer, x = LoRALinear(nn.Linear(64, 4), rank=2, alpha=2, dropout=0.5), torch.randn(3, 64)
    nn.init.normal_(layer.lora_b)
    layer.train()
    torch.manual_seed(0)
    dropped = nn.functional.dropout(x, 0.5)
    torch.manual_seed(0)
    found = layer(x)
    plain = x @ layer.weight.t() + layer.bias
    torch.testing.assert_close(found, plain + dropped @ layer.lora_a.t() @ layer.lora_b.t())
    torch.testing.assert_close(layer.eval()(x), plain + x @ layer.lora_a.t() @ layer.lora_b.t())


@pytest.mark.parametrize('name', ADAPTABLE)
def test_merged_equals_unmerged(name):
    backbone, x = adapted(name), backbone_input(name)
    before = values(backbone, x)
    plain = make_backbone(name)
    plain.load_state_dict({k: v for k, v in backbone.state_dict().items() if 'lora' not in k})
    merging = copy.deepcopy(backbone)
    assert merge_lora(merging) == len(lora_layers(backbone)) > 0 and not lora_layers(merging)
    assert merging.state_dict().keys() == plain.state_dict().keys()
    after, without = values(merging, x), values(plain.eval(), x)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    assert (without - before).abs().max() > 1e-2  # the matrices have an effect


@pytest.mark.parametrize('name', ADAPTABLE)
def test_every_matrix_learns_in_fast_and_lean_paths(name):
    backbone, x = adapted(name), backbone_input(name)
    assert not any(is_plain(layer) for layer in lora_layers(backbone).values())
    weights = torch.cos(torch.arange(float(values(backbone, x).numel())))
    (values(backbone, x) * weights).sum().backward()
    found = {key: p.grad.clone() for key, p in backbone.named_parameters() if 'lora' in key}
    assert all(gradient.any() for gradient in found.values())
    backbone.zero_grad()
    with lean():
        result = values(backbone, x)
    (result * weights).sum().backward()
    lean_ones = {key: p.grad for key, p in backbone.named_parameters() if 'lora' in key}
    torch.testing.assert_close(lean_ones, found, rtol=1e-3, atol=1e-3)


def test_backbones_without_linear_layers_are_refused():
    assert {'MViTv2', 'MAT', 'AST', 'ViT'} <= set(ADAPTABLE)
    for name in set(BACKBONES) - set(ADAPTABLE):
        with pytest.raises(ConfigError, match='has no layers of the class nn.Linear there'):
            add_lora(make_backbone(name), SETTINGS, 'lora')


def test_the_random_generator_does_not_move():
    backbone = make_backbone('AST')
    state = torch.get_rng_state()
    add_lora(backbone, SETTINGS, 'lora')
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('attn.qkv', 'qkv'),  # timm, mmav
        ('attn.proj', 'proj'),
        ('mlp.fc1', 'mlp'),
        ('proj', 'proj'),  # the skip path of MViT and Hiera
        ('attention.attention.query', 'qkv'),  # transformers 4: ViT, AST, VideoMAE, ViViT, DINOv2
        ('attention.output.dense', 'proj'),
        ('intermediate.dense', 'mlp'),
        ('output.dense', 'mlp'),
        ('attention.q_proj', 'qkv'),  # transformers 5
        ('attention.o_proj', 'proj'),
        ('self_attn.k_proj', 'qkv'),  # CLIP
        ('self_attn.out_proj', 'proj'),
        ('feed_forward.intermediate_dense', 'mlp'),  # Wav2Vec2
        ('feed_forward.output_dense', 'mlp'),
        ('mlp.3', 'mlp'),  # torchvision
        ('mlp.proj', 'mlp'),
        ('adapter.down', ''),
    ],
)
def test_kinds_of_layers_in_other_packages(name, kind):
    assert kind_of(name) == kind


def test_targets_by_kind_and_by_name():
    def chosen(*targets, **settings):
        backbone = make_backbone('AST')  # two blocks
        return add_lora(backbone, LoRASettings(rank=2, targets=targets, **settings), 'lora', blocks=backbone.blocks)

    assert chosen('qkv') == ['blocks.0.attn.qkv', 'blocks.1.attn.qkv']
    assert chosen('fc2') == ['blocks.0.mlp.fc2', 'blocks.1.mlp.fc2']
    assert chosen('1.mlp', 'attn.proj') == [
        *(f'blocks.1.mlp.fc{i}' for i in (1, 2)),
        *(f'blocks.{i}.attn.proj' for i in (0, 1)),
    ]
    assert len(chosen('qkv', 'proj', 'mlp')) == 8


def test_only_blocks_and_only_plain_layers():
    backbone = make_backbone('AST')
    assert add_lora(backbone, SETTINGS, 'lora', blocks=backbone.blocks[1:]) == [
        f'blocks.1.{name}' for name in ('attn.qkv', 'attn.proj', 'mlp.fc1', 'mlp.fc2')
    ]
    net = nn.ModuleDict(
        dict(fc1=nn.Linear(4, 4), fc2=parametrizations.weight_norm(nn.Linear(4, 4)), w1=nn.Bilinear(4, 4, 4))
    )
    assert add_lora(net, LoRASettings(rank=2, targets=('mlp',)), 'lora') == ['fc1']


def test_a_layer_with_two_names_stays_one():
    layer = nn.Linear(4, 4)
    net = nn.ModuleDict(dict(fc1=layer, fc2=layer))
    assert add_lora(net, LoRASettings(rank=1, targets=('mlp',)), 'lora') == ['fc1', 'fc2']
    assert net.fc1 is net.fc2 and merge_lora(net) == 1 and net.fc1 is net.fc2 and type(net.fc1) is nn.Linear


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (True, r'lora=True: give a dict such as dict\(rank=8, alpha=16\), or None'),
        (dict(ranc=4), "lora.ranc: unknown, did you mean 'rank'"),
        (dict(rank=0), 'lora.rank=0: give a whole number above 0'),
        (dict(rank=2.5), 'lora.rank=2.5: give a whole number'),
        (dict(alpha=0), 'lora.alpha=0: give a number above 0'),
        (dict(alpha='16'), "lora.alpha='16'"),
        (dict(dropout=1.0), 'lora.dropout=1.0: give a number from 0 to below 1'),
        (dict(targets=()), 'lora.targets=.*give names of layers'),
        (dict(targets=('qvk',)), "lora.targets: no linear layer of AST is 'qvk', did you mean 'qkv'"),
        (dict(targets=('gate',)), "is 'gate'; it has attn.qkv, attn.proj, mlp.fc1, mlp.fc2"),
        (dict(rank=17), 'lora.rank=17: blocks.0.attn.qkv has rank 16 itself; give less'),
    ],
)
def test_mistakes(value, message):
    backbone = make_backbone('AST')
    with pytest.raises(ConfigError, match=message):
        add_lora(backbone, LoRASettings.read(value, 'lora'), 'lora', blocks=backbone.blocks)


def test_a_kind_that_a_model_has_not():
    with pytest.raises(ConfigError, match="no linear layer of ModuleDict is 'qkv'; it has mlp.fc1$"):
        add_lora(nn.ModuleDict(dict(mlp=nn.ModuleDict(dict(fc1=nn.Linear(4, 4))))), SETTINGS, 'lora')


def test_a_model_without_linear_layers():
    with pytest.raises(ConfigError, match='Conv2d has no layers of the class nn.Linear there'):
        add_lora(nn.Conv2d(1, 1, 1), SETTINGS, 'lora')
