"""Lean passes: results that are cheap to compute again are not kept for the backward pass, but computed anew there.

Layers say what is cheap: ``y = cheap(F.gelu, x)``. Where autograd wants to keep ``y``, it keeps a note in a lean pass,
that ``y`` is ``F.gelu(x)``; the backward pass computes it when it is needed, and forgets it after its last use. If
``x`` is cheap, too, only what that was computed from is kept. Where nothing is lean, ``cheap`` only calls its function.

Compared with torch's selective checkpointing this needs no Python between operators, draws no random numbers again, and
computes only what the backward pass asks for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from mmav.models.ops.sdpa_backends import as_autocast
from mmav.models.ops.tiled_attention import keeping_nothing

# Modules whose result depends on their input and their parameters alone; another one is called and not called again.
_PURE = (nn.LayerNorm, nn.GELU, nn.Identity)


def cheap(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function whose result may be computed again.

    Args:
        function: A function of tensors that draws no random numbers and changes none of them; or a module.
        args: Its arguments; tensors may be in lists.

    Returns:
        What it returns: a tensor, or several.
    """
    result = function(*args)
    if torch.compiler.is_compiling():  # compilers decide by themselves what is cheap
        return result
    if _state.notes is not None and (not isinstance(function, nn.Module) or _is_pure(function)):
        _state.notes.add(function, args, result)
    return result


def _is_pure(module: nn.Module) -> bool:
    """Whether calling a module twice is the same as calling it once."""
    return type(module) in _PURE and not module._forward_hooks and not module._forward_pre_hooks


def halved(x: Tensor) -> Tensor:
    """``x`` in the type in which autocast would compute products; as it is without autocast (``as_autocast``).

    Products cast their inputs by themselves, but then each has a copy of its own to keep.
    """
    return cheap(as_autocast, x)


def normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """``norm(x)``; what autocast on a GPU would cast before it is cast here, so that the copy need not be kept."""
    if x.device.type == 'cuda' and _half_type('cuda') is not None:
        x = cheap(Tensor.float, x)
    return cheap(norm, x)


def _half_type(device: str) -> torch.dtype | None:
    """The type in which autocast computes products on a device; None without autocast."""
    if device not in ('cpu', 'cuda') or not torch.is_autocast_enabled(device):  # PyTorch refuses to tell of 'meta'
        return None
    return torch.get_autocast_dtype(device)


@contextmanager
def lean() -> Iterator[None]:
    """A forward pass in which nothing is kept that is cheap to compute again."""
    notes = Notes()
    with taking_notes(notes), saved_tensors_hooks(notes.pack, unpack):
        yield


@contextmanager
def taking_notes(notes: Notes | None) -> Iterator[None]:
    """A lean pass whose notes someone else makes use of; or nobody."""
    before = _state.notes, _state.is_lean
    _state.notes, _state.is_lean = notes, True
    try:
        with keeping_nothing():
            yield
    finally:
        _state.notes, _state.is_lean = before
        if notes is not None:
            notes.results.clear()  # autograd holds the method that packs, and so the notes, as long as the graph


@contextmanager
def computing_again() -> Iterator[None]:
    """What is computed inside has been computed before."""
    before, _state.is_again = _state.is_again, True
    try:
        yield
    finally:
        _state.is_again = before


def is_again() -> bool:
    """Whether something is being computed again, for those who count operations."""
    return _state.is_again


@contextmanager
def watching(watcher: Callable[[Tensor], Any]) -> Iterator[None]:
    """Calls ``watcher`` for what is kept in lean passes, which hooks of autograd around them do not see."""
    _state.watchers.append(watcher)
    try:
        yield
    finally:
        _state.watchers.remove(watcher)


def tell_kept(tensors: Iterable[Tensor]) -> None:
    """Tells those who watch that tensors are kept."""
    for tensor in tensors:
        for watcher in _state.watchers:
            watcher(tensor)


def is_lean() -> bool:
    """Whether a lean pass is under way."""
    return not torch.compiler.is_compiling() and _state.is_lean


