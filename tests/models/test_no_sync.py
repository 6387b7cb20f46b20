"""In a training step the CPU hands the GPU its work and does not wait for a result.

A step is MMEngine's ``train_step``: preprocessing, losses, backward pass, clipping, optimizer, with the look at the
gradients that NonFiniteHook puts before it. Outside of it are the loading of clips; what the preprocessor decides about
masks and mixtures from numbers that are still on the CPU; and the log, whose values are read where it is written
(tests/engine/hooks/test_deferred.py).

Without a GPU two devices show it. Tensors on 'meta' stand for those of a GPU: what moves between it and the CPU is
seen, and what needs a value fails. It knows no autocast and no fused optimizer; these run on the CPU, where each
operation that would wait on a GPU is an error.
"""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import LoggerHook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmav.engine import NonFiniteHook, RuntimeInfoHook
from mmav.registry import MODELS
from mmav.structures import AVDataSample

# their result depends on values in its size or type: the CPU has to know them
WAITING = (
    '_local_scalar_dense', 'nonzero', 'masked_select', '_unique', '_unique2', 'unique_dim', 'unique_consecutive',
    'is_nonzero', 'equal', 'bincount', 'allclose',
)  # fmt: skip
ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
SIZES = dict(video=(3, 4, 16, 16), audio=(1, 32, 32))
HEADS = dict(
    label=dict(type='ClsHead', num_classes=5, dropout=0.1, loss=dict(type='CrossEntropyLoss', label_smoothing=0.1)),
    action=dict(type='VerbNounHead', num_verbs=4, num_nouns=5),
)
CLASSES = dict(label=5, action=dict(verb=4, noun=5))


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the CPU wait for ``device``, and what copies to or from it without ``non_blocking``."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        there = [tensor for tensor in tensors if tensor.device.type == self.device]
        name = function.overloadpacket.__name__
        if there and name in WAITING:
            raise AssertionError(f'{name} waits for the GPU')
        if there and name.startswith('index') and any(t.dtype in (torch.bool, torch.uint8) for t in _indices(args)):
            raise AssertionError(f'{name} with a mask waits for the GPU')
        if there and name == 'repeat_interleave' and function is torch.ops.aten.repeat_interleave.Tensor:
            raise AssertionError(f'{name} with a tensor waits for the GPU')
        if name == '_to_copy' and not kwargs.get('non_blocking'):
            self._same_device(tensors[0].device, kwargs.get('device') or tensors[0].device)
        if name == 'copy_' and not (len(args) > 2 and args[2]) and not kwargs.get('non_blocking'):
            self._same_device(args[0].device, args[1].device)
        return function(*args, **kwargs)

    def _same_device(self, one, other):
        if (one.type == self.device) != (torch.device(other).type == self.device):
            raise AssertionError(f'a copy from {one} to {other} waits for the GPU')


