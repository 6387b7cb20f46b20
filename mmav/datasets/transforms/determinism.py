"""What a transform says about chance, so that what it gives can be kept.

A transform that gives the same for the same clip every time says so in its class: ``deterministic = True``, or a
property where it depends on a setting. It then uses neither ``rng`` nor any other source of chance, and of a clip no
more than its file, its span, its modalities and what deterministic steps before it gave: not its label or index.
``touches`` names the modalities whose entries it reads and changes; a later deterministic step that touches others is
not held up by a random one. ``packages`` names those that compute what it gives, other than PyAV, OpenCV, NumPy and
PyTorch: with another version of one, clips are prepared anew.

A subclass inherits neither, as it may do something else; it says it again. A transform that says nothing is taken as
random, and as touching everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def is_deterministic(step: Any) -> bool:
    """Whether a transform says that it gives the same every time."""
    return bool(_said(step, 'deterministic', False))


def touched(step: Any) -> frozenset[str] | None:
    """The modalities whose entries a transform says it reads and changes; None for all."""
    names = _said(step, 'touches', None)
    return None if names is None else frozenset(names)


def split_steps(steps: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Splits a pipeline into what can be computed once and what has to follow each time.

    Both in turn give what the pipeline gives: a deterministic step comes before a random one that stands ahead of it
    only where they touch different modalities.

    Args:
        steps: The transforms.

    Returns:
        The steps whose result can be kept, and the rest.
    """
    kept: list[Any] = []
    rest: list[Any] = []
    for step in steps:
        free = is_deterministic(step) and not any(_meet(step, other) for other in rest)
        (kept if free else rest).append(step)
    return kept, rest


def _meet(one: Any, other: Any) -> bool:
    a, b = touched(one), touched(other)
    return a is None or b is None or bool(a & b)


def _said(step: Any, name: str, default: Any) -> Any:
    """What the very class of a transform, none that it inherits from, says."""
    return getattr(step, name) if name in vars(type(step)) else default
