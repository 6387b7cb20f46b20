import copy
from types import MethodType

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mmav.config.check import find_problems
from mmav.engine.activation_checkpointing import (
    _ATTENTION,
    BLOCKS,
    levels_of,
    turn_on_activation_checkpointing,
)
from mmav.engine.distributed.fsdp import spread_model
from mmav.engine.memory.fake_gpu import backward, fake_gpu
from mmav.engine.memory.meter import MemoryMeter
from mmav.errors import ConfigError
from mmav.models import AVClassifier
from mmav.models.layers import MultiscaleAttention, MultiscaleBlock, TransformerBlock
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


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('attention', ['tiled', 'folded'])
def test_lean_blocks_change_no_bit(attention, dtype):
    model = make_model()
    for module in model.modules():
        if isinstance(module, MultiscaleAttention):
            module.attention = attention
    onednn = torch.backends.mkldnn.flags(enabled=dtype is torch.float32)
    with onednn, torch.autocast('cpu', dtype, enabled=dtype is not torch.float32):
        losses, grads, _ = step(model)
        levels = turn_on_activation_checkpointing(model, 'lean')
        again, grads_again, _ = step(model)
    assert set(levels.values()) == {'lean'} and len(levels) == 3 + 2 + 2 * 2
    torch.testing.assert_close(losses, again, rtol=0, atol=0)
    torch.testing.assert_close(grads, grads_again, rtol=0, atol=0)
    assert set(computed(model).values()) == {1}


def test_lean_blocks_keep_less_memory():
    """Of PyTorch's allocator, after the forward pass."""
    model = make_model()

    def left():
        with MemoryMeter('cpu') as meter:
            losses = model(**batch(), mode='loss')
            return meter.now, sum(losses.values())

    most, _ = left()
    turn_on_activation_checkpointing(model, 'lean')
    lean, _ = left()
    turn_on_activation_checkpointing(model, True)
    full, _ = left()
    assert lean < 0.8 * most and full < 0.7 * lean


def test_lean_blocks_with_frozen_parts():
    model = make_model()
    for name in ('backbones.video.blocks.0', 'backbones.audio', 'neck.blocks.0.video.mlp'):
        model.get_submodule(name).requires_grad_(False)
    _, grads, _ = step(model)
    turn_on_activation_checkpointing(model, 'lean')
    _, grads_again, _ = step(model)
    assert sum(grad is None for grad in grads.values()) > 20
    torch.testing.assert_close(grads, grads_again, rtol=0, atol=0)


def test_levels_by_part():
    model = make_model()
    parts = dict(
        lean=True, attention='backbones.audio', full=['backbones.video.blocks.0-1', 'backbones.audio.blocks.1']
    )
    levels = levels_of(model, parts)
    assert levels['backbones.video.blocks.0'] == levels['backbones.video.blocks.1'] == 'full'
    assert levels['backbones.video.blocks.2'] == levels['neck.blocks.1.audio'] == 'lean'
    assert [levels[f'backbones.audio.blocks.{number}'] for number in (0, 1)] == ['attention', 'full']
    _, grads, _ = step(model)
    turn_on_activation_checkpointing(model, parts)
    _, grads_again, _ = step(model)
    torch.testing.assert_close(grads, grads_again, rtol=0, atol=0)
    assert set(levels_of(model, False).values()) == {'all'}
    with pytest.raises(
        ConfigError, match='contains no blocks, so it can only be recomputed as a whole: name it under f'
    ):
        levels_of(model, dict(lean='head'))
    with pytest.raises(ConfigError, match="has no 'leen', did you mean 'lean'"):
        levels_of(model, dict(leen=True))
    with pytest.raises(ConfigError, match="has no 'leen', did you mean 'lean'"):
        levels_of(model, 'leen')
    with pytest.raises(ConfigError, match=r"has no 'full': for all blocks, give dict\(full=True\)"):
        levels_of(model, 'full')


def test_a_later_call_counts():
    model = make_model()
    turn_on_activation_checkpointing(model, True)
    assert turn_on_activation_checkpointing(model, 'neck.blocks.0') and computed(model)['backbones.audio.blocks.0'] == 1
    turn_on_activation_checkpointing(model, False)
    assert not any('forward' in vars(module) for module in model.modules())


