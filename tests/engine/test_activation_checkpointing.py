import copy

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from mmav.engine.activation_checkpointing import _ATTENTION, BLOCKS, turn_on_activation_checkpointing
from mmav.errors import ConfigError
from mmav.models import AVClassifier
from mmav.models.layers import MultiscaleAttention, TransformerBlock
from mmav.structures import AVDataSample
from tests import toys

ARCH = dict(embed_dims=16, num_layers=3, num_heads=1, stage_blocks=(1, 2))
BACKBONES = dict(
    video=dict(type='MViTv2', arch=ARCH, input_size=(4, 32, 32), drop_path_rate=0.5),
    audio=dict(type='AST', input_size=(32, 64), embed_dims=16, num_layers=2, num_heads=2, drop_path_rate=0.5),
)


def make_model(neck='AVBottleneck', **neck_args):
    init_default_scope('mmav')
    torch.manual_seed(0)
    sizes = dict(embed_dims=32, num_blocks=2, num_heads=4, drop_path_rate=0.5, **neck_args)
    model = AVClassifier(
        copy.deepcopy(BACKBONES),
        dict(type=neck, **sizes),
        dict(type='ClsHead', num_classes=3),
        contrast=dict(type='ContrastiveHead', embed_dims=8, losses=[dict(type='AVCLoss'), dict(type='IMCLoss')]),
    )
    for parameter in model.parameters():  # away from zeros and ones, so that every path has a gradient
        nn.init.normal_(parameter, std=0.2)
    return model.train()


def batch(clips=slice(None)):
    generator = torch.Generator().manual_seed(1)
    inputs = dict(
        video=torch.randn(4, 2, 3, 4, 32, 32, generator=generator)[clips],
        audio=torch.randn(4, 2, 1, 32, 64, generator=generator)[clips],
    )
    masks = dict(video=torch.tensor([True] * 4)[clips], audio=torch.tensor([True, False, True, True])[clips])
    return dict(inputs=inputs, masks=masks, data_samples=[AVDataSample().set_gt_label(i % 2) for i in range(4)][clips])


def step(model, clips=slice(None)):
    """Losses and gradients of one training step, and how many bytes were saved for the backward pass."""
    model.zero_grad()
    torch.manual_seed(2)
    held = {}

    def pack(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = model(**batch(clips), mode='loss')
    sum(losses.values()).backward()
    return losses, {name: p.grad for name, p in model.named_parameters()}, sum(held.values())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('neck', ['AVBottleneck', 'MergedAttention'])
def test_losses_and_gradients_are_bit_equal_and_less_is_saved(neck, dtype):
    model = make_model(neck)
    names = list(model.state_dict())
    # gradients of oneDNN's convolutions in bfloat16 depend on where in memory a tensor lies, from one step to the next
    onednn = torch.backends.mkldnn.flags(enabled=dtype is torch.float32)
    with onednn, torch.autocast('cpu', dtype, enabled=dtype is not torch.float32):
        losses, grads, saved = step(model)
        turn_on_activation_checkpointing(model, True)
        again, grads_again, saved_again = step(model)
    torch.testing.assert_close(losses, again, rtol=0, atol=0)
    torch.testing.assert_close(grads, grads_again, rtol=0, atol=0)
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads.values())
    assert saved_again < saved / 2
    assert list(model.state_dict()) == names == list(make_model(neck).state_dict())


def attention_runs(model):
    """How often attention is computed in a training step, by any operator that computes it."""
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func in _ATTENTION:
                seen.append(func)
            return func(*args, **(kwargs or {}))

    with Watch():
        step(model)
    return len(seen)


@pytest.mark.parametrize('neck', ['AVBottleneck', 'MergedAttention'])
def test_attention_that_is_kept_is_not_computed_again(neck):
    plain, full, kept = (make_model(neck) for _ in range(3))
    for module in [*plain.modules(), *full.modules(), *kept.modules()]:
        if isinstance(module, MultiscaleAttention):
            module.attention = 'tiled'
    turn_on_activation_checkpointing(full, True)
    turn_on_activation_checkpointing(kept, dict(keep_attention=True))
    runs = attention_runs(plain)
    assert runs > 5
    assert [attention_runs(full), attention_runs(kept)] == [2 * runs, runs]
    (losses, grads, saved), (again, grads_again, saved_again) = step(plain), step(kept)
    torch.testing.assert_close(losses, again, rtol=0, atol=0)
    torch.testing.assert_close(grads, grads_again, rtol=0, atol=0)
    assert step(full)[2] < saved_again + kept_bytes(kept) < saved / 2


