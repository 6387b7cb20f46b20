"""Holds clips out for validation and test: by recording, of every class, the same with the same seed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mmav.errors import MmavError


def hold_out(sources: Sequence[str], labels: Sequence[str], shares: Mapping[str, float], *, seed: int = 0) -> list[str]:
    """Chooses the part of each clip; all clips of a source go to one.

    Class after class, the rarest first, sources are drawn until the share of its clips is reached: at least one source
    of every class for each part that is held out, and one for training.

    scikit-learn's StratifiedGroupKFold keeps groups together too, but it may leave a class without training clips.

    Args:
        sources: Source of each clip (N,).
        labels: Class of each clip (N,).
        shares: Part -> share of the clips that it gets; the others get 'train'.
        seed: Of the draw.

    Returns:
        The part of each clip (N,).

    Raises:
        MmavError: A class has too few sources.

    >>> hold_out(['a', 'a', 'b', 'c'], ['x'] * 4, dict(test=0.3, val=0.3))
    ['train', 'train', 'val', 'test']
    """
    of_source: dict[str, Counter[str]] = defaultdict(Counter)
    for source, label in zip(sources, labels, strict=True):
        of_source[source][label] += 1
    clips = Counter(labels)
    of_class = {label: sorted(name for name, counts in of_source.items() if counts[label]) for label in clips}
    needed = len(shares) + 1
    for label, names in of_class.items():
        if len(names) < needed:
            raise MmavError(
                f'class {label!r}: its {clips[label]:,} clips come from {len(names)} recording'
                f'{"s" * (len(names) != 1)}, and {needed} are needed, so that training, '
                f'{" and ".join(shares)} have one each; add recordings, or say with --source how they are named'
            )
    rng = np.random.default_rng(seed)
    rarest_first = sorted(of_class, key=lambda label: (len(of_class[label]), label))
    part_of: dict[str, str] = {}
    parts = list(shares)
    for number, part in enumerate(parts):
        got: Counter[str] = Counter()
        wanted = {label: max(1, round(shares[part] * number)) for label, number in clips.items()}
        for label in rarest_first:
            free = [name for name in of_class[label] if name not in part_of]
            for name in _smallest_last(free, of_source, wanted, rng):
                if got[label] >= wanted[label]:
                    break
                fits = not got[label] or _distance(got + of_source[name], wanted) < _distance(got, wanted)
                later = len(parts) - number - 1
                if fits and _leaves_enough(of_source[name], of_class, part_of, 1 + later):
                    part_of[name] = part
                    got += of_source[name]
            if not got[label]:
                raise MmavError(
                    f'class {label!r}: its recordings also hold other classes, and none can be held out for {part}; '
                    'add recordings, or write test.csv and val.csv (columns path,label)'
                )
    return [part_of.get(source, 'train') for source in sources]


def _smallest_last(
    names: Sequence[str], of_source: Mapping[str, Counter[str]], wanted: Mapping[str, int], rng: np.random.Generator
) -> list[str]:
    """Sources in random order; those with more clips than wanted come after the others, the smaller ones first."""
    drawn = [names[k] for k in rng.permutation(len(names))]
    excess = {name: sum(max(0, number - wanted[label]) for label, number in of_source[name].items()) for name in names}
    return sorted(drawn, key=lambda name: excess[name])


def _distance(got: Mapping[str, int], wanted: Mapping[str, int]) -> int:
    """How many clips of all classes are too many or too few."""
    return sum(abs(got[label] - number) for label, number in wanted.items())


def _leaves_enough(
    counts: Mapping[str, int], of_class: Mapping[str, Sequence[str]], part_of: Mapping[str, str], least: int
) -> bool:
    """Whether each class of a source still has ``least`` free sources without it."""
    return all(sum(name not in part_of for name in of_class[label]) > least for label in counts)
