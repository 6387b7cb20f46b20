"""The cells of a manifest's label columns: a class name or index, or any number of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import repeat

import numpy as np

from mmav.datasets.columns import say_once
from mmav.errors import ManifestError, did_you_mean

# between the labels of a clip, in a cell
SEPARATOR = '|'


class LabelReader:
    """Parses the cells of a label column: names, or else indices.

    If class names are numbers and a name is the index of another class, as in the list 1, 2, 3, numbers are names.

    Args:
        path: The manifest.
        column: Name of the column.
        names: Names of the classes.
        several: Whether a cell holds any number of labels, separated by ``|``.

    Raises:
        ManifestError: It does, and a class has a ``|`` in its name.
    """

    def __init__(self, path: str, column: str, names: Sequence[str], *, several: bool = False) -> None:
        self._column = column
        self._several = several
        self._empty = 0
        self._known = _Known(lambda name: self.read('', name.strip()))
        marked = next((name for name in names if SEPARATOR in name), None) if several else None
        if marked is not None:
            raise ManifestError(
                f'{path}: multi_label=True takes {SEPARATOR!r} for what separates labels, and the class {marked!r} has '
                'one in its name: rename it in the class list and the manifest'
            )
        self._index_of = {name: i for i, name in enumerate(names)}
        self._numbers = [name for name, i in self._index_of.items() if _is_number(name) and i != int(name) < len(names)]
        if self._numbers:
            say_once(
                f'{path}: class names are numbers, so the {column} {self._numbers[0]} means the class of this name, '
                f'which has the index {self._index_of[self._numbers[0]]}'
            )

    def cell(self, where: str, cell: str) -> int | tuple[int, ...]:
        """The index of a class; with several labels the sorted indices of all.

        Raises:
            ManifestError: There is no such class, or a name is missing between two separators.
        """
        if not self._several:
            return self.read(where, cell)
        self._empty += not cell
        names = [name.strip() for name in cell.split(SEPARATOR)] if cell else []
        if '' in names:
            raise ManifestError(
                f'{where}: {self._column} {cell!r} has a {SEPARATOR!r} without a name on both sides; remove it'
            )
        return tuple(sorted({self.read(where, name) for name in names}))

    def cells(self, cells: Sequence[str]) -> tuple[np.ndarray, np.ndarray | None]:
        """Many cells at a time, without spaces around them.

        Returns:
            As of :meth:`cell`: the classes of the first clip, then of the second and so on (M,), and how many each has
            (N,), or None if each has one.

        Raises:
            ManifestError: One of them is wrong; :meth:`cell` tells which.
        """
        if not self._several:
            classes = np.fromiter(map(self._known.__getitem__, cells), np.int64, len(cells))
            return classes, None
        numbers = np.fromiter(map(str.count, cells, repeat(SEPARATOR)), np.int64, len(cells))
        numbers += np.fromiter(map(bool, cells), bool, len(cells))
        names = SEPARATOR.join(filter(None, cells)).split(SEPARATOR) if numbers.any() else []
        classes = np.fromiter(map(self._known.__getitem__, names), np.int64, len(names))
        # sorted, each class of a clip once
        places = np.repeat(np.arange(len(cells)), numbers) * len(self._index_of) + classes
        if (np.diff(places) <= 0).any():
            places = np.unique(places)
            numbers = np.bincount(places // len(self._index_of), minlength=len(cells))
            classes = places % len(self._index_of)
        self._empty += cells.count('')
        return classes, numbers

    def tell_empty(self, path: str, column: str, number: int) -> None:
        """Logs how many clips have none of the classes."""
        if self._empty:
            say_once(f'{path}: {self._empty} of {number} clips have an empty {column}: they have none of the classes')

    def read(self, where: str, cell: str) -> int:
        """The index of a class.

        Raises:
            ManifestError: There is no such class.
        """
        if cell in self._index_of:
            return self._index_of[cell]
        column, number = self._column, len(self._index_of)
        if not cell:
            raise ManifestError(
                f'{where}: the {column} is empty; write a class name or index, or give the dataset multi_label=True if '
                'clips have any number of labels'
            )
        if _is_number(cell):
            if self._numbers:
                raise ManifestError(
                    f'{where}: {column} {cell} is not in the class list; as class names are numbers, such as '
                    f'{self._numbers[0]!r}, it is not an index either: write the name'
                )
            if int(cell) < number:
                return int(cell)
            raise ManifestError(
                f'{where}: {column} {cell} is out of range: the class list has {number} classes, 0 to {number - 1}'
            )
        if SEPARATOR in cell and not self._several:
            raise ManifestError(
                f'{where}: {column} {cell!r} is not in the class list; if it is several labels, give the dataset '
                'multi_label=True'
            )
        hint = self._other_separator(cell) or did_you_mean(cell, self._index_of)
        hint = hint or '; add it to the class list or fix the row'
        if re.fullmatch(r'\d+\.0*', cell, re.ASCII):
            hint = f'; if it is an index, write {cell.partition(".")[0]}'
        raise ManifestError(f'{where}: {column} {cell!r} is not in the class list{hint}')

    def _other_separator(self, cell: str) -> str:
        """The remedy for a cell that separates several labels by something else."""
        for mark in (';', ',', '/', '+') if self._several else ():
            names = [name.strip() for name in cell.split(mark)]
            if len(names) > 1 and all(name in self._index_of for name in names):
                return f'; write {SEPARATOR.join(names)!r} if it is several labels'
        return ''


class _Known(dict[str, int]):
    """The indices of the names that were met, as they are written; few, as a class is written in few ways."""

    def __init__(self, read: Callable[[str], int]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, name: str) -> int:
        index = self[name] = self._read(name)
        return index


def _is_number(text: str) -> bool:
    return text.isdecimal() and text.isascii()
