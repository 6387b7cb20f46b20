"""Whose sound goes with whose picture: the order in which clips are read, and their partners."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

NONE = -1


def twins(labels: Sequence[Hashable], seed: int = 0) -> list[list[int]]:
    """Puts clips of the same label together, two by two, so that a test meets both within a few batches.

    Args:
        labels: Of each clip.
        seed: Of the random order.

    Returns:
        Groups of places: two clips of a label, three where their number is odd, one where a label has a single clip;
        all in random order.

    >>> sorted(len(group) for group in twins(['a', 'b', 'a', 'a', 'c', 'c']))
    [1, 2, 3]
    """
    rng = np.random.default_rng(seed)
    members: dict[Hashable, list[int]] = {}
    for place in rng.permutation(len(labels)).tolist():
        members.setdefault(labels[place], []).append(place)
    groups = []
    for each in members.values():
        cut = len(each) - 3 if len(each) > 2 and len(each) % 2 else len(each)
        groups += [each[first : first + 2] for first in range(0, cut, 2)] + [each[cut:]] * (cut < len(each))
    return [groups[k] for k in rng.permutation(len(groups))]


def blocks(groups: Sequence[Sequence[int]], size: int) -> list[list[list[int]]]:
    """Groups one after the other in blocks of ``size`` clips or a little more, within which clips are exchanged.

    >>> blocks([[0, 1], [2], [3, 4]], 3)
    [[[0, 1], [2]], [[3, 4]]]
    """
    made: list[list[list[int]]] = [[]]
    for group in groups:
        if sum(map(len, made[-1])) >= size:
            made.append([])
        made[-1].append(list(group))
    if len(made) > 1 and sum(map(len, made[-1])) < max(size // 2, 2):
        rest = made.pop()  # a few clips would have few to choose from
        made[-1] += rest
    return made


def partners(sizes: Sequence[int], usable: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws the partners of the clips of a block.

    Args:
        sizes: Clips of each of its groups; the clips stand in this order.
        usable: Which clips can give and take: those that could be read and have both modalities (N,).
        rng: Draws them.

    Returns:
        Of each clip the place in the block of another one, and of another one of its group (N,); NONE where there is
        none. Nobody is a partner twice, or of itself.
    """
    other = np.full(len(usable), NONE)
    alike = other.copy()
    drawn = rng.permutation(np.flatnonzero(usable))
    if len(drawn) > 1:
        other[drawn] = np.roll(drawn, 1)
    for first, size in zip(np.cumsum([0, *sizes[:-1]]), sizes, strict=True):
        members = first + np.flatnonzero(usable[first : first + size])
        if len(members) > 1:
            alike[members] = np.roll(members, 1)
    return other, alike
