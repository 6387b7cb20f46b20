"""The kernels run on the CPU by Triton's interpreter; on a GPU, at the paper's sizes, where there is one."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip('triton')
from mmav.engine.activation_checkpointing import _ATTENTION
from mmav.errors import ConfigError
from mmav.models.layers import MultiscaleAttention
from mmav.models.ops import triton_launch
from mmav.models.ops.attention import attend
from mmav.models.ops.triton_attention import triton_attention

# (queries, keys, width of a head)
CASES = [
    ((5,), (3,), 32),
    ((3,), (7,), 96),
    ((20,), (20,), 64),
    ((1,), (40,), 48),
    ((40,), (1,), 32),
    ((7,), (3,), 128),
    ((4, 6), (2, 3), 32),
    ((4, 6), (4, 6), 96),
    ((2, 3), (4, 9), 64),
    ((5, 7), (3, 4), 48),
    ((3, 4), (5, 7), 96),
    ((1, 30), (1, 7), 128),
    ((4, 5), (1, 1), 96),
    ((3, 3), (2, 20), 80),
    ((2, 5), (2, 33), 32),
    ((6, 3), (17, 2), 64),
    ((2, 3), (3, 16), 40),
    ((2, 4, 3), (2, 2, 3), 32),
    ((2, 3, 3), (2, 3, 3), 96),
    ((1, 5, 4), (1, 3, 2), 64),
    ((3, 2, 2), (2, 4, 5), 128),
    ((2, 3, 5), (3, 2, 4), 48),
    ((2, 2, 2), (5, 1, 2), 96),
    ((2, 4, 2), (1, 2, 1), 16),
    ((1, 1, 1), (2, 3, 4), 8),
    ((4, 3, 3), (2, 1, 18), 96),
]
MAT_BLOCK_2 = ((4, 32), (8, 64), 96)  # a quarter of queries 16x128 and keys 32x256


@pytest.fixture(autouse=True)
def _interpreted(request, monkeypatch):
    if request.node.get_closest_marker('gpu') is None:
        monkeypatch.setenv('TRITON_INTERPRET', '1')


@pytest.fixture
def small_blocks(monkeypatch):
    """Many tiles, and ragged ones, in small inputs."""
    monkeypatch.setattr(triton_launch, 'choose_blocks', lambda *_, **__: triton_launch.Blocks(16, 16, 4, 2))


def draw(q_grid, k_grid, dim, *, batch=1, heads=2, num_cls=1, tables=True, dtype=torch.float32, device='cpu'):
    """q, k, v, the tables and the class token's, as arguments of both forms."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        values = torch.randn(shape, generator=generator).to(dtype).to(device)
        return values.requires_grad_()

    lengths = math.prod(q_grid), math.prod(k_grid), math.prod(k_grid)
    q, k, v = (normal(batch, length, heads, dim) for length in lengths)
    sizes = [2 * max(pair) - 1 for pair in zip(q_grid, k_grid, strict=True)] if tables else []
    of_axes = [normal(size, dim) for size in sizes]
    classes = tuple(normal(batch, 1, heads, dim) for _ in range(3)) if num_cls else ()
    return q, k, v, of_axes, classes


def leaves_of(drawn):
    q, k, v, tables, classes = drawn
    return [q, k, v, *tables, *classes]


def ours(drawn, q_grid, k_grid, residual):
    q, k, v, tables, classes = drawn
    return triton_attention(q, k, v, tables, (q_grid, k_grid), classes=classes, residual=residual)


def explicit(drawn, q_grid, k_grid, residual):
    q, k, v, tables, classes = drawn
    return attend(q, k, v, tables, (q_grid, k_grid), classes=classes, residual=residual, form='explicit')


def seed_of(out):
    return torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)


def gradients(out, drawn):
    return torch.autograd.grad(out, leaves_of(drawn), seed_of(out))


def in_float64(drawn):
    q, k, v, *rest = (x.detach().double().requires_grad_() for x in leaves_of(drawn))
    count = len(drawn[3])
    return q, k, v, rest[:count], tuple(rest[count:])


