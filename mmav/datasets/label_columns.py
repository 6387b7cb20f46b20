"""The labels of all clips of a manifest in flat arrays."""

from __future__ import annotations

import copy
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np


class Indices:
    """The class of each clip."""

    def __init__(self, labels: Sequence[int] | np.ndarray) -> None:
        self._labels = np.array(labels, dtype=np.int64)

    def __getitem__(self, index: int) -> int:
        return int(self._labels[index])

    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """The classes of the first clip, then of the second and so on (M,), and where those of each clip end (N,)."""
        return self._labels, np.arange(1, len(self._labels) + 1)

    def moved(self, places: np.ndarray) -> Indices:
        """The same clips with new indices of the classes, ``places`` (C,); several classes may become one."""
        return Indices(places[self._labels])


class Sets:
    """The classes of each clip, any number of them."""

    def __init__(self, labels: Sequence[int], ends: Sequence[int]) -> None:
        self._labels = np.array(labels, dtype=np.int32)
        self._ends = np.array(ends, dtype=np.int64)

    def __getitem__(self, index: int) -> tuple[int, ...]:
        begin = int(self._ends[index - 1]) if index else 0
        return tuple(self._labels[begin : int(self._ends[index])].tolist())

    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """The classes of the first clip, then of the second and so on (M,), and where those of each clip end (N,)."""
        return self._labels, self._ends

    def moved(self, places: np.ndarray) -> Sets:
        """The same clips with new indices of the classes, ``places`` (C,); several classes may become one."""
        clips = np.repeat(np.arange(len(self._ends)), np.diff(self._ends, prepend=0))
        # sorted, each class of a clip once
        pairs = np.unique(np.stack([clips, places[self._labels]], axis=1), axis=0)
        other = copy.copy(self)
        other._labels = pairs[:, 1].astype(np.int32)
        other._ends = np.cumsum(np.bincount(pairs[:, 0], minlength=len(self._ends)))
        return other


class LabelColumn:
    """One part of the labels, while the rows of a manifest are read.

    Args:
        several: Whether a clip has any number of classes.
    """

    def __init__(self, several: bool) -> None:
        self._several = several
        self._labels, self._ends = array('q'), array('q')

    def add(self, label: Any) -> None:
        """Adds the class of the next clip, or a sorted tuple of its classes."""
        if self._several:
            self._labels.extend(label)
            self._ends.append(len(self._labels))
        else:
            self._labels.append(label)

    def packed(self) -> Indices | Sets:
        """Those of all clips."""
        return Sets(self._labels, self._ends) if self._several else Indices(self._labels)
