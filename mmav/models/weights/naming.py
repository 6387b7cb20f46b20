"""What a project calls its weights: the form of the entries of :data:`mmav.models.weights.layouts.LAYOUTS`."""

from __future__ import annotations

from dataclasses import dataclass

Rules = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Layout:
    """The names that a project gives its weights.

    Attributes:
        name: Project and model.
        marks: Keys that a file of this layout has, as patterns; every one must be found.
        rules: Replacements that turn its keys into ours, in order.
        head: Pattern of the keys that are left out: those of the classifier, and of a decoder.
        lacks: Patterns of which none may be found.
        fresh: Pattern of our keys that some of its files lack; they keep their initial values.
        sincos: The grid of positions that its files leave out, as they are fixed sines and cosines.
    """

    name: str
    marks: tuple[str, ...]
    rules: Rules
    head: str
    lacks: tuple[str, ...] = ()
    fresh: str = ''
    sincos: tuple[int, ...] = ()