def distance(a, b, least=0.0):
    """Relative to the norm of b, which can be zero where there is a least one to take in its place."""
    b = b.detach().double()
    return float((a.detach().double() - b).norm() / max(b.norm(), least))


def assert_exact(drawn, q_grid, k_grid, residual):
    """Values and gradients in float32 are those of the explicit form in float64, to 1e-5."""
    reference = in_float64(drawn)
    out, expected = ours(drawn, q_grid, k_grid, residual), explicit(reference, q_grid, k_grid, residual)
    torch.testing.assert_close(out.double(), expected, atol=1e-5, rtol=1e-5)
    # of no key but one the probability is 1, and there are gradients of zero
    least = seed_of(expected).norm()
    for own, other in zip(gradients(out, drawn), gradients(expected, reference), strict=True):
        assert distance(own, other, least) < 1e-5


def assert_as_exact_as_explicit(drawn, q_grid, k_grid, residual):
    """In a half type the form is at most twice as far from float64 as the explicit form in that type."""
    outs = [form(drawn, q_grid, k_grid, residual) for form in (ours, explicit)]
    reference = in_float64(drawn)
    expected = explicit(reference, q_grid, k_grid, residual)
    assert distance(outs[0], expected) < 2 * distance(outs[1], expected)
    of_forms = [gradients(out, drawn) for out in outs]
    for own, other, exact in zip(*of_forms, gradients(expected, reference), strict=True):
        assert own.dtype == other.dtype
        assert distance(own, exact) < 2 * distance(other, exact)


