import copy
import inspect
import math
import re
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.sdpa_calls import noted_sdpa
from mmav.engine.memory.fused_sdpa import fused_sdpa
from mmav.errors import ConfigError
from mmav.models.layers import MultiscaleAttention
from mmav.models.ops import attention
from mmav.models.ops.attention import attend, explicit_attention, folded_attention
from mmav.models.ops.relative_bias import onehot_positions, relative_bias
from mmav.registry import MODELS
from tests.toys import ROOT

GRIDS = [((5,), (3,)), ((4, 6), (2, 3)), ((2, 4, 3), (2, 2, 3))]


def slow_attention(q, k, v, bias, k_grid):
    """Eq. 2 for one query and one key at a time."""
    num_cls = k.shape[2] - math.prod(k_grid)
    cells = list(torch.cartesian_prod(*(torch.arange(n) for n in k_grid)).reshape(-1, len(k_grid)))
    out = torch.zeros(*q.shape[:3], v.shape[-1])
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i in range(q.shape[2]):
                scores = []
                for j in range(k.shape[2]):
                    score = (q[b, h, i] * k[b, h, j]).sum() / math.sqrt(q.shape[-1])
                    if i >= num_cls and j >= num_cls:
                        cell = cells[j - num_cls]
                        score = score + sum(p[b, h, i - num_cls, cell[axis]] for axis, p in enumerate(bias))
                    scores.append(score)
                weights = torch.stack(scores).softmax(0)
                out[b, h, i] = sum(w * value for w, value in zip(weights, v[b, h], strict=True))
    return out


def folded(q, k, v, bias, k_grid):
    """Folded attention of an unscaled bias, as the other forms take it."""
    return folded_attention(q, k, v, [part * q.shape[-1] ** 0.5 for part in bias], k_grid)


@pytest.mark.parametrize('form', [explicit_attention, folded])
@pytest.mark.parametrize(('q_grid', 'k_grid'), GRIDS)
@pytest.mark.parametrize('num_cls', [0, 1])
def test_forms_equal_a_slow_loop(form, q_grid, k_grid, num_cls):
    generator = torch.Generator().manual_seed(0)
    n_q, n_k, dim = math.prod(q_grid), math.prod(k_grid), 6
    q = torch.randn(2, 2, num_cls + n_q, dim, generator=generator)
    k, v = torch.randn(2, 2, 2, num_cls + n_k, dim, generator=generator)
    bias = [torch.randn(2, 2, n_q, n, generator=generator) for n in k_grid]
    torch.testing.assert_close(form(q, k, v, bias, k_grid), slow_attention(q, k, v, bias, k_grid))
    torch.testing.assert_close(form(q, k, v, [], k_grid), slow_attention(q, k, v, [], k_grid))


@pytest.mark.parametrize(('q_grid', 'k_grid'), GRIDS)
def test_forms_have_equal_gradients(q_grid, k_grid):
    generator = torch.Generator().manual_seed(0)
    n_q, n_k = math.prod(q_grid), math.prod(k_grid)
    shapes = [(1, 2, 1 + n_q, 4), (1, 2, 1 + n_k, 4), (1, 2, 1 + n_k, 4), *[(1, 2, n_q, n) for n in k_grid]]
    grads = []
    values = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    weight = torch.randn(1, 2, 1 + n_q, 4, generator=generator, dtype=torch.float64)
    for form in (explicit_attention, folded):
        leaves = [value.clone().requires_grad_() for value in values]
        (form(*leaves[:3], leaves[3:], k_grid) * weight).sum().backward()
        grads.append([leaf.grad for leaf in leaves])
    for expected, got in zip(*grads, strict=True):
        torch.testing.assert_close(got, expected)


