"""A dump of clips with any number of labels, as arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmav.errors import MmavError
from mmav.evaluation.class_order import in_order
from mmav.evaluation.class_scores import Answers, answers_of, multi_hot
from mmav.evaluation.predictions import clip_key, is_multi_label, load_predictions, part_of


@dataclass(frozen=True)
class LabelSets:
    """Truth and predictions of the N clips of a dump.

    Attributes:
        name: What to call the dump in messages.
        keys: Of each clip, see :func:`mmav.evaluation.predictions.clip_key`.
        paths: Of each clip.
        labels: Which classes each clip has (N, C), bool.
        scores: Probabilities (N, C).
        broken: Which clips could not be read (N,).
        classes: Names of the classes.
        named: Whether the names come from the dump, instead of numbers.
        lists: Part -> its names in the dump, or None.
    """

    name: str
    keys: list[tuple[int, str]]
    paths: list[str]
    labels: np.ndarray
    scores: np.ndarray
    broken: np.ndarray
    classes: list[str]
    named: bool
    lists: Any = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of classes, in a tuple."""
        return (len(self.classes),)

    @cached_property
    def answered(self) -> np.ndarray:
        """Which clips could be read and have finite scores (N,)."""
        return ~self.broken & np.isfinite(self.scores).all(axis=1)

    @cached_property
    def answers(self) -> Answers:
        """What the scores of the classes are computed from."""
        return answers_of(self.scores, self.labels, self.broken)

    def of(self, places: np.ndarray) -> LabelSets:
        """The clips at these places."""
        return LabelSets(
            self.name,
            [self.keys[place] for place in places],
            [self.paths[place] for place in places],
            labels=self.labels[places],
            scores=self.scores[places],
            broken=self.broken[places],
            classes=self.classes,
            named=self.named,
            lists=self.lists,
        )


def read_label_sets(path: str | Path, part: str | None = None, *, like: Any = None) -> LabelSets:
    """Reads a dump of tools/test.py.

    Args:
        path: File of predictions.
        part: Which part of the label, where it has several.
        like: ``lists`` of the label sets that they are compared with, whose order of classes they get.

    Raises:
        MmavError: The file is missing or wrong, its clips have one label each or none, or its scores are not
            probabilities.
    """
    rows, classes = in_order(*load_predictions(path), like, name=path)
    part = part_of(rows, part, path)
    if not is_multi_label(rows):
        raise MmavError(f"'{path}' has clips with one label each: give predictions of a list with multi_label=True")
    keys = [clip_key(row) for row in rows]
    if len(set(keys)) != len(keys):
        raise MmavError(f"'{path}' has a clip twice: {Counter(keys).most_common(1)[0][0][1]}")
    each, names = [row['scores'][part] for row in rows], classes[part] if classes else None
    size = len(each[0])
    if any(len(scores) != size for scores in each) or (names is not None and len(names) != size):
        raise MmavError(f"'{path}' has clips or names of different numbers of classes")
    scores = np.array(each)
    known = scores[np.isfinite(scores)]
    if len(known) and not -1e-3 <= known.min() <= known.max() <= 1 + 1e-3:
        raise MmavError(f"'{path}' holds scores from {known.min():.3g} to {known.max():.3g}: not probabilities")
    return LabelSets(
        str(path),
        keys,
        [row['path'] for row in rows],
        labels=multi_hot([row['label'][part] for row in rows], size),
        scores=scores,
        broken=np.array([row['broken'] is not None for row in rows]),
        classes=list(names or map(str, range(size))),
        named=names is not None,
        lists=classes,
    )
