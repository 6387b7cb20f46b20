import pytest
import torch
import torch.nn.functional as F

from mmav.models.layers import TokenPool
from mmav.models.layers.pooling import depthwise_conv_by_planes, max_pool_tokens, pooled_grid, to_tuple


@pytest.mark.parametrize(('grid', 'stride'), [((7,), (2,)), ((5, 8), (1, 2)), ((4, 5, 6), (2, 1, 2))])
@pytest.mark.parametrize('num_cls', [0, 1])
def test_token_pool_convolves_each_head_alike(grid, stride, num_cls):
    torch.manual_seed(0)
    rank, n = len(grid), torch.Size(grid).numel()
    pool = TokenPool(4, (3,) * rank, stride)
    x = torch.randn(2, 3, num_cls + n, 4)
    out = pool(x, grid)
    conv = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    for head in range(3):
        patches = x[:, head, num_cls:].transpose(1, 2).reshape(2, 4, *grid)
        expected = conv(patches, pool.conv.weight, stride=stride, padding=1, groups=4)
        assert expected.shape[2:] == pool.out_grid(grid)
        expected = torch.cat((x[:, head, :num_cls], expected.flatten(2).transpose(1, 2)), dim=1)
        torch.testing.assert_close(out[:, head], F.layer_norm(expected, (4,), eps=1e-6))


@pytest.mark.parametrize('stride', [(1, 1, 1), (1, 2, 2), (2, 1, 3), (3, 2, 1), (8, 8, 8)])
@pytest.mark.parametrize('kernel', [(3, 3, 3), (1, 3, 3), (5, 3, 1)])
@pytest.mark.parametrize('frames', [1, 2, 7])
def test_planes_equal_the_3d_convolution(stride, kernel, frames):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, frames, 5, 6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 1, *kernel, generator=generator, dtype=torch.float64, requires_grad=True)
    out = depthwise_conv_by_planes(x, weight, stride)
    padding = [k // 2 for k in kernel]
    expected = F.conv3d(x.movedim(-1, 1), weight, None, stride, padding, groups=4).movedim(1, -1)
    torch.testing.assert_close(out, expected)
    seed = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(out, (x, weight), seed), torch.autograd.grad(expected, (x, weight), seed), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_training_and_inference_pool_alike():
    pool = TokenPool(4, (3, 3, 3), (1, 1, 1))
    x = torch.randn(2, 3, 1 + 40, 4)
    with torch.no_grad():
        inference = pool(x, (2, 4, 5))
    torch.testing.assert_close(pool(x, (2, 4, 5)), inference)


@pytest.mark.parametrize('grid', [(7,), (5, 8), (4, 5, 6)])
def test_gradient_has_the_strides_of_the_weight(grid):
    # otherwise DistributedDataParallel warns and copies
    pool = TokenPool(4, (3,) * len(grid), (1,) * len(grid))
    pool(torch.randn(2, 3, 1 + torch.Size(grid).numel(), 4), grid).sum().backward()
    assert pool.conv.weight.grad.stride() == pool.conv.weight.stride()


def test_max_pool_leaves_the_class_token():
    x = torch.randn(2, 1 + 24, 3)
    assert max_pool_tokens(x, (4, 6), (1, 1)) is x
    out = max_pool_tokens(x, (4, 6), (2, 1))
    patches = x[:, 1:].transpose(1, 2).reshape(2, 3, 4, 6)
    expected = F.max_pool2d(patches, (3, 1), (2, 1), (1, 0)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(out, torch.cat((x[:, :1], expected), dim=1))
    torch.testing.assert_close(max_pool_tokens(x[:, 1:], (4, 6), (2, 1)), expected)


def test_pooled_grid_equals_the_convolution():
    for n in range(1, 12):
        for stride in (1, 2, 4, 8):
            out = F.conv1d(torch.zeros(1, 1, n), torch.zeros(1, 1, 3), stride=stride, padding=1)
            assert pooled_grid((n,), (stride,), (3,)) == tuple(out.shape[2:])


def test_to_tuple_names_the_argument():
    with pytest.raises(ValueError, match=r'stride=\(1, 2\) has 2 entries, but the grid has 3 axes'):
        to_tuple((1, 2), 3, 'stride')
