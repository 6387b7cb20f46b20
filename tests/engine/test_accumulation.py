"""What ``optim_wrapper.accumulative_counts`` means; docs/training.md states it."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from torch import nn

from mmav.engine import AutocastOptimWrapper
from mmav.models import AVClassifier
from mmav.structures import AVDataSample
from tests import toys

ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
CLIPS, K = 12, 3


def make_model(contrast=None):
    init_default_scope('mmav')
    torch.manual_seed(0)
    backbones = dict(
        video=dict(type='MViTv2', arch=ARCH, input_size=(4, 16, 16)),
        audio=dict(type='AST', input_size=(32, 32), embed_dims=16, num_layers=1, num_heads=2),
    )
    neck = dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_heads=2)
    model = AVClassifier(backbones, neck, dict(type='ClsHead', num_classes=3), contrast=contrast).double().train()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def clips(start, number):
    generator = torch.Generator().manual_seed(1)
    inputs = dict(
        video=torch.randn(CLIPS, 1, 3, 4, 16, 16, generator=generator, dtype=torch.float64),
        audio=torch.randn(CLIPS, 1, 1, 32, 32, generator=generator, dtype=torch.float64),
    )
    samples = [AVDataSample().set_gt_label(i % 3) for i in range(CLIPS)]
    part = slice(start, start + number)
    return dict(inputs={name: x[part] for name, x in inputs.items()}, data_samples=samples[part])


def train(model, batch_size, counts, total=CLIPS, wrapper=OptimWrapper):
    """One pass over the clips; the parameters after it, and how many steps the optimizer took."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    steps = []
    optimizer.register_step_post_hook(lambda *args: steps.append(1))
    wrapper = wrapper(optimizer=optimizer, accumulative_counts=counts, clip_grad=dict(max_norm=1.0))
    wrapper.initialize_count_status(model, 0, -(-total // batch_size))
    for start in range(0, total, batch_size):
        with wrapper.optim_context(model):
            losses = model(**clips(start, min(batch_size, total - start)), mode='loss')
        wrapper.update_params(sum(losses.values()))
    return dict(model.state_dict()), len(steps)


def test_classification_as_with_one_large_batch():
    """Two steps of 3 batches of 2 clips are two steps of 6 clips, with clipping and momentum."""
    small, large = make_model(), make_model()
    start = {name: value.clone() for name, value in small.state_dict().items()}
    one, steps = train(small, 2, K)
    two, steps_of_large = train(large, 2 * K, 1)
    assert steps == steps_of_large == 2
    torch.testing.assert_close(one, two, rtol=0, atol=1e-10)
    assert not torch.allclose(one['head.fcs.fused.weight'], start['head.fcs.fused.weight'])
    without, _ = train(make_model(), 2, 1)
    assert not torch.allclose(without['head.fcs.fused.weight'], one['head.fcs.fused.weight'], atol=1e-4)


def test_last_incomplete_cycle_is_a_step_of_its_own():
    """5 batches of 2 clips in cycles of 3: a step of 6 clips, then one of 4, whose mean is over these 4."""
    accumulated, steps = train(make_model(), 2, K, total=10)
    assert steps == 2
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    wrapper = OptimWrapper(optimizer, clip_grad=dict(max_norm=1.0))
    for start, number in ((0, 6), (6, 4)):
        wrapper.update_params(sum(model(**clips(start, number), mode='loss').values()))
    torch.testing.assert_close(accumulated, dict(model.state_dict()), rtol=0, atol=1e-10)


def test_contrastive_losses_see_one_small_batch():
    """Their negatives are those of the micro-batch: accumulation does not make up for a large batch."""
    contrast = dict(type='ContrastiveHead', embed_dims=8, losses=[dict(type='AVCLoss')])
    one, _ = train(make_model(contrast), 2, K)
    two, _ = train(make_model(contrast), 2 * K, 1)
    difference = max((one[name] - two[name]).abs().max() for name in one if name.startswith('contrast'))
    assert difference > 1e-4
    # it is the mean of the losses of the micro-batches
    model = make_model(contrast)
    losses = [model(**clips(start, 2), mode='loss')['loss_avc'] for start in (0, 2, 4)]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    wrapper = OptimWrapper(optimizer, accumulative_counts=3)
    for loss in losses:
        wrapper.backward(wrapper.scale_loss(loss))
    expected = torch.autograd.grad(
        sum(model(**clips(s, 2), mode='loss')['loss_avc'] for s in (0, 2, 4)) / 3,
        model.contrast.projections['video'].weight,
    )
    torch.testing.assert_close(model.contrast.projections['video'].weight.grad, *expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize('wrapper', [OptimWrapper, AutocastOptimWrapper])
def test_gradients_are_exchanged_once_a_cycle(wrapper):
    class Wrapped(nn.Linear):
        quiet = 0

        def no_sync(self):
            Wrapped.quiet += 1
            return torch.no_grad()  # any context

    model = Wrapped(2, 2)
    wrapper = wrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 7)
    for _ in range(7):
        with wrapper.optim_context(model):
            pass
        wrapper.update_params(model(torch.ones(1, 2)).sum())
    assert Wrapped.quiet == 4  # of 7 iterations those that do not end a cycle: 2 + 2, and none of the last


@pytest.mark.parametrize('batches', [3, 2])
def test_in_training(tmp_path, batches, capsys):
    """Epochs of 3 batches: cycles of 3 end with them; cycles of 2 do not, and resuming says what is lost."""
    config = toys.write_config(tmp_path, f'optim_wrapper.update(accumulative_counts={batches})\n')
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'a') == 0
    run = ['--work-dir', tmp_path / 'b', '--resume', tmp_path / 'a' / 'epoch_3.pth']
    capsys.readouterr()
    assert toys.run_tool('train.py', config, *run) == 0
    warned = 'the gradient of some iterations is lost' in capsys.readouterr().out
    one, two = (torch.load(tmp_path / name / 'epoch_4.pth', weights_only=True) for name in 'ab')
    equal = torch.equal(one['state_dict']['fc.weight'], two['state_dict']['fc.weight'])
    assert (equal, warned) == ((True, False) if batches == 3 else (False, True))
