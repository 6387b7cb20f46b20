"""Modules are modules: hooks, replacements, pruning and parametrizations take effect in every backbone and neck.

Layers read the weights of plain modules for speed. Here all children with parameters, found by walking, are changed in
a way that users of PyTorch know, and compared with plain children whose weights are what the change amounts to.
"""

import copy
from collections import Counter
from contextlib import ExitStack

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules import module as nn_module
from torch.nn.utils import parametrizations, parametrize, prune

from mmav.engine.activation_checkpointing import LEVELS, turn_on_activation_checkpointing
from mmav.errors import ConfigError
from mmav.models.layers import MultiscaleAttention
from mmav.models.ops import attention, tiled_mlp
from mmav.models.ops.eager import is_plain
from mmav.models.ops.lean import is_again
from mmav.structures import Tokens
from tests.models.test_contracts import (
    BACKBONES,
    NECKS,
    backbone_input,
    defaults,
    make_backbone,
    make_neck,
    neck_tokens,
)

FORMS = ('explicit', 'folded', 'tiled')
ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
MULTISCALE = [name for name in BACKBONES if 'q_strides' in defaults(name)]
# whose blocks are none of those that know what is cheap: they keep all, or their blocks are recomputed as a whole
WHOLE = ['ConvEncoder', 'Hiera']
PARTS = [*BACKBONES, *(name for name in NECKS if list(make_neck(name).parameters()))]
# every form at every level, for one of those that have forms; each form and level for the others
COMBINATIONS = [
    *((MULTISCALE[0], form, level) for form in FORMS for level in LEVELS),
    *((name, *both) for name in MULTISCALE[1:] for both in zip((*FORMS, 'tiled'), LEVELS, strict=True)),
    *(
        (name, None, level)
        for name in PARTS
        if name not in MULTISCALE
        for level in (('all', 'full') if name in WHOLE else LEVELS)
    ),
]


@pytest.fixture(autouse=True)
def _fast_paths(monkeypatch):
    """Taken by plain modules of any size."""
    monkeypatch.setattr(attention, 'LEAST_SCORES', 0)
    monkeypatch.setattr(tiled_mlp, 'LEAST_HIDDEN', 0)


def make(name):
    """A small part with random weights, in training."""
    if name in MULTISCALE:
        rank = len(defaults(name)['input_size'])
        part = make_backbone(name, arch=ARCH, q_strides=[(1,) * (rank - 2) + (2, 2)])
    elif name in BACKBONES:
        part = make_backbone(name, **(dict(arch=ARCH) if 'arch' in defaults(name) else {}))
    else:
        part = make_neck(name)
    randomise(part, 0)
    return part.train()


def randomise(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator) + 0.1
    return module


def leaves_of(part):
    """Name -> child with parameters and nothing inside."""
    return {
        name: module
        for name, module in part.named_modules()
        if list(module.parameters()) and not list(module.children()) and is_called(module)
    }


def is_called(module):
    return type(module).forward is not nn.Module.forward  # lists and dicts of modules are not


def set_form(part, form):
    for module in part.modules():
        if isinstance(module, MultiscaleAttention) and form is not None:
            module.attention = form


def set_level(part, name, level):
    """For all blocks; those of ``WHOLE`` are named, as the model's own are found as ``backbones.*.blocks``."""
    if level == 'all':
        turn_on_activation_checkpointing(part, False)
    else:
        blocks = [f'blocks.{number}' for number in range(len(part.blocks))] if name in WHOLE else True
        assert turn_on_activation_checkpointing(part, {level: blocks})


def run(part, name, call=None):
    """Results and gradients by name; ``call`` stands for calling the part."""
    call = call or part
    part.zero_grad()
    torch.manual_seed(0)
    if name in NECKS:
        tokens = {
            m: Tokens(cls.requires_grad_(), patches.requires_grad_(), grid)
            for m, (cls, patches, grid) in neck_tokens().items()
        }
        results = list(call(tokens).values())
    else:
        results = list(call(backbone_input(name).requires_grad_())[:2])
    weights = [torch.cos(torch.arange(float(result.numel()))).view_as(result) for result in results]
    torch.autograd.backward(results, weights)
    return results, {key: p.grad for key, p in part.named_parameters()}


def assert_equal(found, expected):
    """To a thousandth of the largest value, as the sums are in another order."""
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.detach().abs().max()) + 1e-6)