class NoReading(TorchFunctionMode):
    """Refuses what no operation tells of: numbers as a list, and tensors of numbers that are not on the CPU."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.Tensor.tolist and args[0].device.type == self.device:
            raise AssertionError('tolist waits for the GPU')
        if function in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor):
            device = torch.device(kwargs.get('device') or 'cpu').type
            if device != 'cpu' and device == self.device:
                raise AssertionError(f'{function.__name__} on the GPU waits for its copy')
        return function(*args, **kwargs)


@contextlib.contextmanager
def no_waiting(device):
    with NoWaiting(device), NoReading(device):
        yield


def _indices(args):
    return [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, torch.Tensor)] if len(args) > 1 else []


@pytest.fixture(autouse=True)
def _start():
    init_default_scope('mmav')
    torch.manual_seed(0)


def make_model(head, mix=None):
    model = MODELS.build(
        dict(
            type='AVClassifier',
            data_preprocessor=dict(
                type='AVDataPreprocessor',
                norm=dict(video=dict(mean=[0.4] * 3, std=[0.2] * 3)),
                batch_augment=mix and dict(type='MixupCutmix', num_classes=CLASSES[head], **mix),
            ),
            backbones=dict(
                video=dict(
                    type='MViTv2',
                    arch=ARCH,
                    input_size=SIZES['video'][1:],
                    drop_path_rate=0.2,
                    token_drop=dict(axes=(0.5, 0.0, 0.0)),
                ),
                audio=dict(
                    type='MAT',
                    arch=ARCH,
                    input_size=SIZES['audio'][1:],
                    drop_path_rate=0.2,
                    q_strides=((2, 2),),
                    token_drop=dict(axes=(0.25, 0.5)),
                ),
            ),
            neck=dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_heads=2, drop_path_rate=0.2),
            head=HEADS[head],
            auxiliary=dict(alone=dict(type='UnimodalHeads')),
            contrast=dict(
                type='ContrastiveHead',
                embed_dims=8,
                losses=[dict(type=name) for name in ('AVCLoss', 'ALLoss', 'IMCLoss', 'IMALLoss')],
            ),
        )
    )
    return model.train()


def make_batch(masked):
    samples = [AVDataSample() for _ in range(4)]
    for number, sample in enumerate(samples):
        for part in ('label', 'verb', 'noun'):
            sample.set_gt_label(number % 3, part)
    masks = dict(video=torch.ones(4, dtype=torch.bool), audio=torch.tensor([True, not masked, True, True]))
    inputs = {name: torch.rand(4, 2, *size) for name, size in SIZES.items()}
    return dict(inputs=inputs, masks=masks, data_samples=samples)


def make_wrapper(model, amp='OptimWrapper', **options):
    return build_optim_wrapper(
        model,
        dict(
            type=amp,
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, **options),
            paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
            clip_grad=dict(max_norm=1.0),
        ),
    )


def guard(wrapper):
    """Puts the look at the gradients before the step."""
    hook = NonFiniteHook()
    hook.before_train(SimpleNamespace(optim_wrapper=wrapper))
    return hook


MIXES = dict(none=None, mixup=dict(cutmix_alpha=0.0), cutmix=dict(mixup_alpha=0.0))


@pytest.mark.parametrize(
    ('head', 'mix', 'masked'), [('label', 'none', False), ('label', 'mixup', True), ('action', 'cutmix', True)]
)
def test_nothing_moves_between_the_devices(head, mix, masked, monkeypatch):
    """The whole step and the hooks behind it, in an iteration that is not logged."""
    model = make_model(head, MIXES[mix]).to('meta')
    wrapper = make_wrapper(model, foreach=True)
    batch = make_batch(masked)
    # there is no autocast on this device
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: contextlib.nullcontext())
    hooks = [RuntimeInfoHook(), NonFiniteHook()]
    runner = SimpleNamespace(
        hooks=[LoggerHook(interval=5)], train_dataloader=range(12), optim_wrapper=wrapper, epoch=0, iter=0
    )
    model.train_step(batch, wrapper)  # what is made once, such as indices of relative positions, may wait
    wrapper.take_grad_norm()
    with no_waiting('meta'):
        outputs = model.train_step(batch, wrapper)
        for hook in hooks:
            hook.after_train_iter(runner, 0, batch, outputs)
    assert {'loss', 'loss_cls', 'loss_avc', 'loss_al', 'loss_imc_video', 'loss_imal_audio'} <= set(outputs)
    assert all(value.device.type == 'meta' for value in outputs.values())
    assert wrapper.optimizer.state  # it did step
    # the norm of the gradients is among what is read later
    assert all('grad_norm' in values for _, values in hooks[0]._deferred._kept)


@pytest.mark.parametrize(('head', 'masked'), [('label', False), ('action', True)])
@pytest.mark.parametrize('amp', ['OptimWrapper', 'AutocastOptimWrapper'])
def test_nothing_waits_for_a_value(head, amp, masked):
    """Also in bfloat16, and with the optimizer that the schedules have."""
    model = make_model(head)
    wrapper = make_wrapper(model, amp, fused=True)
    hook = guard(wrapper)
    data = model.data_preprocessor(make_batch(masked), training=True)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for _ in range(2):
        with no_waiting('cpu'):
            with wrapper.optim_context(model):
                losses = model(**data, mode='loss')
            loss, _ = model.parse_losses(losses)
            wrapper.update_params(loss)
    assert all(not torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    assert hook._bad_step == 0


@pytest.mark.parametrize(
    'wait',
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x.tolist(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: torch.equal(x, x),
        lambda x: x.index_put_((x > 0,), torch.zeros((), device=x.device)),
        lambda x: torch.nn.utils.clip_grad_norm_(_with_gradient(x), 1.0, error_if_nonfinite=True),
    ],
)
@pytest.mark.parametrize('device', ['cpu', 'meta'])
def test_what_would_wait_is_seen(wait, device):
    x = torch.ones(3, device=device)
    with no_waiting(device), pytest.raises((AssertionError, NotImplementedError, RuntimeError), match='waits|[Mm]eta'):
        wait(x)


@pytest.mark.parametrize(
    'copy',
    [
        lambda x: x.cpu(),
        lambda x: torch.ones(3).to(x.device),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: torch.tensor([1.0], device=x.device),
        lambda x: torch.as_tensor([1.0]).to(x),
    ],
)
def test_copies_that_would_wait_are_seen(copy):
    x = torch.ones(3, device='meta')
    with no_waiting('meta'):
        torch.ones(3).to('meta', non_blocking=True)
        with pytest.raises((AssertionError, NotImplementedError), match='waits|meta'):
            copy(x)


def _with_gradient(x):
    parameter = torch.nn.Parameter(x)
    parameter.grad = x.clone()
    return [parameter]


@pytest.mark.gpu
@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('amp', ['OptimWrapper', 'AutocastOptimWrapper', 'AmpOptimWrapper'])
@pytest.mark.parametrize('masked', [False, True])
def test_a_step_on_a_gpu(head, amp, masked):
    """As CUDA sees it."""
    model = make_model(head, dict()).cuda()
    wrapper = make_wrapper(model, amp, fused=True)
    guard(wrapper)
    batch = make_batch(masked)
    model.train_step(batch, wrapper)  # what is made once may wait
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        outputs = model.train_step(batch, wrapper)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert outputs['loss'].isfinite()