def test_auto_is_what_the_situation_asks_for(monkeypatch):
    def make(kv_stride):
        return MultiscaleAttention(8, 16, 2, grid=(4, 6), q_stride=(2, 2), kv_stride=kv_stride, kernel=(3, 3)).eval()

    attn, x = make((1, 1)).requires_grad_(False), torch.randn(2, 25, 8)
    seen = []
    for form in ('explicit', 'folded', 'tiled'):
        function = getattr(attention, f'{form}_attention')

        def record(*args, form=form, function=function, **kwargs):
            seen.append(form)
            return function(*args, **kwargs)

        monkeypatch.setattr(attention, f'{form}_attention', record)
    attn(x, (4, 6))  # 2 clips, 2 heads of 8, 6 queries, 24 keys: few scores
    monkeypatch.setattr(attention, 'LEAST_SCORES', 2 * 2 * 6 * 6)
    make((2, 2))(x, (4, 6))  # 6 keys: fewer than a head is wide
    attn(x, (4, 6))
    with torch.autocast('cpu', torch.bfloat16):
        attn(x, (4, 6))
    torch.jit.trace(lambda value: attn(value, (4, 6))[0], x, check_trace=False)
    copy.deepcopy(attn).to('meta')(x.to('meta'), (4, 6))
    assert seen == ['explicit', 'explicit', 'tiled', 'explicit', 'explicit', 'folded']
    with FakeTensorMode():
        on_gpu = torch.empty(1, 2, 1, 8, device='cuda')
        monkeypatch.setattr(attention, 'ON_GPU', 'whatever is fastest')
        assert attention.choose_form(on_gpu, on_gpu) == 'whatever is fastest'


def draw(q_grid, k_grid, heads, dim, *, device='cpu', dtype=torch.float32, classes=True, needs_grad=True):
    """What ``attend`` takes, and its leaves."""
    generator = None if device != 'cpu' else torch.Generator().manual_seed(0)

    def tensor(*shape):
        x = torch.randn(*shape, generator=generator, device=device, dtype=torch.float32)
        return x.to(dtype).requires_grad_(needs_grad)

    queries, keys = math.prod(q_grid), math.prod(k_grid)
    q, k, v = (tensor(2, n, heads, dim) for n in (queries, keys, keys))
    tables = [tensor(2 * max(sizes) - 1, dim) for sizes in zip(q_grid, k_grid, strict=True)]
    tokens = tuple(tensor(2, 1, heads, dim) for _ in range(3)) if classes else ()
    return (q, k, v, tables, (q_grid, k_grid)), dict(classes=tokens)


# the sizes of the paper's encoders, fewer queries: keys, and what PyTorch takes in training on an A100 and an H100
SIZES = [
    ((8, 7, 7), (120, 120, 'flash'), (120, 96, 'cudnn')),
    ((8, 14, 14), (136, 136, 'flash'), (136, 136, 'flash')),
    ((8, 32), (136, 136, 'flash'), (136, 136, 'flash')),
    ((8, 64), (168, 168, 'flash'), (168, 168, 'flash')),
    ((16, 128), (240, 240, 'flash'), (240, 240, 'flash')),
    ((32, 256), (384, 96, 'efficient'), (384, 96, 'efficient')),
]


@pytest.mark.parametrize(('k_grid', 'on_a100', 'on_h100'), SIZES)
def test_values_are_widened_where_that_brings_a_flash_kernel(k_grid, on_a100, on_h100):
    for capability, expected in (((8, 0), on_a100), ((9, 0), on_h100)):
        with FakeTensorMode(), fused_sdpa(capability=capability), noted_sdpa(capability) as noted:
            args, kwargs = draw((2,) * len(k_grid), k_grid, 2, 96, device='cuda', dtype=torch.bfloat16)
            out = attend(*args, **kwargs, form='folded')
            assert out.shape == (2, 1 + 2 ** len(k_grid), 2, 96)
        assert noted.calls == [expected]


def test_values_are_left_alone_where_no_flash_kernel_is():
    for capability, dtype in (((8, 0), torch.float32), ((7, 0), torch.float16)):
        with FakeTensorMode(), fused_sdpa(capability=capability), noted_sdpa(capability) as noted:
            args, kwargs = draw((4, 4), (8, 64), 2, 96, device='cuda', dtype=dtype)
            attend(*args, **kwargs, form='folded')
            args, kwargs = draw((4, 4), (8, 64), 2, 90, device='cuda', dtype=dtype)  # rows of whole operands
            attend(*args, **kwargs, form='folded')
            attend(*args[:3], (), args[4], form='folded')
        assert noted.calls == [(168, 96, 'efficient'), (168, 96, 'efficient'), (96, 96, 'efficient')]