@pytest.mark.usefixtures('small_blocks')
@pytest.mark.parametrize('number', range(len(CASES)), ids=[str(case) for case in CASES])
def test_values_and_gradients_equal_the_explicit_form(number):
    q_grid, k_grid, dim = CASES[number]
    options = dict(batch=1 + number % 3 // 2, heads=1 + number % 2, num_cls=number // 2 % 2)
    drawn = draw(q_grid, k_grid, dim, **options)
    residual = number % 3 > 0
    assert_exact(drawn, q_grid, k_grid, residual)


@pytest.mark.usefixtures('small_blocks')
@pytest.mark.parametrize(('q_grid', 'k_grid', 'dim'), CASES[1::8])
def test_without_relative_positions(q_grid, k_grid, dim):
    drawn = draw(q_grid, k_grid, dim, tables=False)
    assert_exact(drawn, q_grid, k_grid, True)


def test_block_2_of_mat_in_a_reduced_grid():
    """With the tiles that a GPU gets."""
    q_grid, k_grid, dim = MAT_BLOCK_2
    drawn = draw(q_grid, k_grid, dim, heads=1)
    assert_exact(drawn, q_grid, k_grid, True)


@pytest.mark.usefixtures('small_blocks')
def test_gradients_by_finite_differences():
    q_grid, k_grid = (2, 3, 2), (2, 2, 3)
    drawn = draw(q_grid, k_grid, 32)
    leaves = leaves_of(drawn)
    out = ours(drawn, q_grid, k_grid, True)
    seed = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    generator, step = torch.Generator().manual_seed(2), 1e-2
    for leaf, grad in zip(leaves, torch.autograd.grad(out, leaves, seed), strict=True):
        direction = torch.randn(leaf.shape, generator=generator)
        direction /= direction.norm()
        with torch.no_grad():
            ends = []
            for sign in (1, -1):
                leaf += sign * step * direction
                ends.append((ours(drawn, q_grid, k_grid, True).double() * seed).sum())
                leaf -= sign * step * direction
        numeric = (ends[0] - ends[1]) / (2 * step)
        assert abs(float((grad * direction).sum()) - float(numeric)) < 2e-3 * float(grad.norm())


@pytest.mark.usefixtures('small_blocks')
@pytest.mark.parametrize(
    ('number', 'dtype'), [(7, torch.float16), (13, torch.bfloat16), (20, torch.float16), (20, torch.bfloat16)]
)
def test_half_types_are_as_exact_as_the_explicit_form(number, dtype):
    q_grid, k_grid, dim = CASES[number]
    assert_as_exact_as_explicit(draw(q_grid, k_grid, dim, dtype=dtype), q_grid, k_grid, True)


@pytest.mark.usefixtures('small_blocks')
def test_two_runs_give_equal_bits():
    q_grid, k_grid = (5, 7), (3, 4)
    drawn = draw(q_grid, k_grid, 48)
    first, second = (ours(drawn, q_grid, k_grid, True) for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(*pair) for pair in zip(gradients(first, drawn), gradients(second, drawn), strict=True))


@pytest.mark.usefixtures('small_blocks')
def test_tokens_that_lie_between_others():
    """As slices of wider rows, and with the gradient of a sum, which is one number for all."""
    q_grid, k_grid = (3, 4), (5, 7)
    drawn = draw(q_grid, k_grid, 32)
    generator = torch.Generator().manual_seed(3)
    apart = [torch.randn(1, x.shape[1], 2, 70, generator=generator)[..., 3:35] for x in drawn[:3]]
    drawn = (*(x.requires_grad_() for x in apart), *drawn[3:])
    grads = [
        torch.autograd.grad(form(drawn, q_grid, k_grid, False).sum(), leaves_of(drawn)) for form in (ours, explicit)
    ]
    for own, other in zip(*grads, strict=True):
        torch.testing.assert_close(own, other, atol=2e-5, rtol=1e-4)


@pytest.mark.usefixtures('small_blocks')
def test_autocast_decides_the_type():
    q_grid, k_grid = (3, 4), (2, 3)
    drawn = draw(q_grid, k_grid, 32)
    with torch.autocast('cpu', torch.bfloat16):
        out = ours(drawn, q_grid, k_grid, True)
    assert out.dtype == torch.bfloat16
    assert distance(out, explicit(drawn, q_grid, k_grid, True)) < 1.5e-2
    assert all(grad.dtype == torch.float32 for grad in gradients(out, drawn))


def test_no_clips():
    drawn = draw((3, 4), (2, 3), 32, batch=0)
    out = ours(drawn, (3, 4), (2, 3), True)
    assert out.shape == (0, 13, 2, 32)
    assert all(not grad.any() for grad in gradients(out, drawn))


@pytest.mark.usefixtures('small_blocks')
def test_the_operator_behaves_as_pytorch_asks():
    """Schema, gradients, and that stand-ins have the shapes and strides of the real results."""
    q_grid, k_grid = (2, 3), (2, 2)
    q, k, v, tables, classes = draw(q_grid, k_grid, 16)
    arguments = (q, k, v, *classes, tables, list(q_grid), list(k_grid), True)
    tests = ('test_schema', 'test_autograd_registration', 'test_faketensor')
    torch.library.opcheck(torch.ops.mmav.pooled_attention, arguments, test_utils=tests)
    torch.library.opcheck(torch.ops.mmav.pooled_attention, (q, k, v, *[None] * 3, *arguments[6:]), test_utils=tests)
    arguments = tuple(x.detach() if isinstance(x, torch.Tensor) else x for x in arguments)
    arguments = (*arguments[:6], [table.detach() for table in tables], *arguments[7:])
    out, lse = torch.ops.mmav.pooled_attention(*arguments)
    backward = torch.ops.mmav.pooled_attention_backward
    torch.library.opcheck(backward, (torch.randn_like(out), *arguments, out, lse), test_utils=(tests[0], tests[2]))


def test_what_is_kept_between_the_passes():
    """On stand-ins of GPU tensors: the arguments, the result and one number a row."""
    q_grid, k_grid, dim = (8, 28, 28), (8, 7, 7), 96
    kept = {}

    def keep(x):
        kept[id(x.untyped_storage())] = x.untyped_storage().nbytes()
        return x

    with FakeTensorMode(), torch.device('cuda'):
        lengths = math.prod(q_grid), math.prod(k_grid), math.prod(k_grid)
        q, k, v = (torch.empty(2, n, 2, dim, dtype=torch.bfloat16, requires_grad=True) for n in lengths)
        tables = [torch.empty(2 * max(pair) - 1, dim, requires_grad=True) for pair in zip(q_grid, k_grid, strict=True)]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            out = triton_attention(q, k, v, tables, (q_grid, k_grid), residual=True)
        sizes = [x.untyped_storage().nbytes() for x in (q, k, v, *tables, out)]
        assert sum(kept.values()) == sum(sizes) + 4 * 2 * 2 * lengths[0]


@pytest.mark.usefixtures('small_blocks')
@pytest.mark.parametrize('keep_attention', [False, True])
def test_selective_checkpointing_computes_it_once(keep_attention, monkeypatch):
    q_grid, k_grid = (3, 4), (2, 3)
    drawn = draw(q_grid, k_grid, 16)
    calls, load = [], triton_launch.load_kernel
    monkeypatch.setattr(triton_launch, 'load_kernel', lambda name: calls.append(name) or load(name))

    def block(q):
        return ours((q * 2, *drawn[1:]), q_grid, k_grid, True).sin()

    operators = list(_ATTENTION) if keep_attention else []
    contexts = lambda: create_selective_checkpoint_contexts(operators)  # noqa: E731
    out = checkpoint(block, drawn[0], use_reentrant=False, context_fn=contexts)
    grads = gradients(out, drawn)
    assert calls.count('attention_forward') == 2 - keep_attention
    for own, other in zip(grads, gradients(block(drawn[0]), drawn), strict=True):
        assert torch.equal(own, other)


def test_operations_are_counted():
    """As those of the explicit form; in the backward pass scores and bias once more."""
    q_grid, k_grid = (2, 3, 4), (2, 2, 2)
    counted = {}
    for form in (ours, explicit):
        with FakeTensorMode():
            drawn = draw(q_grid, k_grid, 32, batch=2)
            with FlopCounterMode(display=False) as forward:
                out = form(drawn, q_grid, k_grid, True)
            with FlopCounterMode(display=False) as backward:
                torch.autograd.grad(out.sum(), leaves_of(drawn))
        counted[form] = forward.get_total_flops(), backward.get_total_flops()
    product, bias = 2 * 2 * 2 * 32 * 25 * 9, 2 * 2 * 2 * 32 * 24 * sum(k_grid)
    assert counted[explicit] == (2 * product + bias, 4 * product + 2 * bias)
    assert counted[ours] == (2 * product + bias, 5 * product + 3 * bias)


@pytest.mark.usefixtures('small_blocks')
def test_it_is_a_form_of_the_layer():
    torch.manual_seed(0)
    sizes = dict(grid=(4, 6), q_stride=(2, 1), kv_stride=(2, 2), kernel=(3, 3))
    layers = [MultiscaleAttention(8, 32, 2, **sizes, attention=form) for form in ('triton', 'explicit')]
    for table in layers[1].rel_pos.tables:
        torch.nn.init.normal_(table)
    layers[0].load_state_dict(layers[1].state_dict())
    outs = [layer(torch.ones(2, 25, 8).cumsum(1), (4, 6))[0] for layer in layers]
    torch.testing.assert_close(*outs)
    grads = [
        torch.autograd.grad(out.square().sum(), layer.parameters()) for out, layer in zip(outs, layers, strict=True)
    ]
    for own, other in zip(*grads, strict=True):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures('small_blocks')
def test_compilers_leave_it_as_it_is():
    q_grid, k_grid = (2, 3), (2, 2)
    drawn = draw(q_grid, k_grid, 16)

    def around(q):
        return ours((q * 2, *drawn[1:]), q_grid, k_grid, True).sin()

    outs = [form(drawn[0]) for form in (around, torch.compile(around, backend='aot_eager', fullgraph=True))]
    assert torch.equal(*outs)
    assert all(torch.equal(*pair) for pair in zip(*(gradients(out, drawn) for out in outs), strict=True))


def test_there_is_no_second_derivative():
    drawn = draw((3,), (2,), 16)
    (grad,) = torch.autograd.grad(ours(drawn, (3,), (2,), True).sum(), drawn[0], create_graph=True)
    with pytest.raises(RuntimeError, match='pooled_attention_backward'):
        grad.sum().backward()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(dtype=torch.float64), 'takes float32, float16 or bfloat16, one for all, not float64'),
        (dict(dim=160), 'takes heads of a width up to 128, not 160'),
        (dict(k_grid=(2, 1, 2, 1)), 'up to 3 axes.*not \\(2, 1, 2, 1\\)'),
        (dict(k_grid=(600, 1)), 'at most 512 long together'),
    ],
)
def test_what_the_kernels_do_not_take_is_refused(change, message):
    given = dict(k_grid=(2, 2), dim=32) | change
    drawn = draw(given['k_grid'], **given)
    with pytest.raises(ConfigError, match=message):
        ours(drawn, given['k_grid'], given['k_grid'], True)


