import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18

from mmav.analysis.complexity import count_macs, count_model, markdown_table, text_table
from mmav.config.reading import load_config
from mmav.errors import ConfigError
from mmav.models.layers import MultiscaleAttention, TransformerBlock
from mmav.models.ops import attention, tiled_attention
from mmav.registry import MODELS
from tests import resnet, toys

ARCH = dict(embed_dims=16, num_layers=2, num_heads=1, stage_blocks=(1,))
MODEL = dict(
    type='AVClassifier',
    backbones=dict(
        video=dict(type='MViTv2', arch=ARCH, input_size=(4, 32, 32)),
        audio=dict(type='MAT', arch=ARCH, input_size=(32, 64), q_strides=[(1, 2)]),
    ),
    neck=dict(type='Avg'),
    head=dict(type='ClsHead', num_classes=5),
)


def by_part(costs):
    return {cost.part: cost for cost in costs}


@pytest.fixture(scope='module')
def mmt():
    cfg = load_config(str(toys.ROOT / 'configs' / 'mmt' / 'mmt_k4_l4_vggsound.py'))
    return by_part(count_model(cfg.model))


def test_paper_size(mmt):
    # the paper reports 46.2 G and 52 M (with a classifier) for MAT; 92.3 G and 50.9 M are what
    # open-mmlab/mmaction2's MViT has with the same arguments
    assert mmt['audio'].explicit == pytest.approx(46.2e9, rel=0.02)
    assert mmt['audio'].parameters == pytest.approx(51.0e6, rel=0.005)
    assert mmt['video'].explicit == pytest.approx(92.3e9, rel=0.01)
    assert mmt['video'].parameters == pytest.approx(50.9e6, rel=0.005)
    assert mmt['total'].explicit <= 160e9
    assert list(mmt) == ['video', 'audio', 'neck', 'head', 'total']


def test_ast_at_paper_size():
    cfg = load_config(str(toys.ROOT / 'configs' / 'ast' / 'ast_base_vggsound.py'))
    ast = by_part(count_model(cfg.model))['total']
    assert ast.explicit == ast.folded == pytest.approx(131e9, rel=0.01)
    assert ast.parameters == pytest.approx(87e6, rel=0.01)


def test_fusion_and_head_by_hand(mmt):
    # per modality and block N tokens with L = 4: 12 N D^2 in linear layers, 2 N^2 D in attention
    tokens = [1 + 8 * 7 * 7 + 4, 1 + 8 * 32 + 4]
    assert mmt['neck'].explicit == mmt['neck'].folded == 4 * sum(12 * n * 768**2 + 2 * n * n * 768 for n in tokens)
    assert mmt['head'].explicit == 2 * 768 * 309
    assert mmt['head'].parameters == (2 * 768 + 1) * 309


def test_an_outside_counter_sees_the_operators_of_our_own(mmt, monkeypatch):
    """MAT as it trains on a CPU: in tiles, which PyTorch's counter cannot look into."""
    monkeypatch.setattr(tiled_attention, 'TILE', 2**40)  # one tile, as there is nothing to compute
    monkeypatch.setattr(attention, 'KEPT_WIDTHS', 2**20)  # and no scores that are computed again
    with FakeTensorMode():
        model, x = MODELS.build(dict(type='MAT')).train(), torch.zeros(1, 1, 128, 1024)
        with FlopCounterMode(display=False) as forward:
            loss = model(x).cls.sum()
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    assert forward.get_total_flops() == 2 * mmt['audio'].explicit
    # two products for each one; rows of keys are filled up to eights there. PyTorch's formula for the backward pass of
    # convolutions takes depthwise ones for whole ones.
    products = [
        sum(number for name, number in counter.get_flop_counts()['Global'].items() if 'conv' not in str(name))
        for counter in (forward, backward)
    ]
    assert products[1] == pytest.approx(2 * products[0], rel=0.005)


def test_linear_and_plain_block_by_hand():
    assert count_macs(lambda: torch.nn.Linear(7, 11)(torch.zeros(2, 5, 7)))[0] == 2 * 5 * 7 * 11
    n, d = 10, 32
    block = TransformerBlock(d, 4)
    assert count_macs(lambda: block(torch.zeros(1, n, d)))[0] == 12 * n * d * d + 2 * n * n * d


@pytest.mark.parametrize(('form', 'columns'), [('explicit', 0), ('folded', 8)])
def test_multiscale_attention_by_hand(form, columns):
    grid, width, heads, d = (4, 8), 32, 2, 16
    attention = MultiscaleAttention(
        width, width, heads, grid=grid, q_stride=(1, 2), kv_stride=(2, 2), kernel=(3, 3), attention=form
    )
    n, nq, nk = 4 * 8, 4 * 4, 2 * 4
    linear = (n + 1) * width * 3 * width + (nq + 1) * width * width
    pool = 9 * width * (nq + 2 * nk)  # depthwise convolutions of queries, keys and values
    position = heads * nq * d * (2 + 4)  # each query with the rows of 2 and of 4 key positions
    # folded: 2 + 4 columns more in the first product, filled up to a multiple of 8
    attend = heads * (nq + 1) * (nk + 1) * (d + columns + d)
    macs, _ = count_macs(lambda: attention(torch.zeros(1, n + 1, width), grid))
    assert macs == linear + pool + position + attend