def kept_bytes(model):
    """Bytes of what attention computes in a step: selective checkpointing keeps it where the hooks do not see it."""
    total = []

    class Weigh(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if func in _ATTENTION:
                total.append(result[0].untyped_storage().nbytes())
            return result

    with Weigh():
        step(model)
    return sum(total)


def test_drop_paths_are_dropped_at_all():
    """Else the test above would not see that random state is kept."""
    model = make_model()
    losses = [model(**batch(), mode='loss')['loss_cls'].item() for _ in range(4)]
    assert len(set(losses)) > 1


def computed(model):
    """How often each block computes in one training step."""
    calls = dict.fromkeys((name for name, m in model.named_modules() if isinstance(m, BLOCKS)), 0)

    def count(name):
        return lambda *args: calls.update({name: calls[name] + 1})

    handles = [model.get_submodule(name).norm1.register_forward_hook(count(name)) for name in calls]
    step(model)
    for handle in handles:
        handle.remove()
    return calls


@pytest.mark.parametrize(
    ('parts', 'prefixes'),
    [
        (True, ('',)),
        (False, ()),
        ('neck', ('neck.',)),
        (['backbones.audio', 'neck.blocks.1.video'], ('backbones.audio.', 'neck.blocks.1.video')),
    ],
)
def test_parts_are_chosen_by_name(parts, prefixes):
    model = make_model()
    turn_on_activation_checkpointing(model, parts)
    for name, times in computed(model).items():
        assert times == (2 if name.startswith(prefixes) else 1), name


def test_a_module_without_blocks_is_taken_whole():
    model = make_model()
    _, grads, saved = step(model)
    turn_on_activation_checkpointing(model, 'backbones.video.blocks.0.mlp')
    _, grads_again, saved_again = step(model)
    torch.testing.assert_close(grads, grads_again, rtol=0, atol=0)
    assert saved_again < saved


def test_nothing_is_computed_twice_in_evaluation_and_copies_stand_alone():
    model = make_model()
    turn_on_activation_checkpointing(model, True)
    turn_on_activation_checkpointing(model, True)  # twice is once
    assert set(computed(copy.deepcopy(model)).values()) == {2}
    block = copy.deepcopy(model).backbones['video'].blocks[0]
    assert block.forward.__self__ is block
    assert set(computed(model.eval()).values()) == {1}


def test_mistakes():
    with pytest.raises(ConfigError, match="the model has no 'backbones.vido', did you mean 'backbones.video'"):
        turn_on_activation_checkpointing(make_model(), ['backbones.vido'])
    with pytest.raises(ConfigError, match="no 'keep_atention', did you mean 'keep_attention'"):
        turn_on_activation_checkpointing(make_model(), dict(keep_atention=True))
    with pytest.raises(ConfigError, match='ToyModel has no MultiscaleBlock or TransformerBlock; name its modules'):
        turn_on_activation_checkpointing(toys.ToyModel(), True)


def test_the_config_key_reaches_the_runner(tmp_path, capsys):
    config = toys.write_config(tmp_path, "activation_checkpointing = 'fc'\n")
    options = ['--cfg-options', 'train_cfg.max_epochs=1']
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'a', *options) == 0
    assert (
        toys.run_tool('train.py', config, '--work-dir', tmp_path / 'b', *options, 'activation_checkpointing=fcc') == 2
    )
    assert "activation_checkpointing: the model has no 'fcc', did you mean 'fc'" in capsys.readouterr().err


def test_a_block_is_compiled_without_a_break():
    """Whole models take minutes to compile on a CPU; docs/training.md tells what was measured with them."""
    torch._dynamo.reset()
    block = TransformerBlock(8, 2)
    x = torch.randn(2, 5, 8)
    expected = torch.autograd.grad(block(x).square().sum(), list(block.parameters()))
    turn_on_activation_checkpointing(block, True)
    compiled = torch.compile(block, backend='eager', fullgraph=True)
    torch.testing.assert_close(torch.autograd.grad(compiled(x).square().sum(), list(block.parameters())), expected)


@pytest.fixture
def group_of_one(tmp_path):
    distributed.init_process_group('gloo', init_method=f'file://{tmp_path / "group"}', rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures('group_of_one')
def test_distributed_wrapper_sees_each_gradient_once():
    """The reentrant form raises here: "marked a variable ready only once"."""
    model = make_model()
    _, grads, _ = step(model)
    turn_on_activation_checkpointing(model, True)
    wrapped = DistributedDataParallel(model)
    for _ in range(2):
        _, grads_again, _ = step(wrapped)
    for name, grad in grads.items():
        torch.testing.assert_close(grad, grads_again[f'module.{name}'], rtol=0, atol=0)