class Plus(nn.Module):
    """Any module beside another one, as an adapter is."""

    def __init__(self, inner, extra):
        super().__init__()
        self.inner, self.extra = inner, extra

    def forward(self, x):
        return self.inner(x) + self.extra(x)


def replace(part, name, extra):
    part.set_submodule(name, Plus(part.get_submodule(name), extra))


def hook(part, name, extra):
    part.get_submodule(name).register_forward_hook(lambda module, args, result: result + extra(*args))


def subclass(part, name, extra):
    leaf = part.get_submodule(name)
    plain = type(leaf).forward
    forward = lambda self, x: plain(self, x) + extra(x)  # noqa: E731
    leaf.__class__ = type(f'My{type(leaf).__name__}', (type(leaf),), dict(forward=forward))


def set_forward(part, name, extra):
    """On the instance, as libraries for adapters and offloading do."""
    leaf = part.get_submodule(name)
    plain = leaf.forward
    leaf.forward = lambda x: plain(x) + extra(x)


# All add the result of another module. Results of leaves are linear in their parameters, so that is what one leaf with
# the sums of both computes.
ADDITIONS = [replace, hook, subclass, set_forward]


def extra_of(module, number):
    return randomise(copy.deepcopy(module), 1 + number)


@pytest.fixture(scope='module')
def of_sums():
    """Results and gradients of the plain parts with the sums of weights: explicit form, everything kept."""
    known = {}

    def look_up(name):
        if name not in known:
            part = make(name)
            set_form(part, 'explicit')
            with torch.no_grad():
                for number, leaf in enumerate(leaves_of(part).values()):
                    for parameter, other in zip(leaf.parameters(), extra_of(leaf, number).parameters(), strict=True):
                        parameter += other
            known[name] = run(part, name)
        return known[name]

    return look_up


def assert_additions(name, form, level, additions, expected):
    """Makes one addition after the other to the leaves, in turn."""
    part, extras = make(name), {}
    for number, (key, leaf) in enumerate(leaves_of(part).items()):
        extras[key] = extra_of(leaf, number)
        additions[number % len(additions)](part, key, extras[key])
    set_form(part, form)
    set_level(part, name, level)
    results, grads = run(part, name)
    grads = {key.replace('.inner.', '.'): grad for key, grad in grads.items()}
    for found, other in zip(results, expected[0], strict=True):
        assert_equal(found, other)
    for key, grad in expected[1].items():
        assert_equal(grads[key], grad)
    for key, extra in extras.items():  # the other module gets the gradient, too
        for parameter, value in extra.named_parameters():
            assert_equal(value.grad, expected[1][f'{key}.{parameter}'])


@pytest.mark.parametrize(('number', 'combination'), enumerate(COMBINATIONS), ids=str)
def test_additions_in_every_form_and_at_every_level(number, combination, of_sums):
    turned = ADDITIONS[number % 4 :] + ADDITIONS[: number % 4]
    assert_additions(*combination, turned, of_sums(combination[0]))


@pytest.mark.parametrize('addition', ADDITIONS)
@pytest.mark.parametrize('name', PARTS)
def test_each_addition_to_every_leaf(name, addition, of_sums):
    assert_additions(name, 'tiled', 'all' if name in WHOLE else 'lean', [addition], of_sums(name))


def of_plain(name, part):
    """Results and gradients of a plain part with the weights that a changed one has now."""
    plain = make(name)
    set_form(plain, 'explicit')
    state = {key: value for key, value in part.state_dict().items() if key in plain.state_dict()}
    state |= {f'{key}.weight': part.get_submodule(key).weight.detach() for key in leaves_of(plain)}
    plain.load_state_dict(state)
    return run(plain, name)


@pytest.mark.parametrize(('name', 'form', 'level'), COMBINATIONS)
def test_pruned_weights_act(name, form, level):
    part, masks = make(name), {}
    generator = torch.Generator().manual_seed(5)
    for key, leaf in leaves_of(part).items():
        masks[key] = (torch.rand(leaf.weight.shape, generator=generator) < 0.7).float()
        prune.custom_from_mask(leaf, 'weight', masks[key])
        leaf.weight_orig.data *= 1.5  # a step of an optimizer: the attribute ``weight`` is old until the next call
    set_form(part, form)
    set_level(part, name, level)
    results, grads = run(part, name)
    for key, mask in masks.items():
        assert torch.equal(part.get_submodule(key).weight, part.get_submodule(key).weight_orig * mask)
    expected, plain_grads = of_plain(name, part)
    for found, other in zip(results, expected, strict=True):
        assert_equal(found, other)
    for key, mask in masks.items():
        assert_equal(grads[f'{key}.weight_orig'], plain_grads[f'{key}.weight'] * mask)