@pytest.mark.parametrize('level', ['lean', 'attention', 'full'])
def test_a_forward_that_someone_set_on_a_block_stays(level):
    """As libraries for adapters and offloading do."""

    def doubled(self, *args):
        return 2 * TransformerBlock.forward(self, *args)

    model = make_model()
    block = model.backbones['audio'].blocks[0]
    block.forward = MethodType(doubled, block)
    losses, grads, _ = step(copy.deepcopy(model))
    turn_on_activation_checkpointing(model, {level: True})
    turn_on_activation_checkpointing(model, {level: True})  # twice is once
    for found, expected in zip(step(copy.deepcopy(model))[:2], (losses, grads), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    turn_on_activation_checkpointing(model, False)
    assert block.forward.__func__ is doubled


def test_kept_attention_and_a_retained_graph():
    model = make_model()
    turn_on_activation_checkpointing(model, dict(attention=True))
    loss = sum(model(**batch(), mode='loss').values())
    weight = model.backbones['audio'].blocks[0].norm1.weight
    first, second = (torch.autograd.grad(loss, weight, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_lean_costs_less_than_a_hundredth_of_the_operations_by_pytorchs_counter():
    """MAT's third block, which makes its keys of 32 x 256, on a GPU's kernels; the products of positions come again."""
    counts = []
    for level in ('all', 'lean', 'full'):
        with fake_gpu():
            options = dict(q_stride=(2, 2), grid=(32, 256), kv_stride=(1, 1), kernel=(3, 3))
            block = MultiscaleBlock(96, 192, 2, **options).train()
            turn_on_activation_checkpointing(block, {} if level == 'all' else {level: True})
            counter = FlopCounterMode(display=False)
            with counter:
                with torch.autocast('cuda', torch.bfloat16):
                    result = block(torch.empty(2, 8193, 96, requires_grad=True), (32, 256))[0]
                start = [(result, torch.empty_like(result))]
                del result
                backward(start)
            counts.append(counter.get_total_flops())
    assert counts[0] < counts[1] < 1.01 * counts[0] < 1.05 * counts[0] < counts[2]


def test_copies_of_lean_models_stand_alone():
    model = make_model()
    _, grads, _ = step(model)
    turn_on_activation_checkpointing(model, 'lean')
    twin = copy.deepcopy(model)  # as averaged weights are
    block = twin.backbones['video'].blocks[0]
    assert block.forward.__self__ is block
    torch.testing.assert_close(step(twin)[1], grads, rtol=0, atol=0)


@pytest.mark.usefixtures('group_of_one')
def test_lean_blocks_under_the_distributed_wrapper():
    model = make_model()
    _, grads, _ = step(model)
    turn_on_activation_checkpointing(model, 'lean')
    _, again, _ = step(DistributedDataParallel(model))
    for name, grad in grads.items():
        torch.testing.assert_close(grad, again[f'module.{name}'], rtol=0, atol=0)


@pytest.mark.usefixtures('group_of_one')
@pytest.mark.parametrize('level', ['lean', 'full'])
def test_spread_blocks(level):
    model = make_model()
    _, grads, _ = step(model)
    turn_on_activation_checkpointing(model, {level: True})
    spread = spread_model(model)
    _, again, _ = step(spread)
    for name, grad in grads.items():
        torch.testing.assert_close(again[name].full_tensor(), grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (3, "activation_checkpointing=3: give True, False, 'lean', names of modules, or a dict such as"),
        (dict(fulll=True), "activation_checkpointing has no 'fulll', did you mean 'full'?"),
        (dict(budget='40'), "activation_checkpointing.budget='40': give a number and one of GB, GiB"),
        ('neck.blocks.3-1', "activation_checkpointing: 'neck.blocks.3-1' names no blocks: give the lower number first"),
        (dict(full=3), 'activation_checkpointing: 3 is not the name of a module: give names, or True'),
        (['neck', None], 'activation_checkpointing: None is not the name of a module'),
        (dict(parts=True, full='neck'), 'has parts, keep_attention or levels such as full: give one or the other'),
        (dict(budget='auto', lean=True), 'activation_checkpointing has both a budget and lean: give one or the other'),
    ],
)
def test_configs_are_checked_before_anything_is_built(value, message):
    assert any(
        message in problem for problem in find_problems(Config(dict(model=None, activation_checkpointing=value)))
    )
    for right in (True, 'lean', ['neck'], dict(full='neck'), dict(budget='3GB'), dict(parts=True, keep_attention=True)):
        assert not list(find_problems(Config(dict(model=None, activation_checkpointing=right))))
