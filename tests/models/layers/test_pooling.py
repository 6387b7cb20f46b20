import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmav.models.layers import TokenPool
from mmav.models.layers.pooling import depthwise_conv, max_pool_tokens, pooled_grid
from mmav.models.ops.lean import lean


@pytest.mark.parametrize(('grid', 'stride'), [((7,), (2,)), ((5, 8), (1, 2)), ((4, 5, 6), (2, 1, 2))])
@pytest.mark.parametrize('num_cls', [0, 1])
def test_token_pool_convolves_each_head_alike(grid, stride, num_cls):
    torch.manual_seed(0)
    rank, n = len(grid), torch.Size(grid).numel()
    pool = TokenPool(4, (3,) * rank, stride)
    x = torch.randn(2, num_cls + n, 3, 4)
    cls, out = pool(x.flatten(2), grid)
    conv = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    for head in range(3):
        patches = x[:, num_cls:, head].transpose(1, 2).reshape(2, 4, *grid)
        expected = conv(patches, pool.conv.weight, stride=stride, padding=1, groups=4)
        assert expected.shape[2:] == pool.out_grid(grid)
        expected = expected.flatten(2).transpose(1, 2)
        torch.testing.assert_close(out[:, :, head], F.layer_norm(expected, (4,), eps=1e-6))
    if num_cls:
        torch.testing.assert_close(cls, F.layer_norm(x[:, :1], (4,), eps=1e-6))
    else:
        assert cls is None


@pytest.mark.parametrize('grid', [(7,), (5, 8), (4, 5, 6)])
def test_gradient_has_the_strides_of_the_weight(grid):
    # otherwise DistributedDataParallel warns and copies
    pool = TokenPool(4, (3,) * len(grid), (1,) * len(grid))
    cls, out = pool(torch.randn(2, 1 + torch.Size(grid).numel(), 12), grid)
    (cls.sum() + out.sum()).backward()
    assert pool.conv.weight.grad.stride() == pool.conv.weight.stride()