@pytest.mark.parametrize(('name', 'form', 'level'), COMBINATIONS)
def test_spectral_norm_acts_and_is_updated_once(name, form, level):
    part = make(name)
    names = list(leaves_of(part))
    for key in names:
        parametrizations.spectral_norm(part.get_submodule(key))
    twin = copy.deepcopy(part)
    set_form(part, form)
    set_level(part, name, level)
    results, grads = run(part, name)
    # in training each reading of a weight is a step of the power iteration, and a forward pass is one reading
    weights = {key: twin.get_submodule(key).weight for key in names}
    for key, buffer in twin.named_buffers():
        if '.parametrizations.' in key:  # BatchNorm's own are of the pass, which the twin has not run
            assert_equal(part.get_buffer(key), buffer)
    plain = make(name)
    set_form(plain, 'explicit')
    plain.load_state_dict({f'{key}.weight': weight.detach() for key, weight in weights.items()}, strict=False)
    expected, plain_grads = run(plain, name)
    for found, other in zip(results, expected, strict=True):
        assert_equal(found, other)
    for key, weight in weights.items():
        original = twin.get_submodule(key).parametrizations.weight.original
        (grad,) = torch.autograd.grad(weight, original, plain_grads[f'{key}.weight'])
        assert_equal(grads[f'{key}.parametrizations.weight.original'], grad)


@pytest.mark.parametrize(('name', 'form', 'level'), COMBINATIONS)
def test_other_parameters_for_one_call(name, form, level):
    """Those of torch.func.functional_call are gone by the backward pass, which may recompute."""
    part = make(name)
    set_form(part, form)
    set_level(part, name, level)
    others = {key: (1.5 * value.detach()).requires_grad_() for key, value in part.named_parameters()}
    results, _ = run(part, name, lambda *args: functional_call(part, others, args))
    plain = make(name)
    plain.load_state_dict(others, strict=False)
    set_form(plain, 'explicit')
    expected, grads = run(plain, name)
    for found, other in zip(results, expected, strict=True):
        assert_equal(found, other)
    for key, grad in grads.items():
        assert_equal(others[key].grad, grad)


def names_of(part):
    """Module -> its name, of all that are called, containers included."""
    return {module: name for name, module in part.named_modules() if is_called(module)}


def noting(called, names, kind):
    """A hook that counts calls, those in the backward pass of what is recomputed there aside."""

    def note(module, *_):
        if kind == 'gradient' or not is_again():
            called[kind, names[module]] += 1

    return note


def assert_all_called(called, names):
    every = set(names.values())
    assert {name for kind, name in called if kind == 'before'} == every
    for name in every:
        assert called['before', name] == called['after', name]
        if name:  # of the part itself, whose result is a dict or has a grid in it, PyTorch tells no gradient
            assert called['gradient', name] == called['after', name]


@pytest.mark.parametrize(('name', 'form', 'level'), COMBINATIONS)
def test_hooks_of_every_module_are_called(name, form, level):
    part, called = make(name), Counter()
    plain, plain_grads = run(part, name)
    set_form(part, form)
    set_level(part, name, level)
    names = names_of(part)
    for module in names:
        module.register_forward_pre_hook(noting(called, names, 'before'))
        module.register_forward_hook(noting(called, names, 'after'))
        if names[module]:
            module.register_full_backward_hook(noting(called, names, 'gradient'))
    results, grads = run(part, name)
    assert_all_called(called, names)
    for found, other in zip(results, plain, strict=True):
        assert_equal(found, other)
    for key, grad in plain_grads.items():
        assert_equal(grads[key], grad)


@pytest.mark.parametrize('name', BACKBONES)  # a neck's dict of results is nothing to PyTorch's global backward hooks
def test_hooks_for_all_modules_are_called(name):
    part, called = make(name), Counter()
    names = names_of(part)
    with ExitStack() as stack:
        for register, kind in (
            (nn_module.register_module_forward_pre_hook, 'before'),
            (nn_module.register_module_forward_hook, 'after'),
            (nn_module.register_module_full_backward_hook, 'gradient'),
        ):
            stack.callback(register(noting(called, names, kind)).remove)
        run(part, name)
    assert_all_called(called, names)


