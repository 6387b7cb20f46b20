import pytest
import torch

from mmav.models import MAT
from mmav.models.backbones.mvit import resolve_arch


def test_base_is_table_1():
    with torch.device('meta'):
        model = MAT()
    # paper: 52 M with its classifier of 309 or 397 classes; 51.0 M without, computed from the architecture
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(51.0e6, rel=0.01)
    seen = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, args, out: seen.append((out[1], out[0].shape[-1])))
    model(torch.zeros(1, 1, 128, 1024, device='meta'))
    table_1 = [((32, 256), 96)] * 2 + [((16, 128), 192)] * 3 + [((8, 64), 384)] * 16 + [((8, 32), 768)] * 3
    assert seen == table_1
    assert model.blocks[0].attn.pool_k.stride == (2, 2)
    assert all(b.attn.pool_k.stride == (1, 1) for b in model.blocks[2:])
    assert all(b.attn.qkv.out_features // 3 // b.attn.num_heads == 96 for b in model.blocks)


@pytest.mark.parametrize('frames', [100, 1024, 1500])
def test_any_length_of_sound(frames):
    arch = dict(embed_dims=8, num_layers=3, num_heads=1, stage_blocks=(1, 2))
    model = MAT(arch, input_size=(64, 128), q_strides=[(2, 2), (1, 2)]).eval()
    tokens = model(torch.randn(1, 1, 64, frames))
    assert tokens.patches.shape[1] == tokens.grid[0] * tokens.grid[1]
    assert tokens.grid[0] == 8
    assert tokens.cls.isfinite().all()


# Table 1 with two blocks in its third stage in place of 16, which all have the same shapes
SHORT = dict(resolve_arch('base'), num_layers=10, stage_blocks=(2, 5, 7))


@pytest.mark.parametrize(
    ('arch', 'size', 'grid'),
    [('base', (64, 128), (4, 4)), (SHORT, (128, 1024), (8, 32))],
    ids=['paper depth', 'paper size'],
)
def test_forward_and_backward(arch, size, grid):
    model = MAT(arch, drop_path_rate=0.1)
    model.init_weights()
    tokens = model(torch.randn(1, 1, *size))
    assert tokens.grid == grid
    (tokens.cls.square().mean() + tokens.patches.square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
