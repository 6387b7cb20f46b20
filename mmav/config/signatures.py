"""Which keywords a class or function takes, also those that it hands on to its parents through ``**kwargs``."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class CallSignature:
    """What a call takes by keyword.

    Attributes:
        names: Every keyword that is accepted by name.
        required: Those without a default, in order.
        is_open: Other keywords are taken too, and go where no signature tells.
    """

    names: list[str] = field(default_factory=list)
    required: list[str] = field(default_factory=list)
    is_open: bool = False


@dataclass
class _Forwarding:
    """How ``__init__`` uses its ``**kwargs``: what it takes out, and what the call of its parent adds by itself."""

    taken: set[str] = field(default_factory=set)
    reaches_parent: bool = False
    given: set[str] = field(default_factory=set)
    positional: int = 0


def call_signature(target: Callable[..., Any], *, skip_positional: int = 0) -> CallSignature:
    """Finds the keywords of a class or a function.

    Args:
        target: A class, whose ``__init__`` counts, or a function.
        skip_positional: The caller fills in so many positional arguments of a function.

    >>> class A:
    ...     def __init__(self, width, depth=2): ...
    >>> call_signature(A)
    CallSignature(names=['width', 'depth'], required=['width'], is_open=False)
    """
    if not inspect.isclass(target):
        try:
            parameters = list(inspect.signature(target).parameters.values())[skip_positional:]
        except (TypeError, ValueError):  # built in, without a signature
            return CallSignature(is_open=True)
        return _own(parameters)
    return _of_class([cls for cls in target.__mro__ if '__init__' in vars(cls) and cls is not object])


def _own(parameters: list[inspect.Parameter]) -> CallSignature:
    by_name = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return CallSignature(
        names=[p.name for p in by_name],
        required=[p.name for p in by_name if p.default is p.empty],
        is_open=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def _of_class(classes: list[type]) -> CallSignature:
    """The signature of the first class, joined with those after it as far as ``**kwargs`` are handed on."""
    if not classes:
        return CallSignature()
    try:
        parameters = list(inspect.signature(vars(classes[0])['__init__']).parameters.values())[1:]
    except (TypeError, ValueError):
        return CallSignature(is_open=True)
    own = _own(parameters)
    if not own.is_open:
        return own
    forwarding = _forwarding(vars(classes[0])['__init__'])
    if forwarding is None or not forwarding.reaches_parent:
        taken = [] if forwarding is None else sorted(forwarding.taken - set(own.names))
        return CallSignature(own.names + taken, own.required, True)
    parent = _of_class(classes[1:])
    filled = forwarding.given | set(parent.names[: forwarding.positional])
    # where *args are handed on too, the parent's next positional arguments may come from there: still keywords for us
    names = own.names + sorted(forwarding.taken - set(own.names))
    names += [name for name in parent.names if name not in filled and name not in names]
    required = own.required + [name for name in parent.required if name not in filled and name not in own.required]
    return CallSignature(names, required, parent.is_open)


def _forwarding(init: Callable[..., Any]) -> _Forwarding | None:
    """Reads from the source what becomes of ``**kwargs``; None where there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(init))))
    except (OSError, TypeError, SyntaxError):
        return None
    function = next(node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    if function.args.kwarg is None:
        return None
    kwargs = function.args.kwarg.arg
    found = _Forwarding()
    for node in ast.walk(function):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        is_kwargs = isinstance(owner, ast.Name) and owner.id == kwargs
        if is_kwargs and node.func.attr in ('pop', 'get', 'setdefault') and isinstance(node.args[0], ast.Constant):
            found.taken.add(str(node.args[0].value))
        is_super = isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == 'super'
        hands_on = any(word.arg is None and getattr(word.value, 'id', None) == kwargs for word in node.keywords)
        if node.func.attr == '__init__' and is_super and hands_on:
            found.reaches_parent = True
            found.given |= {word.arg for word in node.keywords if word.arg is not None}
            found.positional = sum(not isinstance(arg, ast.Starred) for arg in node.args)
    return found