@pytest.mark.parametrize('classes', [False, True])
@pytest.mark.parametrize('dim', [6, 8])
def test_widened_values_change_nothing(classes, dim, monkeypatch):
    args, kwargs = draw((4, 6), (2, 3), 2, dim, classes=classes)
    leaves = [*args[:3], *args[3], *kwargs['classes']]

    def run():
        with noted_sdpa((8, 0)) as noted:
            out = attend(*args, **kwargs, form='folded', residual=True)
        grads = torch.autograd.grad(out, leaves, torch.cos(torch.arange(float(out.numel()))).view_as(out))
        return noted.calls[0][:2], out, grads

    widths, expected, expected_grads = run()
    assert widths == (16, dim)  # a CPU's kernel takes any
    monkeypatch.setattr(attention, '_on_gpu', lambda x: True)
    monkeypatch.setattr(
        attention, 'expected_backend', lambda q, k, v, **_: 'flash' if k.shape[-1] == v.shape[-1] else 'efficient'
    )
    widths, out, grads = run()
    assert widths == (16, 16)
    torch.testing.assert_close(out, expected)
    for own, other in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(own, other)


def test_attend_equals_itself_in_other_forms_under_autocast_and_in_half_types():
    args, kwargs = draw((4, 6), (2, 3), 2, 24)
    expected = attend(*args, **kwargs, form='explicit', residual=True)
    with torch.autocast('cpu', torch.bfloat16):
        out = attend(*args, **kwargs, form='folded', residual=True)
    assert out.dtype == torch.float32  # of the residual
    torch.testing.assert_close(out, expected, atol=0.05, rtol=0.05)


def test_scaling_in_the_kernel_is_nearer_than_scaled_queries():
    (q, k, v, tables, grids), _ = draw((8, 14, 14), (8, 7, 7), 2, 96, classes=False, needs_grad=False)
    tables = [0.1 * table for table in tables]
    q, k, v = (x.bfloat16() for x in (q, k, v))
    exact = attend(q.double(), k.double(), v.double(), [table.double() for table in tables], grids)
    own = attend(q, k, v, tables, grids, form='folded')
    bias = relative_bias(q, tables, *grids)
    columns = F.pad(onehot_positions(grids[1], k), (0, 2))[:, None].expand(2, -1, 2, -1)
    wide_q = torch.cat((q * 96**-0.5, *bias, torch.zeros_like(q[..., :2])), dim=-1)
    tensors = (x.transpose(1, 2) for x in (wide_q, torch.cat((k, columns), dim=-1), v))
    scaled_before = F.scaled_dot_product_attention(*tensors, scale=1.0).transpose(1, 2)
    errors = [float((out.double() - exact).square().mean().sqrt()) for out in (own, scaled_before)]
    assert errors[0] < 0.95 * errors[1]


def test_folded_is_one_graph(monkeypatch):
    monkeypatch.setattr(attention, '_on_gpu', lambda x: True)
    args, kwargs = draw((4, 6), (2, 3), 2, 8, dtype=torch.bfloat16)
    compiled = torch.compile(attend, fullgraph=True, backend='eager')
    with noted_sdpa((8, 0)) as noted:
        expected = attend(*args, **kwargs, form='folded')
    assert noted.calls == [(16, 16, 'flash')]
    torch.testing.assert_close(compiled(*args, **kwargs, form='folded'), expected)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_usable_forms_have_both_passes(dtype):
    args, kwargs = draw((4, 6), (2, 3), 2, 8, dtype=dtype)
    forms = attention.usable_forms('cpu', dtype)
    assert ('tiled' in forms) == (dtype == torch.float32)
    for form in forms:
        attend(*args, **kwargs, form=form).sum().backward()
    assert 'tiled' not in attention.usable_forms('cuda', dtype)
    assert set(attention.usable_forms('cuda', dtype)) < set(attention.FORMS)


def test_unknown_forms_are_refused():
    args, _ = draw((2,), (2,), 1, 4)
    with pytest.raises(
        ConfigError, match="attention='fast' is unknown: choose one of auto, explicit, folded, tiled, f"
    ):
        attend(*args, form='fast')


