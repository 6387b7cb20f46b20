import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmav.engine.memory.fake_gpu import backward, fake_gpu
from mmav.engine.memory.meter import MemoryMeter
from mmav.models.backbones import AST, MViTv2
from mmav.models.ops.again import run_again
from mmav.models.ops.lean import lean

ARCH = dict(embed_dims=16, num_layers=3, num_heads=1, stage_blocks=(1, 2))


def run(model, x, pass_):
    model.zero_grad()
    torch.manual_seed(0)
    if pass_ == 'checkpoint':
        tokens = checkpoint(model, x, use_reentrant=False)
    elif pass_ == 'again':
        tokens = run_again(model, (x,), {})
    elif pass_ == 'lean':
        with lean():
            tokens = model(x)
    else:
        tokens = model(x)
    return tokens.cls.square().sum() + tokens.patches.square().mean()


@pytest.mark.parametrize('pass_', ['', 'lean', 'again'])
@pytest.mark.parametrize('attention', ['explicit', 'tiled'])
def test_the_backward_pass_is_that_of_pytorchs_engine(pass_, attention):
    """On real numbers: operators of our own, parameters that are used twice and broadcasting among them."""
    torch.manual_seed(1)
    model = MViTv2(ARCH, input_size=(4, 32, 32), drop_path_rate=0.5, attention=attention).train()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, 3, 4, 32, 32)
    run(model, x, pass_).backward()
    expected = {name: p.grad for name, p in model.named_parameters()}
    loss = run(model, x, pass_)
    model.zero_grad()
    backward([(loss, torch.ones_like(loss))])
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[name], rtol=0, atol=0, msg=name)


def test_frozen_parts_and_several_outputs():
    x = torch.randn(3, 4, requires_grad=True)
    frozen = torch.randn(4)
    a, b = (x * frozen).split(2, dim=1)
    backward([(a.sum(), torch.ones(())), (b.exp().sum(), torch.ones(()))])
    expected = torch.cat((torch.ones(3, 2), (x[:, 2:] * frozen[2:]).exp()), dim=1) * frozen
    torch.testing.assert_close(x.grad, expected.detach())


def test_what_a_node_keeps_is_freed_after_it():
    x = torch.randn(1024, requires_grad=True)
    with MemoryMeter('cpu') as meter:
        y = x.exp().exp().exp()
        assert meter.now == 3 * 4096
        outputs = [(y, torch.ones(1024))]
        del y
        backward(outputs)
        # three results and two gradients at a time; a product of two of them is in work
        assert meter.peak <= 6 * 4096
        assert meter.now == 4096  # the gradient
    assert outputs == []


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_model_runs_on_a_gpu_that_is_not_there(dtype):
    state = torch.get_rng_state()
    with fake_gpu():
        model = AST(input_size=(32, 64), embed_dims=16, num_layers=2, num_heads=2, drop_path_rate=0.5).train()
        x = torch.empty(2, 1, 32, 64)
        with torch.autocast('cuda', torch.bfloat16, enabled=dtype != 'float32'):
            tokens = run_again(model, (x,), {})
        assert tokens.cls.device.type == 'cuda'
        loss = tokens.cls.float().sum()
        kept = [(loss, torch.empty_like(loss))]
        del loss, tokens
        backward(kept)
        assert all(p.grad.shape == p.shape for name, p in model.named_parameters() if 'dist' not in name)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(torch.empty(1)) is torch.Tensor
