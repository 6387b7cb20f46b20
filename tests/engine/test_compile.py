"""``compile = True`` of a config: MMEngine compiles the model's training step. Here without generating code."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmav.engine import turn_on_activation_checkpointing
from mmav.models import AVClassifier
from mmav.structures import AVDataSample
from tests import toys
from tests.models.test_contracts import BACKBONES, build, defaults

FUSED = 'optim_wrapper.optimizer.fused=True'  # as in the schedules
ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))


def graphs(run):
    """How many graphs a call becomes, and why it breaks into them."""
    torch._dynamo.reset()
    explained = torch._dynamo.explain(run)()
    return explained.graph_count, [str(reason.reason) for reason in explained.break_reasons]


@pytest.mark.parametrize('name', BACKBONES)
def test_every_encoder_is_one_graph(name):
    """Every one that is registered, in training with dropped paths, and in inference."""
    known = defaults(name)
    small = dict(input_size={2: (32, 32), 3: (4, 16, 16)}[len(known['input_size'])])
    small.update(dict(arch=ARCH) if 'arch' in known else {})
    small.update(dict(drop_path_rate=0.2) if 'drop_path_rate' in known else {})
    small.update(dict(q_strides=known['q_strides'][:1]) if known.get('q_strides') else {})
    encoder = build(name, **small)
    x = torch.randn(2, known['in_channels'], *small['input_size'])
    encoder(x)  # fills what is made once
    assert graphs(lambda: encoder.train()(x)) == (1, [])
    with torch.inference_mode():
        assert graphs(lambda: encoder.eval()(x)) == (1, [])


def test_a_break_is_counted():
    def run():
        x = torch.ones(3)
        return x + 1 if x.sum() > 2 else x - 1

    count, reasons = graphs(run)
    assert count > 1 and len(reasons) == count - 1


@pytest.mark.parametrize('checkpointing', [False, True])
def test_the_whole_loss_is_one_graph(checkpointing):
    init_default_scope('mmav')
    torch.manual_seed(0)
    model = AVClassifier(
        dict(
            video=dict(type='MViTv2', arch=ARCH, input_size=(4, 16, 16), drop_path_rate=0.2),
            audio=dict(type='AST', input_size=(32, 32), embed_dims=16, num_layers=1, num_heads=2),
        ),
        dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_heads=2),
        dict(type='ClsHead', num_classes=3),
        contrast=dict(type='ContrastiveHead', embed_dims=8, losses=[dict(type='AVCLoss')]),
    ).train()
    turn_on_activation_checkpointing(model, checkpointing)
    inputs = dict(video=torch.randn(2, 1, 3, 4, 16, 16), audio=torch.randn(2, 1, 1, 32, 32))
    samples = [AVDataSample().set_gt_label(i) for i in range(2)]
    model(inputs, samples, mode='loss')  # fills the caches of relative positions, which a checkpointed graph may not
    assert graphs(lambda: model(inputs, samples, mode='loss')) == (1, [])


def test_the_runner_trains_the_same(tmp_path):
    config = toys.write_config(tmp_path)
    for name, options in (('a', []), ('b', ['compile.backend=eager'])):
        torch._dynamo.reset()
        run = ['--work-dir', tmp_path / name, '--cfg-options', 'train_cfg.max_epochs=1', FUSED, *options]
        assert toys.run_tool('train.py', config, *run) == 0
    one, two = (torch.load(tmp_path / name / 'epoch_1.pth', weights_only=True) for name in 'ab')
    losses = [run['message_hub']['log_scalars']['train/loss']['values'] for run in (one, two)]
    torch.testing.assert_close(*losses, rtol=0, atol=1e-4)
    torch.testing.assert_close(one['state_dict'], two['state_dict'])
    (log,) = (tmp_path / 'b').glob('*/*.log')
    assert 'Model has been "compiled"' in log.read_text()