def test_parts_add_up_and_the_config_stays():
    model = {**MODEL, 'contrast': dict(type='ContrastiveHead', losses=[dict(type='AVCLoss')])}
    before = repr(model)
    costs = by_part(count_model(model))
    assert repr(model) == before
    for key in ('parameters', 'explicit', 'folded', 'training'):
        assert getattr(costs['total'], key) == sum(getattr(costs[p], key) for p in ('video', 'audio', 'neck', 'head'))
    assert costs['contrast'].parameters > 0 and costs['contrast'].explicit == 0
    assert costs['video'].folded > costs['video'].explicit > 0
    assert costs['audio'].what == 'MAT, 32 x 64'


def test_dropped_tokens_are_counted_in_training():
    ast = dict(type='AST', input_size=(32, 64), patch_stride=(8, 8), embed_dims=32, num_layers=2, num_heads=2)
    backbones = {**MODEL['backbones'], 'audio': {**ast, 'token_drop': dict(ratio=0.5)}}
    neck = dict(type='AVBottleneck', embed_dims=32, num_blocks=1, num_heads=2)
    model = {**MODEL, 'backbones': backbones, 'neck': neck}
    costs = by_part(count_model(model))
    n, d = 3 * 7, 32  # patches and width; two more tokens, and two bottleneck blocks of one class token and four
    blocks = [2 * (12 * (k + 2) * d * d + 2 * (k + 2) ** 2 * d) for k in (n, n // 2)]
    assert costs['audio'].explicit - costs['audio'].training == blocks[0] - blocks[1]
    fused = [12 * (k + 5) * d * d + 2 * (k + 5) ** 2 * d for k in (n, n // 2)]
    assert costs['neck'].explicit - costs['neck'].training == fused[0] - fused[1]
    assert costs['video'].training == costs['video'].explicit
    assert costs['total'].training == sum(costs[part].training for part in ('video', 'audio', 'neck', 'head'))
    assert 'MACs, training' in text_table(list(costs.values()))
    # a frozen encoder is in eval mode, and drops nothing
    backbones['audio']['freeze'] = 'all'
    frozen = by_part(count_model(model))
    assert frozen['total'].training == frozen['total'].explicit
    assert 'training' not in text_table(list(frozen.values()))


def test_other_input_size_and_defaults_of_the_backbone():
    costs = by_part(count_model(MODEL, dict(audio=(32, 128))))
    assert costs['audio'].what == 'MAT, 32 x 128'
    assert costs['audio'].explicit > by_part(count_model(MODEL))['audio'].explicit
    one = {**MODEL, 'backbones': dict(video=None, audio=dict(type='MAT', arch=ARCH, q_strides=[(2, 2)]))}
    assert by_part(count_model(one))['audio'].what == 'MAT, 128 x 1024'


def test_a_network_from_outside_is_counted_as_by_itself():
    model = dict(
        type='AVClassifier',
        backbones=dict(audio=resnet.AUDIO),
        neck=dict(type='Avg'),
        head=dict(type='ClsHead', num_classes=3),
    )
    found = {cost.part: cost for cost in count_model(model)}['audio']
    net = resnet18()
    net.conv1, net.fc = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False), torch.nn.Identity()
    assert found.parameters == sum(p.numel() for p in net.parameters())
    assert found.explicit == found.folded == count_macs(lambda: net(torch.zeros(1, 1, 32, 64)))[0]
    assert found.what == 'ResNet, 32 x 64'


def test_mistakes_are_named(monkeypatch):
    with pytest.raises(ConfigError, match="input size of 'sound': the model reads video and audio"):
        count_model(MODEL, dict(sound=(32, 64)))
    with pytest.raises(ConfigError, match=r"input size \(32,\) of 'audio': expected an input"):
        count_model(MODEL, dict(audio=(32,)))
    monkeypatch.setattr(resnet.ResNet, 'forward', lambda self, x: (x, x, (1, 1)))
    with pytest.raises(ConfigError, match=r'^backbones.audio: ResNet returns tuple, not Tokens'):
        count_model({**MODEL, 'backbones': dict(audio=resnet.AUDIO)})
    with pytest.raises(ConfigError, match=r"model.type='Avg': parts are counted of an AVClassifier only"):
        count_model(dict(type='Avg', in_dims=dict(audio=8)))


def test_tables(mmt):
    lines = text_table(list(mmt.values())).splitlines()
    assert len({len(line) for line in lines}) == 1 and '46.730 G' in lines[2]
    lines = markdown_table({'mmt_k4_l4_vggsound': list(mmt.values()), 'b': count_model(MODEL)}).splitlines()
    assert len(lines) == 2 + 5 + 5
    assert lines[3].startswith('|  | audio | MAT, 128 x 1024 | 51.00 M | 46.730 G |')
    assert lines[3].endswith('| 52 M, 46.2 G |') and lines[6].endswith('| 206 G |')
    assert all(line.endswith('|  |') for line in lines[7:])
    # docs/complexity.md says how it is written anew
    assert '\n'.join(lines[:7]) in (toys.ROOT / 'docs' / 'complexity.md').read_text()
