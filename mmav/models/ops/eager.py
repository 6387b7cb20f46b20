"""How layers call functions and modules: when fast paths apply, casts, and results that are cheap to recompute."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._guards import active_fake_mode
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.modules import module as nn_module

# Module types whose result depends only on the input, ``weight`` and ``bias``, and how they compute it.
_FORWARDS: dict[type[nn.Module], Callable[..., Any]] = {
    kind: kind.forward for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.LayerNorm, nn.GELU, nn.Identity)
}
_HOOKS = ('forward_hooks', 'forward_pre_hooks', 'backward_hooks', 'backward_pre_hooks')
_GLOBAL_HOOKS = tuple(getattr(nn_module, f'_global_{kind}') for kind in _HOOKS)
_OWN_HOOKS = tuple(f'_{kind}' for kind in _HOOKS)
_PLAIN_TENSORS = (nn.Parameter, Tensor, FakeTensor)
MOST_CACHED = 64

Key = TypeVar('Key', bound=Hashable)


class _State(threading.local):
    """State of :mod:`mmav.models.ops.lean`, per thread like autograd's hooks.

    Attributes:
        note: Called with a function, its arguments and its result if the result is cheap; None outside of lean passes.
        is_lean: Whether a lean pass is active.
        is_again: Whether something is being recomputed.
        watchers: Called with each tensor that a lean pass keeps.
    """

    def __init__(self) -> None:
        self.note: Callable[[Callable[..., Any], tuple[Any, ...], Any], None] | None = None
        self.is_lean = self.is_again = False
        self.watchers: list[Callable[[Tensor], Any]] = []


state = _State()


def is_plain(module: nn.Module) -> bool:
    """Whether a module's result may be computed from its ``weight`` and ``bias`` without calling the module.

    True for unmodified linear, convolution and LayerNorm modules of PyTorch. False with anything whose effect would be
    lost: hooks, pruning, parametrizations, subclasses, wrappers, quantized weights, and a replaced ``forward``.
    tests/models/test_modules.py checks that each of them takes effect.

    >>> is_plain(nn.Linear(2, 2)), is_plain(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)))
    (True, False)
    """
    kind = type(module)
    if kind not in _FORWARDS or kind.forward is not _FORWARDS[kind] or 'forward' in vars(module):
        return False
    if any(getattr(module, name) for name in _OWN_HOOKS) or any(_GLOBAL_HOOKS):
        return False
    # compilers and exporters replace parameters with stand-ins
    return torch.compiler.is_compiling() or all(
        type(tensor) in _PLAIN_TENSORS
        for tensor in (getattr(module, 'weight', None), getattr(module, 'bias', None))
        if tensor is not None
    )


def on_eager_cpu(x: Tensor) -> bool:
    """Whether ``x`` is a float32 or float64 tensor on a CPU in eager mode.

    Our CPU operators only pay off there: compilers and exporters optimize plain operations themselves, and half types
    have no fast kernels.
    """
    if x.device.type != 'cpu' or x.dtype not in (torch.float32, torch.float64):
        return False
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return not (traced or torch.is_autocast_enabled('cpu') or under_transform())


def under_transform() -> bool:
    """Whether a transform of torch.func or forward-mode differentiation is active.

    Our operators have no rules for them: PyTorch would silently drop forward-mode derivatives.
    """
    if torch.compiler.is_compiling():  # compilers cannot trace the checks below
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None or torch.autograd.forward_ad._current_level >= 0


def is_lean() -> bool:
    """Whether a lean pass is active (:mod:`mmav.models.ops.lean`)."""
    return not torch.compiler.is_compiling() and state.is_lean


def cheap(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function whose result is cheap to recompute; a lean pass does not keep the result for the backward pass.

    Args:
        function: A function of tensors that draws no random numbers and changes none of them; or a module, whose result
            is kept unless it is a plain LayerNorm (:func:`is_plain`).
        args: Its arguments; tensors may be in lists.

    Returns:
        What it returns: a tensor, or several.
    """
    result = function(*args)
    if torch.compiler.is_compiling():  # compilers decide for themselves what to recompute
        return result
    if state.note is None:
        return result
    if isinstance(function, nn.Module):
        if type(function) is not nn.LayerNorm or not is_plain(function):
            return result
        # with the parameters of now: after torch.func.functional_call the module has others
        args = (*args, function.normalized_shape, function.weight, function.bias, function.eps)
        function = F.layer_norm
    state.note(function, args, result)
    return result


def autocast_type(device: str) -> torch.dtype | None:
    """The dtype in which autocast computes products on a device type; None without autocast."""
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def as_autocast(x: Tensor) -> Tensor:
    """``x`` in the dtype in which autocast would compute a product; unchanged without autocast."""
    half = autocast_type(x.device.type)
    return x.to(half) if half is not None and x.is_floating_point() and x.dtype != torch.float64 else x


def halved(x: Tensor) -> Tensor:
    """:func:`as_autocast`, but cheap to recompute: products cast inputs themselves, but each keeps its own copy."""
    return cheap(as_autocast, x)


def normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """``norm(x)``, with the cast that autocast does on a GPU done here, so that its copy is not kept."""
    if x.device.type == 'cuda' and torch.is_autocast_enabled('cuda'):
        x = cheap(Tensor.float, x)
    return cheap(norm, x)


def cached(cache: dict[Key, Tensor], key: Key, make: Callable[[], Tensor]) -> Tensor:
    """Caches the result of ``make`` for a key; do not change it in place.

    Compilers and fake tensors get a new result: for a compiler it is a constant of the graph, which must not fill a
    cache inside a checkpointed block and would be recompiled once the cache is full.

    Args:
        cache: A cache for one kind of constants. Cleared when full, so that new input sizes do not fill the memory.
        key: What the constant depends on, including its dtype and device.
        make: Creates it.
    """
    if torch.compiler.is_compiling() or active_fake_mode() is not None:
        return make()
    if key not in cache:
        if len(cache) >= MOST_CACHED:
            cache.clear()
        with (
            torch.inference_mode(False),
            torch.no_grad(),
        ):  # training may use it later and save it for the backward pass
            made = make()
        if type(made) is not Tensor:  # a stand-in from another tracing mode
            return made
        cache[key] = made
    return cache[key]