def test_max_pool_leaves_the_class_token():
    x = torch.randn(2, 1 + 24, 3)
    assert max_pool_tokens(x, (4, 6), (1, 1)) is x
    out = max_pool_tokens(x, (4, 6), (2, 1))
    patches = x[:, 1:].transpose(1, 2).reshape(2, 3, 4, 6)
    expected = F.max_pool2d(patches, (3, 1), (2, 1), (1, 0)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(out, torch.cat((x[:, :1], expected), dim=1))
    torch.testing.assert_close(max_pool_tokens(x[:, 1:], (4, 6), (2, 1)), expected)


@pytest.mark.parametrize('grid', [(9,), (4, 7), (4, 7, 6)])
def test_max_pool_equals_pytorchs_on_any_grid(grid):
    x = torch.randn(2, torch.Size(grid).numel(), 3, requires_grad=True)
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(grid) - 1]
    for stride in {(1,) * (len(grid) - 1) + (2,), (2,) * len(grid)}:
        kernel = [s + 1 if s > 1 else 1 for s in stride]
        padding = [k // 2 for k in kernel]
        expected = pool(x.transpose(1, 2).reshape(2, 3, *grid), kernel, stride, padding).flatten(2).transpose(1, 2)
        out = max_pool_tokens(x, grid, stride)
        torch.testing.assert_close(out, expected)
        seed = torch.randn(out.shape)
        torch.testing.assert_close(torch.autograd.grad(out, x, seed), torch.autograd.grad(expected, x, seed))


@pytest.mark.parametrize(
    ('grid', 'stride'), [((9,), (2,)), ((4, 6), (2, 2)), ((4, 3, 2), (2, 2, 1)), ((4, 3, 2), (1, 2, 1))]
)
def test_lean_pooling_is_in_the_same_numbers(grid, stride):
    x = torch.randn(2, torch.Size(grid).numel(), 4, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        plain = max_pool_tokens(x, grid, stride)
        with lean():
            spared = max_pool_tokens(x, grid, stride)
    assert spared.dtype == plain.dtype and torch.equal(spared, plain)
    seed = torch.randn(plain.shape).to(plain.dtype)
    assert torch.equal(*(torch.autograd.grad(out, x, seed)[0] for out in (plain, spared)))


def test_pooled_grid_equals_the_convolution():
    for n in range(1, 12):
        for stride in (1, 2, 4, 8):
            out = F.conv1d(torch.zeros(1, 1, n), torch.zeros(1, 1, 3), stride=stride, padding=1)
            assert pooled_grid((n,), (stride,), (3,)) == tuple(out.shape[2:])


FUNCTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def check(grid, stride, kernel):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, *grid, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 1, *kernel, generator=generator, dtype=torch.float64, requires_grad=True)
    out = depthwise_conv(x, weight, stride)
    padding = [k // 2 for k in kernel]
    expected = FUNCTIONS[len(grid)](x.movedim(-1, 1), weight, None, stride, padding, groups=4).movedim(1, -1)
    torch.testing.assert_close(out, expected)
    with torch.no_grad():
        torch.testing.assert_close(depthwise_conv(x, weight, stride), expected)
    seed = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(out, (x, weight), seed), torch.autograd.grad(expected, (x, weight), seed), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('stride', [(1, 1, 1), (1, 2, 2), (2, 1, 3), (3, 2, 1), (8, 8, 8)])
@pytest.mark.parametrize('kernel', [(3, 3, 3), (1, 3, 3), (5, 3, 1)])
@pytest.mark.parametrize('frames', [1, 2, 7])
def test_gradients_by_planes_equal_those_of_the_3d_convolution(stride, kernel, frames):
    check((frames, 5, 6), stride, kernel)


@pytest.mark.parametrize(('grid', 'stride', 'kernel'), [((9,), (2,), (3,)), ((5, 6), (1, 2), (3, 5))])
def test_one_and_two_axes(grid, stride, kernel):
    check(grid, stride, kernel)


@pytest.mark.parametrize(
    ('grid', 'stride'), [((4, 2), (4, 4)), ((3, 1), (2, 2)), ((2, 3, 2), (1, 4, 4)), ((1,), (4,)), ((7, 7), (8, 8))]
)
def test_gradients_in_bfloat16_are_those_of_the_kernel(grid, stride):
    """oneDNN's kernel for AVX-512 left some of them to whatever had been in memory before."""
    garbage = [torch.full((size,), torch.nan) for size in (64, 256, 1024, 4096, 16384) for _ in range(8)]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, *grid, 8, generator=generator, requires_grad=True)
    weight = torch.randn(8, 1, *[3] * len(grid), generator=generator, requires_grad=True)
    del garbage
    with torch.autocast('cpu', torch.bfloat16):
        out = depthwise_conv(x, weight, stride)
    assert out.dtype == torch.bfloat16
    expected = torch.autograd.grad(depthwise_conv(x, weight, stride).sum(), (x, weight))
    for ours, exact in zip(torch.autograd.grad(out.sum(), (x, weight)), expected, strict=True):
        torch.testing.assert_close(ours, exact, atol=0.01, rtol=0.01)


def test_half_types_of_autocast():
    x = torch.randn(1, 2, 5, 6, 4, requires_grad=True)
    weight = torch.randn(4, 1, 3, 3, 3, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        out = depthwise_conv(x, weight, (1, 1, 1))
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert x.grad.dtype == weight.grad.dtype == torch.float32
    expected = torch.autograd.grad(depthwise_conv(x, weight, (1, 1, 1)).sum(), weight)[0]
    torch.testing.assert_close(weight.grad, expected, atol=0.3, rtol=0.03)


def results(pool, x, grid, *, half=False):
    pool.zero_grad()
    x = x.clone().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        cls, out = pool(x, grid)
    torch.autograd.backward(
        [cls, out], [torch.ones_like(cls), torch.cos(torch.arange(out.numel())).view_as(out).to(out)]
    )
    return cls, out, x.grad, pool.conv[0].weight.grad if isinstance(pool.conv, nn.Sequential) else pool.conv.weight.grad


@pytest.mark.parametrize(('grid', 'stride'), [((7,), (2,)), ((5, 8), (1, 2)), ((4, 5, 6), (2, 1, 2))])
@pytest.mark.parametrize('kind', ['float32', 'autocast', 'bfloat16'])
def test_a_wrapped_convolution_computes_the_same(grid, stride, kind):
    torch.manual_seed(0)
    plain = TokenPool(4, (3,) * len(grid), stride)
    x = torch.randn(2, 1 + torch.Size(grid).numel(), 12)
    if kind == 'bfloat16':
        plain, x = plain.bfloat16(), x.bfloat16()
    wrapped = copy.deepcopy(plain)
    wrapped.conv = nn.Sequential(wrapped.conv)
    expected, found = (results(pool, x, grid, half=kind == 'autocast') for pool in (plain, wrapped))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        tolerance = 1e-5 if kind == 'float32' else 0.02 * float(other.detach().abs().max())
        torch.testing.assert_close(one, other, atol=tolerance, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(wrapped(x, grid)[1], plain(x, grid)[1])


@pytest.mark.parametrize(
    'options', [dict(bias=True), dict(groups=1), dict(padding_mode='circular'), dict(dilation=2, padding=2)]
)
def test_another_convolution_of_the_same_type_is_called(options):
    pool, x = TokenPool(4, (3, 3), (1, 2)), torch.randn(2, 40, 12)
    pool.conv = nn.Conv2d(4, 4, 3, **dict(stride=(1, 2), padding=1, groups=4, bias=False) | options)
    images = x.unflatten(2, (3, 4)).permute(0, 2, 3, 1).reshape(6, 4, 5, 8)
    expected = pool.norm(pool.conv(images).reshape(2, 3, 4, 20).permute(0, 3, 1, 2))
    torch.testing.assert_close(pool(x, (5, 8))[1], expected)
