"""What only a GPU can show; the same components are tested on the CPU elsewhere."""

import copy

import pytest
import torch

from mmav.registry import MODELS
from mmav.structures import AVDataSample

pytestmark = pytest.mark.gpu

ARCH = dict(embed_dims=16, num_layers=3, num_heads=1, stage_blocks=(1, 2))
MODEL = dict(
    type='AVClassifier',
    data_preprocessor=dict(type='AVDataPreprocessor', batch_augment=dict(type='MixupCutmix', num_classes=5)),
    backbones=dict(
        video=dict(type='MViTv2', arch=ARCH, input_size=(8, 64, 64)),
        audio=dict(type='MAT', arch=ARCH, input_size=(64, 128), q_strides=[(2, 2), (1, 2)]),
    ),
    neck=dict(type='AVBottleneck', embed_dims=64, num_blocks=2, num_heads=4),
    head=dict(type='ClsHead', num_classes=5),
)


def make_batch():
    generator = torch.Generator().manual_seed(0)
    return dict(
        inputs=dict(
            video=torch.randn(4, 2, 3, 8, 64, 64, generator=generator),
            audio=torch.randn(4, 1, 1, 64, 128, generator=generator),
        ),
        masks=dict(video=torch.tensor([True] * 4), audio=torch.tensor([True, False, True, True])),
        data_samples=[AVDataSample().set_gt_label(i) for i in range(4)],
    )


def test_folded_attention_on_the_gpu_equals_explicit_on_the_cpu():
    torch.manual_seed(0)
    on_cpu = MODELS.build(MODEL).eval()
    on_cpu.init_weights()
    on_gpu = copy.deepcopy(on_cpu).cuda()
    expected = on_cpu(**on_cpu.data_preprocessor(make_batch()))
    torch.testing.assert_close(on_gpu(**on_gpu.data_preprocessor(make_batch())).cpu(), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_training_step(dtype):
    torch.manual_seed(0)
    model = MODELS.build(MODEL).cuda()
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        torch.manual_seed(1)  # the same mixture each time, so that the loss must fall
        with torch.autocast('cuda', dtype, enabled=dtype != torch.float32):
            loss = model(**model.data_preprocessor(make_batch(), training=True), mode='loss')['loss_cls']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