def test_tiled_leaves_autocast_aside():
    args, kwargs = draw((4, 6), (2, 3), 2, 8)
    with torch.autocast('cpu', torch.bfloat16):
        out = attend(*args, **kwargs, form='tiled')
    torch.testing.assert_close(out, attend(*args, **kwargs, form='explicit'))
    out.sum().backward()
    assert args[0].grad is not None


def test_derivatives_in_forward_mode_are_right_or_refused():
    """PyTorch drops them in silence at operators that have no rule for them, which ``auto`` takes for large batches."""
    (q, *args), kwargs = draw((24, 24), (24, 24), 1, 8, classes=False, needs_grad=False)
    assert attention.choose_form(q, args[0]) == 'tiled'

    def derivative(form):
        return torch.func.jvp(lambda x: attend(x, *args, **kwargs, form=form), (q,), (torch.ones_like(q),))[1]

    expected = derivative('explicit')
    torch.testing.assert_close(derivative('auto'), expected)
    assert expected.abs().max() > 0.1
    for form in ('tiled', 'triton'):
        with pytest.raises(ConfigError, match=f"attention='{form}' does not support forward mode .*: use explicit"):
            derivative(form)


MOST_FILES = 8


def source(part):
    return str(Path(inspect.getsourcefile(part)).relative_to(ROOT))


def test_from_the_training_tool_to_attention_in_a_few_files():
    """The files that a reader opens, each of which names what the next one has."""
    init_default_scope('mmav')
    config = ROOT / 'configs' / 'mmt' / 'mmt_tiny_avsynth.py'
    files = {'tools/train.py', str(config.relative_to(ROOT))}
    bases = [(config.parent / base).resolve() for base in re.findall(r"'([^']*_base_/[^']+)'", config.read_text())]
    (model_base,) = (base for base in bases if 'AVClassifier' in base.read_text())
    model = MODELS.build(Config.fromfile(config).model)
    backbone = model.backbones['video']
    layer = backbone.blocks[0].attn
    assert type(backbone).__name__ in model_base.read_text()
    classes = [type(model), type(backbone), *type(backbone).__mro__[1:2], type(backbone.blocks[0]), type(layer)]
    assert 'attend(' in inspect.getsource(type(layer).forward)
    reached = inspect.unwrap(vars(sys.modules[type(layer).__module__])['attend'])
    files |= {str(model_base.relative_to(ROOT)), *map(source, classes), source(reached)}
    assert source(reached) == 'mmav/models/ops/attention.py'
    assert len(files) <= MOST_FILES, sorted(files)
    assert len(inspect.getsource(type(layer).forward).split('"""')[2].strip().splitlines()) <= 15


@pytest.mark.parametrize('form', ['tiled', 'explicit'])
def test_few_modules_run_on_the_way_to_attention(form, monkeypatch):
    """From AVClassifier.forward to the first call of the operator, as ``auto`` takes it for inputs of either size."""
    monkeypatch.setattr(attention, 'LEAST_SCORES', 0 if form == 'tiled' else math.inf)
    arch = dict(embed_dims=8, num_layers=1, num_heads=1, stage_blocks=())
    backbone = dict(type='MViTv2', arch=arch, input_size=(4, 32, 32), q_strides=(), kv_stride=(1, 2, 2))
    model = dict(type='AVClassifier', backbones=dict(video=backbone), neck=dict(type='Avg'))
    model = MODELS.build(dict(model, head=dict(type='ClsHead', num_classes=2)))
    reached, ends = set(), ('_forward',) if form == 'tiled' else ('explicit_attention',)

    def note(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == 'call' and path.is_relative_to(ROOT / 'mmav'):
            if frame.f_code.co_name in ends:
                sys.setprofile(None)
            else:
                reached.add(str(path.relative_to(ROOT)))

    sys.setprofile(note)
    try:
        model(dict(video=torch.randn(1, 1, 3, 4, 32, 32)))
        operator_was_reached = sys.getprofile() is None
    finally:
        sys.setprofile(None)
    assert operator_was_reached
    assert 'mmav/models/ops/attention.py' in reached
    assert len(reached) <= MOST_FILES, sorted(reached)
