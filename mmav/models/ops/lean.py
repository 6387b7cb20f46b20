"""Lean passes: results that are cheap to recompute are recomputed in the backward pass instead of being kept for it.

Layers mark what is cheap: ``y = cheap(F.gelu, x)`` (:mod:`mmav.models.ops.eager`). Where autograd would save ``y``, a
lean pass saves a recipe instead: ``y`` is ``F.gelu(x)``. The backward pass recomputes it when needed and drops it after
its last use. If ``x`` is cheap, too, only the inputs that it was computed from are kept.

Unlike torch's selective checkpointing, this runs no Python between operators, does not draw random numbers again, and
recomputes only what the backward pass asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from mmav.models.ops.eager import autocast_type, state


@contextmanager
def lean() -> Iterator[None]:
    """A forward pass that saves nothing that is cheap to recompute."""
    notes = Notes()
    with taking_notes(notes), saved_tensors_hooks(notes.pack, unpack):
        yield


@contextmanager
def taking_notes(notes: Notes | None) -> Iterator[None]:
    """A lean pass that takes the caller's notes, or none."""
    before = state.note, state.is_lean
    state.note, state.is_lean = None if notes is None else notes.add, True
    try:
        yield
    finally:
        state.note, state.is_lean = before
        if notes is not None:
            notes.results.clear()  # autograd holds the packing method, and with it the notes, as long as the graph


@contextmanager
def computing_again() -> Iterator[None]:
    """Marks what is computed inside as a recomputation."""
    before, state.is_again = state.is_again, True
    try:
        yield
    finally:
        state.is_again = before


def is_again() -> bool:
    """Whether something is being recomputed, for code that counts operations."""
    return state.is_again


@contextmanager
def watching(watcher: Callable[[Tensor], Any]) -> Iterator[None]:
    """Calls ``watcher`` for each tensor that lean passes keep, which autograd's hooks around them do not see."""
    state.watchers.append(watcher)
    try:
        yield
    finally:
        state.watchers.remove(watcher)


def tell_kept(tensors: Iterable[Tensor]) -> None:
    """Tells the watchers which tensors are kept."""
    for tensor in tensors:
        for watcher in state.watchers:
            watcher(tensor)


class Notes:
    """The cheap results of a pass."""

    def __init__(self) -> None:
        # by the address of the storage, which is not reused while a weak reference exists
        self.results: dict[int, tuple[StorageWeakRef, _Recipe, int, int]] = {}

    def add(self, function: Callable[..., Any], args: Sequence[Any], result: Any) -> None:
        """Notes that ``result`` is ``function(*args)``."""
        results = _tensors([result])
        given = {x.untyped_storage()._cdata for x in _tensors(args)}
        recipe = _Recipe(function, [self._hold(arg) for arg in args], results[0].device.type)
        for index, tensor in enumerate(results):
            storage = tensor.untyped_storage()
            if storage._cdata not in given:  # not a view of an argument
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
        # a result that was changed in place, for example by dropout, is no longer what the function returns
        return None if ref.expired() or tensor._version != version else _Cheap(recipe, index, tensor)

    def pack(self, tensor: Tensor) -> Any:
        """What to save for a tensor that the backward pass needs; see :func:`unpack`."""
        found = self._find(tensor)
        if state.watchers:
            tell_kept([tensor] if found is None else found.recipe.kept())
        if found is None:
            return Kept(tensor)
        found.recipe.wanted += 1
        found.recipe.left += 1
        return found


def unpack(packed: Any) -> Tensor:
    """The tensor for which ``packed`` was saved."""
    value = packed.value()
    if isinstance(packed, _Cheap):
        packed.recipe.used()
    return value


class Kept:
    """A tensor that must not change before the backward pass: with hooks, autograd does not check that itself."""

    def __init__(self, tensor: Tensor) -> None:
        # a node that keeps its own result including the graph would never be freed without a backward pass
        self.tensor = tensor.detach()
        self.version = self.tensor._version

    def value(self) -> Tensor:
        """The tensor, without a graph.

        Raises:
            RuntimeError: It was changed in place.
        """
        if self.tensor._version != self.version:
            raise RuntimeError(
                f'a tensor {tuple(self.tensor.shape)} was changed in place before its backward pass, which needs '
                'it; change a copy, or take activation_checkpointing=False'
            )
        return self.tensor


class _Cheap:
    """A view of a result that is recomputed."""

    def __init__(self, recipe: _Recipe, index: int, view: Tensor) -> None:
        self.recipe, self.index = recipe, index
        self.dtype = view.dtype
        self.layout = (tuple(view.shape), view.stride(), view.storage_offset())
        self.bytes = view.untyped_storage().nbytes()

    def value(self) -> Tensor:
        whole = self.recipe.value()[self.index]
        # the same function of the same arguments returns the same layout
        assert whole.dtype == self.dtype and whole.untyped_storage().nbytes() == self.bytes
        return whole.as_strided(*self.layout)


class _Recipe:
    """How results are recomputed: a function and what is kept of its arguments."""

    def __init__(self, function: Callable[..., Any], args: list[Any], device: str) -> None:
        self.function, self.args, self.device, self.half = function, args, device, autocast_type(device)
        self.results: list[Tensor] | None = None
        # how often the backward pass uses the results, and how many uses are left
        self.wanted = self.left = 0

    def kept(self) -> Iterator[Tensor]:
        """The tensors that the results are computed from."""
        for held in tree_leaves(self.args):
            if isinstance(held, Kept):
                yield held.tensor
            elif isinstance(held, _Cheap):
                yield from held.recipe.kept()

    def value(self) -> list[Tensor]:
        if self.results is not None:
            return self.results
        with torch.no_grad(), self._precision(), computing_again():
            results = _tensors([self.function(*(_value(arg) for arg in self.args))])
        if self.left:
            self.results = results
        return results

    def used(self) -> None:
        self.left -= 1
        if self.left == 0:  # start over if the graph is retained
            self.results, self.left = None, self.wanted

    def _precision(self) -> AbstractContextManager:
        """The precision of the forward pass."""
        if autocast_type(self.device) == self.half:
            return nullcontext()
        dtype = self.half or torch.bfloat16
        return torch.autocast(self.device, dtype, enabled=self.half is not None, cache_enabled=False)


def _value(held: Any) -> Any:
    if isinstance(held, list):
        return [_value(item) for item in held]
    return held.value() if isinstance(held, (Kept, _Cheap)) else held


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    """The tensors among values, including those in lists."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found