@pytest.mark.parametrize('name', MULTISCALE)
def test_hooks_are_called_off_the_cpu(name):
    part, called = make(name).to('meta'), []
    for leaf in leaves_of(part).values():
        leaf.register_forward_hook(lambda module, *_: called.append(module))
    part(backbone_input(name).to('meta'))
    assert set(called) == set(leaves_of(part).values())


def test_compiled_and_exported():
    part, args = make('MAT').eval().blocks[0], (torch.randn(1, 13, 8), (3, 4))
    for number, (key, leaf) in enumerate(leaves_of(part).items()):
        if number % 2:
            hook(part, key, extra_of(leaf, number))
        else:
            parametrizations.spectral_norm(leaf)
    with torch.no_grad():
        expected = part(*args)[0]
        assert_equal(torch.compile(part, backend='eager', fullgraph=True)(*args)[0], expected)
        assert_equal(torch.export.export(part, args).module()(*args)[0], expected)


@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::UserWarning')
@pytest.mark.parametrize(
    'name', [name for name in BACKBONES if any(isinstance(module, nn.Linear) for module in make(name).modules())]
)
def test_quantized_linear_layers(name):
    quantization = pytest.importorskip('torch.ao.quantization')
    part = make(name).eval()
    quantized = quantization.quantize_dynamic(part, {nn.Linear})
    with torch.no_grad():
        expected, found = (model(backbone_input(name)).patches for model in (part, quantized))
    assert 0 < (found - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize('form', ['flex', 'triton'])
def test_additions_in_forms_for_gpus(form, monkeypatch):
    if form == 'triton':
        pytest.importorskip('triton')
        monkeypatch.setenv('TRITON_INTERPRET', '1')
    outs, x = [], torch.randn(1, 13, 8, generator=torch.Generator().manual_seed(0))
    for kind in (form, 'explicit'):
        layer = MultiscaleAttention(
            8, 16, 1, grid=(3, 4), q_stride=(1, 1), kv_stride=(2, 2), kernel=(3, 3), attention=kind
        )
        randomise(layer, 0)
        for number, (key, leaf) in enumerate(leaves_of(layer).items()):
            ADDITIONS[number % 4](layer, key, extra_of(leaf, number))
        with torch.no_grad():
            outs.append(layer(x, (3, 4))[0])
    torch.testing.assert_close(*outs)


@pytest.mark.parametrize('name', PARTS)
def test_children_are_plain_until_changed(name):
    """Else the fast paths would be lost in silence."""
    part = make(name)
    # BatchNorm, whose result depends on more than its weights, is always called
    leaves = {key: leaf for key, leaf in leaves_of(part).items() if not isinstance(leaf, nn.BatchNorm2d)}
    assert all(map(is_plain, leaves.values()))
    kind = nn.Conv2d if name == 'ConvEncoder' else nn.Linear
    key = next(key for key, leaf in leaves.items() if isinstance(leaf, kind))
    parametrizations.weight_norm(part.get_submodule(key))
    assert not is_plain(part.get_submodule(key))
    parametrize.remove_parametrizations(part.get_submodule(key), 'weight')
    assert is_plain(part.get_submodule(key))


@pytest.mark.parametrize('level', LEVELS[1:])
@pytest.mark.parametrize('name', WHOLE)
def test_levels_of_other_blocks_are_refused(name, level):
    part = make(name)
    with pytest.raises(ConfigError, match=f'^activation_checkpointing=.*: {name} has no .*; name its modules instead$'):
        turn_on_activation_checkpointing(part, {level: True})
    if level != 'full':
        with pytest.raises(ConfigError, match="^activation_checkpointing: 'blocks.0' contains no blocks, .*full"):
            turn_on_activation_checkpointing(part, {level: ['blocks.0']})
    assert not any('forward' in vars(module) for module in part.modules())


def test_running_statistics_are_updated_once_at_every_level():
    found = []
    for level in ('all', 'full'):
        part = make('ConvEncoder')
        set_level(part, 'ConvEncoder', level)
        run(part, 'ConvEncoder')
        found.append(dict(part.named_buffers()))
    assert found[0] and all(value == 1 for key, value in found[1].items() if key.endswith('num_batches_tracked'))
    torch.testing.assert_close(found[1], found[0])