def test_wrong_arguments_are_refused(monkeypatch):
    q, k, v, tables, _ = draw((3,), (2,), 32)
    with pytest.raises(ConfigError, match='3 queries and 2 keys are not the grids \\(4,\\) and \\(2,\\)'):
        triton_attention(q, k, v, tables, ((4,), (2,)))
    with pytest.raises(ConfigError, match=r'tables of shapes \[\(3, 32\)\] are given, but .* need \[\(5, 32\)\]'):
        triton_attention(q, k, v, [tables[0][:3]], ((3,), (2,)))
    with pytest.raises(ConfigError, match=r'shapes \(1, 3, 2, 32\), \(1, 2, 2, 32\), \(1, 2, 1, 32\) do not belong'):
        triton_attention(q, k, v[:, :, :1], tables, ((3,), (2,)))
    with pytest.raises(ConfigError, match='one for all, not bfloat16 and float32'):
        triton_attention(q, k.bfloat16(), v, tables, ((3,), (2,)))
    monkeypatch.setenv('TRITON_INTERPRET', '0')
    with pytest.raises(ConfigError, match='tensors on a GPU, not on cpu'):
        triton_attention(q, k, v, tables, ((3,), (2,)))


# blocks of MViTv2-B and MAT: (queries, keys, heads), each head 96 wide
PAPER = [
    ((8, 56, 56), (8, 7, 7), 1),
    ((8, 28, 28), (8, 14, 14), 2),
    ((8, 14, 14), (8, 7, 7), 4),
    ((8, 7, 7), (8, 7, 7), 8),
    ((32, 256), (8, 64), 1),
    ((16, 128), (32, 256), 2),
    ((16, 128), (16, 128), 2),
]


@pytest.fixture
def _without_tf32():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.gpu
@pytest.mark.usefixtures('_without_tf32')
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('num_cls', [0, 1])
@pytest.mark.parametrize(('q_grid', 'k_grid', 'heads'), PAPER)
def test_at_the_papers_sizes(q_grid, k_grid, heads, num_cls, dtype):
    drawn = draw(q_grid, k_grid, 96, heads=heads, num_cls=num_cls, dtype=dtype, device='cuda')
    check = assert_exact if dtype == torch.float32 else assert_as_exact_as_explicit
    check(drawn, q_grid, k_grid, True)
    first, second = (ours(drawn, q_grid, k_grid, True) for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(*pair) for pair in zip(gradients(first, drawn), gradients(second, drawn), strict=True))


@pytest.mark.gpu
@pytest.mark.usefixtures('_without_tf32')
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('number', range(len(CASES)), ids=[str(case) for case in CASES])
def test_compiled_for_every_shape(number, dtype):
    q_grid, k_grid, dim = CASES[number]
    drawn = draw(q_grid, k_grid, dim, batch=2, dtype=dtype, device='cuda')
    check = assert_exact if dtype == torch.float32 else assert_as_exact_as_explicit
    check(drawn, q_grid, k_grid, True)
