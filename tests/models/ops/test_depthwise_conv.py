import pytest
import torch
import torch.nn.functional as F

from mmav.models.ops.depthwise_conv import depthwise_conv

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