class Notes:
    """What is cheap in a pass."""

    def __init__(self) -> None:
        # by the address of the storage, which no other one gets while there is a weak reference to it
        self.results: dict[int, tuple[StorageWeakRef, _Recipe, int, int]] = {}

    def add(self, function: Callable[..., Any], args: Sequence[Any], result: Any) -> None:
        """Notes that ``result`` is ``function(*args)``."""
        results = _tensors([result])
        given = {x.untyped_storage()._cdata for x in _tensors(args)}
        recipe = _Recipe(function, [self._hold(arg) for arg in args], results[0].device.type)
        for index, tensor in enumerate(results):
            storage = tensor.untyped_storage()
            if storage._cdata not in given:  # not a view of what the function was given
                self.results[storage._cdata] = (StorageWeakRef(storage), recipe, index, tensor._version)

    def _hold(self, value: Any) -> Any:
        """What a recipe keeps of an argument."""
        if isinstance(value, (list, tuple)):
            return [self._hold(item) for item in value]
        if not isinstance(value, Tensor):
            return value
        return self._find(value) or Kept(value)

    def _find(self, tensor: Tensor) -> _Cheap | None:
        noted = self.results.get(tensor.untyped_storage()._cdata)
        if noted is None:
            return None
        ref, recipe, index, version = noted
        # what was changed in place since, by a dropout for example, is no longer what the function gives
        return None if ref.expired() or tensor._version != version else _Cheap(recipe, index, tensor)

    def pack(self, tensor: Tensor) -> Any:
        """What is kept of a tensor that the backward pass will want; see :func:`unpack`."""
        found = self._find(tensor)
        if _state.watchers:
            tell_kept([tensor] if found is None else found.recipe.kept())
        if found is None:
            return Kept(tensor)
        found.recipe.wanted += 1
        found.recipe.left += 1
        return found


def unpack(packed: Any) -> Tensor:
    """The tensor of which ``packed`` was kept."""
    value = packed.value()
    if isinstance(packed, _Cheap):
        packed.recipe.used()
    return value


class Kept:
    """A tensor that the backward pass wants as it is: where there are hooks, autograd does not look by itself."""

    def __init__(self, tensor: Tensor) -> None:
        # a node that keeps its own result with the result's graph would never be freed without a backward pass
        self.tensor = tensor.detach()
        self.version = self.tensor._version

    def value(self) -> Tensor:
        """The tensor, without a graph.

        Raises:
            RuntimeError: Its numbers are others by now.
        """
        if self.tensor._version != self.version:
            raise RuntimeError(
                f'a tensor {tuple(self.tensor.shape)} was changed in place before its backward pass, which computes '
                'with it again; change a copy, or take activation_checkpointing=False'
            )
        return self.tensor


class _Cheap:
    """A view of a result that is computed again."""

    def __init__(self, recipe: _Recipe, index: int, view: Tensor) -> None:
        self.recipe, self.index = recipe, index
        self.dtype = view.dtype
        self.layout = (tuple(view.shape), view.stride(), view.storage_offset())
        self.bytes = view.untyped_storage().nbytes()

    def value(self) -> Tensor:
        whole = self.recipe.value()[self.index]
        # the same function of the same arguments lays its result out in the same way
        assert whole.dtype == self.dtype and whole.untyped_storage().nbytes() == self.bytes
        return whole.as_strided(*self.layout)


class _Recipe:
    """How results are computed again: a function and what is kept of its arguments."""

    def __init__(self, function: Callable[..., Any], args: list[Any], device: str) -> None:
        self.function, self.args, self.device = function, args, device
        self.half = _half_type(device)
        self.parameters = [Kept(p) for p in function.parameters()] if isinstance(function, nn.Module) else []
        self.results: list[Tensor] | None = None
        # how often the backward pass asks for results, and how many of these times are still to come
        self.wanted = self.left = 0

    def kept(self) -> Iterator[Tensor]:
        """What the results are computed from."""
        for held in tree_leaves(self.args):
            if isinstance(held, Kept):
                yield held.tensor
            elif isinstance(held, _Cheap):
                yield from held.recipe.kept()

    def value(self) -> list[Tensor]:
        if self.results is not None:
            return self.results
        for parameter in self.parameters:
            parameter.value()  # refuses one that was changed
        with torch.no_grad(), self._precision(), computing_again():
            results = _tensors([self.function(*(_value(arg) for arg in self.args))])
        if self.left:
            self.results = results
        return results

    def used(self) -> None:
        self.left -= 1
        if self.left == 0:  # begin anew where the graph is retained
            self.results, self.left = None, self.wanted

    def _precision(self) -> AbstractContextManager:
        """The precision of the forward pass."""
        if _half_type(self.device) == self.half:
            return nullcontext()
        dtype = self.half or torch.bfloat16
        return torch.autocast(self.device, dtype, enabled=self.half is not None, cache_enabled=False)


def _value(held: Any) -> Any:
    if isinstance(held, list):
        return [_value(item) for item in held]
    return held.value() if isinstance(held, (Kept, _Cheap)) else held


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    """The tensors among values, those in lists included."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found


class _State(threading.local):
    """What passes are under way in a thread, as hooks of autograd are a thread's own, too."""

    def __init__(self) -> None:
        self.notes: Notes | None = None
        self.is_lean = self.is_again = False
        self.watchers: list[Callable[[Tensor], Any]] = []


_state = _State()
