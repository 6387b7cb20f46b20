"""Activation checkpointing: the backward pass recomputes a part of a model from its input, in a lean pass.

torch.utils.checkpoint recomputes, too, but then holds everything that autograd saves for the part. Here the second pass
is lean (:mod:`mmav.models.ops.lean`), which halves the memory for the backward pass of a large block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils import checkpoint
from torch.utils._pytree import tree_leaves, tree_map

from mmav.models.ops.lean import Kept, Notes, computing_again, taking_notes, tell_kept, unpack

Contexts = Callable[[], tuple[AbstractContextManager, AbstractContextManager]]


def run_again(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, contexts: Contexts | None = None
) -> Any:
    """Returns function(*args, **kwargs), saving only the arguments for the backward pass.

    Both passes see the same random numbers, precision and buffers; only the first one updates buffers. Both call the
    hooks of submodules, as with torch.utils.checkpoint.

    Args:
        function: The function, or a method of a module.
        args: Its arguments.
        kwargs: Its keyword arguments.
        contexts: Returns a context for each of the two passes, such as
            ``torch.utils.checkpoint.create_selective_checkpoint_contexts``.
    """
    first, second = contexts() if contexts is not None else (nullcontext(), nullcontext())
    if hasattr(first, 'respect_saved_tensors_hooks'):
        # PyTorch's contexts keep their own tensors; the hooks below handle the recomputed ones. Without this setting
        # PyTorch warns that the default may change.
        first.respect_saved_tensors_hooks = False
    part = _Part(function, args, kwargs, second)
    tell_kept(x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor))
    with taking_notes(None), saved_tensors_hooks(part.note, part.compute), first:
        return function(*args, **kwargs)


class _Enough(Exception):
    """Raised in the second pass once everything that the backward pass needs is there."""


class _Part:
    """A function, its arguments, the state it runs in, and what its second pass keeps."""

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], context: Any
    ) -> None:
        self.function, self.context = function, context
        module = getattr(function, '__self__', function)
        self.name, self.parameters, self.buffers = getattr(function, '__name__', 'a function'), [], []
        if isinstance(module, nn.Module):
            self.name = type(module).__name__
            self.buffers = [
                (own, key, x.detach().clone()) for own, key, x in _held(m._buffers for m in module.modules())
            ]
            self.parameters = [
                (own, key, ref(x), _Input(x)) for own, key, x in _held(m._parameters for m in module.modules())
            ]
        # detached: what autograd saves must not hold its own graph
        self.inputs = tree_map(lambda x: _Input(x) if isinstance(x, Tensor) else x, (args, dict(kwargs)))
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        self.device = next((x.device.type for x in tensors), 'cpu')
        self.autocasts = [
            partial(
                torch.autocast,
                kind,
                dtype=torch.get_autocast_dtype(kind),
                enabled=torch.is_autocast_enabled(kind),
                cache_enabled=torch.is_autocast_cache_enabled(),
            )
            for kind in dict.fromkeys((self.device, 'cpu'))
            if torch.amp.is_autocast_available(kind)
        ]
        self.random = torch.get_rng_state()
        self.random_of_devices = checkpoint.get_device_states(*tensors)
        self.about: list[tuple[torch.Size, torch.dtype]] = []
        self.kept: dict[int, Any] = {}

    def note(self, tensor: Tensor) -> int:
        """Saves a number instead of a tensor of the first pass."""
        self.about.append((tensor.shape, tensor.dtype))
        return len(self.about) - 1

    def compute(self, number: int) -> Tensor:
        """Recomputes the tensor with this number."""
        if number not in self.kept:
            self._run()
        if number not in self.kept:
            raise self._other()
        return unpack(self.kept.pop(number))

    def _other(self) -> RuntimeError:
        return RuntimeError(
            f'{self.name}: its second pass keeps other tensors than its first, so its gradients would be wrong; leave '
            'it out of activation_checkpointing, and do not call train() or eval() before the backward pass'
        )

    def _keep(self, pack: Callable[[Tensor], Any], tensor: Tensor) -> Any:
        number = len(self.kept)
        if number >= len(self.about) or self.about[number] != (tensor.shape, tensor.dtype):
            raise self._other()
        self.kept[number] = pack(tensor)
        if len(self.kept) == len(self.about):
            raise _Enough
        return tensor.detach()

    def _run(self) -> None:
        self.kept = {}
        # the context returns what it kept only once: a second backward pass recomputes everything
        context, self.context = self.context, nullcontext()
        for *_, parameter in self.parameters:
            parameter.kept.value()  # raises if it was changed
        # those of torch.func.functional_call are others by now; what is the same stays, for FSDP changes it inside
        replaced = [(own, key, x.again()) for own, key, same, x in self.parameters if own.get(key) is not same()]
        args, kwargs = tree_map(lambda x: x.again() if isinstance(x, _Input) else x, self.inputs)
        with ExitStack() as stack:
            devices, states = self.random_of_devices
            stack.enter_context(torch.random.fork_rng(devices, device_type=self.device if devices else 'cuda'))
            torch.set_rng_state(self.random)
            checkpoint.set_device_states(devices, states, device_type=self.device)
            for autocast in self.autocasts:
                stack.enter_context(autocast())
            stack.enter_context(torch.enable_grad())
            stack.enter_context(computing_again())
            stack.enter_context(_as_before([*replaced, *((own, key, x.clone()) for own, key, x in self.buffers)]))
            notes = Notes()
            stack.enter_context(taking_notes(notes))
            stack.enter_context(saved_tensors_hooks(partial(self._keep, notes.pack), unpack))
            stack.enter_context(context)
            stack.enter_context(suppress(_Enough))
            self.function(*args, **kwargs)


Held = tuple[dict[str, Any], str, Tensor]


def _held(of_modules: Iterable[dict[str, Any]]) -> list[Held]:
    """The tensors in dicts of modules, with where they are."""
    return [(own, key, x) for own in of_modules for key, x in own.items() if x is not None]


@contextmanager
def _as_before(earlier: Sequence[Held]) -> Iterator[None]:
    """Puts earlier tensors into dicts of modules, and afterwards those of now back.

    Running means and the vectors of spectral_norm are thus updated only once, and both passes read the same values.
    """
    now = [own.get(key) for own, key, _ in earlier]
    for own, key, tensor in earlier:
        own[key] = tensor
    try:
        yield
    finally:
        for (own, key, _), current in zip(earlier, now, strict=True):
            own[key] = current


class _Input:
    """A tensor among the arguments."""

    def __init__(self, tensor: Tensor) -> None:
        self.kept, self.needs_grad = Kept(tensor), tensor.requires_grad

    def again(self) -> Tensor:
        """The tensor as a leaf of a new graph."""
        return self.kept.value().detach().requires_grad_(self.needs_grad)
