import pytest
import torch

from mmav.engine.memory.count import Shape, block_cost
from mmav.engine.memory.fake_gpu import fake_gpu
from mmav.models.layers import MultiscaleBlock, TransformerBlock

B, N, D = 4, 1024, 64


def shape(*size, dtype=torch.float32):
    strides = [1]
    for n in reversed(size[1:]):
        strides.insert(0, strides[0] * n)
    return Shape(size, tuple(strides), dtype, torch.device('cuda'), True)


def plain_block(level, dtype='bfloat16', **options):
    with fake_gpu():
        block = TransformerBlock(D, 2, **options).train()
        return block_cost(block, level, ((shape(B, N, D),), {}), dtype=dtype)


def test_a_plain_block_keeps_what_is_added_up_by_hand():
    """Bytes of a token and channel. Input and result are not counted; copies of weights in bfloat16 are."""
    weights = 2 * 12 * D * D
    small = 100 * 1024  # means and deviations, softmax's normalisers, biases
    tokens = B * N * D
    # queries, keys, values 6; attention's result 2; second residual 4; hidden layer 8
    lean = plain_block('lean')
    assert 0 <= lean.kept - (20 * tokens + weights) < small
    # besides: both norms, in float32 and bfloat16 (cast once for all) 2 + 2; GELU's result 8
    most = plain_block('all')
    assert 0 <= most.kept - (32 * tokens + weights) < small
    # nothing but its input
    assert plain_block('full').kept < small
    # attention's result
    assert 0 <= plain_block('attention').kept - 2 * tokens < small


def test_what_is_computed_again():
    plain, lean, full = (plain_block(level) for level in ('all', 'lean', 'full'))
    forward = B * (N * 12 * D * D + 2 * N * N * D)
    assert plain.macs == lean.macs == full.macs > 3 * forward  # the kernel of attention computes scores again by itself
    assert plain.again == lean.again == 0  # no product is
    assert full.again == forward - B * N * 4 * D * D  # all but the last one


def test_what_the_passes_take_at_most():
    for level in ('all', 'lean', 'attention', 'full'):
        cost = plain_block(level)
        assert cost.backward >= cost.kept and cost.forward >= cost.kept, level
    assert plain_block('full').backward < plain_block('all').backward


def test_autocasts_copies_of_weights_last_to_the_end_of_the_forward_pass():
    assert plain_block('full').cached >= 2 * 12 * D * D > plain_block('lean').cached
    assert plain_block('full', dtype='float32').cached == 0


@pytest.mark.parametrize('dtype', ['bfloat16', 'float32'])
def test_the_more_levels_forget_the_less_is_kept(dtype):
    with fake_gpu():
        block = MultiscaleBlock(
            32, 64, 2, q_stride=(2, 2), drop_path=0.1, grid=(32, 32), kv_stride=(4, 4), kernel=(3, 3)
        ).train()
        costs = [
            block_cost(block, level, ((shape(B, 1025, 32), (32, 32)), {}), dtype=dtype)
            for level in ('all', 'lean', 'attention', 'full')
        ]
    kept = [cost.kept for cost in costs]
    assert kept == sorted(kept, reverse=True) and kept[1] < 0.7 * kept[0] and kept[2] < 0.2 * kept[0]
    again = [cost.again for cost in costs]
    assert len({cost.macs for cost in costs}) == 1
    assert again == sorted(again) and again[0] == 0 < again[1] < 0.01 * costs[0].macs < again[3] < costs[0].macs / 2
    result, grid = costs[0].result
    assert result.size == (B, 257, 64) and grid == (16, 16)


def test_costs_are_those_of_the_gpus_kernels():
    """A V100 has no flash kernel: what was counted for an A100 is not remembered for it."""
    kept = []
    for capability in ((8, 0), (7, 0)):
        with fake_gpu(capability=capability):
            block = TransformerBlock(D, 2).train()
            kept.append(block_cost(block, 'all', ((shape(B, 65, D),), {}), dtype='float16').kept)
    assert kept[0] != kept[1]
