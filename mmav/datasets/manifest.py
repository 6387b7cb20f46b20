"""Manifests: CSV files with a header ``path,label`` or ``path,verb,noun``, optionally ``start,end``.

``video,audio`` in place of ``path`` name files of their own, see :mod:`mmav.datasets.media.pair_reader`. Where clips
have any number of labels, a cell holds them separated by ``|``.
"""

from __future__ import annotations

import copy
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple, cast

import numpy as np

from mmav.datasets.columns import RATES
from mmav.datasets.label_cells import LabelReader
from mmav.datasets.manifest_table import (
    ROWS_AT_ONCE,
    Chunk,
    Table,
    checked_rows,
    clip_of,
    no_clip,
    plain_columns,
    scan_chunks,
    span_of,
    spans_of,
    words_errors,
)
from mmav.datasets.media.pair_path import PairPath
from mmav.datasets.shared_array import GrowingArray, SharedArray, compact
from mmav.errors import ManifestError
from mmav.structures import as_parts

_FIRST_LINE = 2  # after the header


def join_path(folder: str, path: str) -> str:
    """The path of a manifest's clip, which is relative to a folder, see ``os.path.join``."""
    return path.within(folder) if isinstance(path, PairPath) else os.path.join(folder, path)


class ManifestRow(NamedTuple):
    """One clip of a manifest.

    Attributes:
        path: The media file as the manifest writes it, or both of its files.
        label: Part of the label, such as ``label`` or ``verb`` -> index of its class; a sorted tuple of indices where a
            clip has any number of labels.
        start: Start of the clip in seconds of the file; None for the file's start.
        end: End of the clip in seconds of the file; None for the file's end.
        line: Line of the CSV file, the header being line 1.
    """

    path: str
    label: dict[str, Any]
    start: float | None
    end: float | None
    line: int


def _packed(path: str) -> str:
    """One string for a path, or for the files and rates of a pair; no path contains a zero."""
    if not isinstance(path, PairPath):
        return path
    return '\0'.join(
        [path.video, path.audio, *('' if rate is None else repr(rate) for rate in (path.fps, path.sample_rate))]
    )


def _unpacked(text: str) -> str:
    if '\0' not in text:
        return text
    video, audio, *rates = text.split('\0')
    fps, sample_rate = (float(rate) if rate else None for rate in rates)
    return PairPath(video, audio, fps=fps, sample_rate=sample_rate)


class Indices:
    """The class of each clip."""

    def __init__(self, labels: np.ndarray | SharedArray) -> None:
        self._labels = labels if isinstance(labels, SharedArray) else SharedArray(compact(labels))

    def __getitem__(self, index: int) -> int:
        return int(self._labels.values[index])

    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """The classes of the first clip, then of the second and so on (M,), and where those of each clip end (N,)."""
        labels = self._labels.values
        return labels, np.arange(1, len(labels) + 1)

    def moved(self, places: np.ndarray) -> Indices:
        """The same clips with new indices of the classes, ``places`` (C,); several classes may become one."""
        if _stay(places):
            return self
        return Indices(places[self._labels.values])


class Sets:
    """The classes of each clip, any number of them."""

    def __init__(self, labels: np.ndarray | SharedArray, ends: np.ndarray | SharedArray) -> None:
        self._labels, self._ends = (
            each if isinstance(each, SharedArray) else SharedArray(compact(each)) for each in (labels, ends)
        )

    def __getitem__(self, index: int) -> tuple[int, ...]:
        ends = self._ends.values
        begin = int(ends[index - 1]) if index else 0
        return tuple(self._labels.values[begin : int(ends[index])].tolist())

    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """The classes of the first clip, then of the second and so on (M,), and where those of each clip end (N,)."""
        return self._labels.values, self._ends.values

    def moved(self, places: np.ndarray) -> Sets:
        """The same clips with new indices of the classes, ``places`` (C,); several classes may become one."""
        if _stay(places):
            return self
        labels, ends = self.flat()
        clips, classes = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0)), int(places.max(initial=0)) + 1
        # sorted, each class of a clip once
        pairs = np.sort(clips * classes + places[labels], kind='stable')
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        return Sets(pairs % classes, np.cumsum(np.bincount(pairs // classes, minlength=len(ends))))


def _stay(places: np.ndarray) -> bool:
    """Whether each class keeps its index."""
    return bool((places == np.arange(len(places))).all())


class Columns:
    """The columns of a manifest while its rows are read, one by one or many at a time.

    A list of Python objects takes gigabytes for millions of rows.

    Attributes:
        paths: Packed paths, one after the other, in UTF-8.
        ends: Where the path of each clip ends.
        labels: Part of the label -> the classes of the first clip, then of the second and so on.
        label_ends: Part of the label -> where the classes of each clip end, if it has any number of them.
        spans: Start of the first clip, its end, start of the second and so on; NaN for those of its file.
        lines: Lines of the CSV file.
        has_spans: Whether any clip is a part of its file.
        has_gaps: Whether the lines are not one after the other.
    """

    def __init__(self) -> None:
        self.paths, self.ends = GrowingArray(np.uint8), GrowingArray(np.int64)
        self.labels: dict[str, GrowingArray] = {}
        self.label_ends: dict[str, GrowingArray] = {}
        self.spans, self.lines = GrowingArray(np.float64), GrowingArray(np.int64)
        self.has_spans = self.has_gaps = False
        self._number = self._bytes = 0
        self._classes: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._number

    def add(self, rows: Sequence[ManifestRow]) -> None:
        """Adds rows."""
        if not rows:
            return
        labels: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        for part, first in rows[0].label.items():
            if isinstance(first, tuple):
                numbers = np.array([len(row.label[part]) for row in rows])
                classes = np.fromiter(chain.from_iterable(row.label[part] for row in rows), np.int64, numbers.sum())
                labels[part] = classes, numbers
            else:
                labels[part] = np.array([row.label[part] for row in rows]), None
        spans = [[math.nan if second is None else second for second in (row.start, row.end)] for row in rows]
        self.extend([_packed(row.path) for row in rows], labels, np.array(spans), [row.line for row in rows])

    def extend(
        self,
        paths: Sequence[str],
        labels: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
        spans: np.ndarray,
        lines: Sequence[int],
    ) -> None:
        """Adds rows by their columns.

        Args:
            paths: Packed paths of N clips.
            labels: Part of the label -> the classes of the first clip, then of the second and so on (M,), and how many
                each has (N,), or None if each has one.
            spans: Start and end of each, NaN for those of the file (N, 2).
            lines: Lines of the CSV file.
        """
        joined = ''.join(paths)
        sizes = np.array([len(path) for path in paths] if joined.isascii() else [len(path.encode()) for path in paths])
        self.paths.append(np.frombuffer(joined.encode(), np.uint8))
        self.ends.append(self._bytes + np.cumsum(sizes))
        self._bytes += int(sizes.sum())
        for part, (classes, numbers) in labels.items():
            self.labels.setdefault(part, GrowingArray(np.int64)).append(classes)
            if numbers is not None:
                ends = self._classes[part] + np.cumsum(numbers)
                self.label_ends.setdefault(part, GrowingArray(np.int64)).append(ends)
                self._classes[part] += len(classes)
        self.spans.append(spans.ravel())
        self.lines.append(np.array(lines))
        self.has_spans |= not np.isnan(spans).all()
        self.has_gaps |= list(lines) != list(range(_FIRST_LINE + self._number, _FIRST_LINE + self._number + len(lines)))
        self._number += len(paths)

    def take_labels(self) -> dict[str, Indices | Sets]:
        """Part of the label -> those of all clips; they are no longer here then."""
        return {
            part: Sets(classes.take(), self.label_ends[part].take())
            if part in self.label_ends
            else Indices(classes.take())
            for part, classes in self.labels.items()
        }


class Manifest:
    """The rows of a manifest in a few flat arrays, which all workers share (:mod:`mmav.datasets.shared_array`).

    A list of Python objects would gradually be copied into every worker as reference counts change.

    Args:
        rows: The clips.
    """

    def __init__(self, rows: Iterable[ManifestRow] | Columns) -> None:
        columns = rows
        if not isinstance(columns, Columns):
            columns, more = Columns(), iter(cast(Iterable[ManifestRow], rows))
            while part := list(islice(more, ROWS_AT_ONCE)):
                columns.add(part)
        self._number = len(columns)
        self._paths, self._ends = columns.paths.take(), columns.ends.take()
        labels = columns.take_labels()
        self._parts, self._labels = tuple(labels), list(labels.values())
        self._spans = columns.spans.take() if columns.has_spans else None
        self._lines = columns.lines.take() if columns.has_gaps else None

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, index: int) -> ManifestRow:
        if index < 0:
            index += self._number
        if not 0 <= index < self._number:
            raise IndexError(f'row {index} of {self._number}')
        ends = self._ends.values
        begin = int(ends[index - 1]) if index else 0
        start = end = None
        if self._spans is not None:
            start, end = (
                None if math.isnan(second) else second
                for second in self._spans.values[2 * index : 2 * index + 2].tolist()
            )
        path = _unpacked(self._paths.values[begin : int(ends[index])].tobytes().decode())
        label = {part: column[index] for part, column in zip(self._parts, self._labels, strict=True)}
        line = index + _FIRST_LINE if self._lines is None else int(self._lines.values[index])
        return ManifestRow(path, label, start, end, line)

    def relabelled(self, places: Mapping[str, Sequence[int]]) -> Manifest:
        """The same clips with other class indices; several classes may become one.

        Args:
            places: Part of the label -> new index of each class.
        """
        other = copy.copy(self)
        other._labels = [
            column.moved(np.asarray(places[part])) for part, column in zip(self._parts, self._labels, strict=True)
        ]
        return other

    def flat_paths(self) -> tuple[np.ndarray, np.ndarray]:
        """UTF-8 of the paths, one after the other (M,) uint8, and where each ends (N,)."""
        return self._paths.values, self._ends.values

    def flat_labels(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """The classes of the first clip, then of the second and so on (M,), and where those of each clip end (N,)."""
        return self._labels[self._parts.index(part)].flat()


def read_manifest(
    path: str,
    classes: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    multi_label: bool = False,
    labelled: bool = True,
) -> Manifest:
    """Reads a manifest and checks every row; does not check media files.

    Args:
        path: CSV file, UTF-8 (with or without a byte-order mark), any line ends. A cell with a comma is in quotes.
        classes: Names of the classes, or part of the label -> its names. A label is one of these names, or an index
            into them. Each part has a column of its name, or ``label`` if there is only one.
        multi_label: Whether a cell holds any number of labels, separated by ``|``; an empty one is a clip with none of
            the classes, and how many there are is logged once.
        labelled: Whether there are labels; False needs no columns of them and reads none.

    Returns:
        The rows, in the order of the file.

    Raises:
        ManifestError: The file is missing or not CSV text; a column is missing or misnamed; a row has an unknown label,
            no path, or an invalid span; or with ``multi_label`` a class has a ``|`` in its name.
    """
    lists = as_parts(classes) if labelled else {}
    readers = {column: LabelReader(path, column, names, several=multi_label) for column, names in lists.items()}
    table, chunks = scan_chunks(path, tuple(lists) if labelled else None)
    columns = Columns()
    with words_errors(path):
        for chunk in chunks:
            _add_chunk(columns, table, chunk, readers)
        if not len(columns):
            raise no_clip(path)
    for column, reader in readers.items():
        reader.tell_empty(path, column, len(columns))
    return Manifest(columns)


def _add_chunk(columns: Columns, table: Table, chunk: Chunk, readers: Mapping[str, LabelReader]) -> None:
    """Adds rows column by column, or one by one where something is unusual, which words the errors."""
    cells = plain_columns(table, chunk)
    if cells is not None:
        paths, spans = _packed_paths(cells), spans_of(cells)
        if paths is not None and spans is not None:
            try:
                labels = {column: reader.cells(cells[column]) for column, reader in readers.items()}
            except ManifestError:
                pass
            else:
                columns.extend(paths, labels, spans, chunk.lines)
                return
    rows = []
    for line, row in checked_rows(table, chunk):
        where, named = f'{table.path}: row {line}', table.named(row)
        label = {column: reader.cell(where, named[column]) for column, reader in readers.items()}
        rows.append(ManifestRow(clip_of(where, named), label, *span_of(where, named), line))
    columns.add(rows)


def _packed_paths(cells: Mapping[str, Sequence[str]]) -> Sequence[str] | None:
    """What :func:`_packed` gives of each clip; None where one is empty or has a zero byte, or files have rates."""
    if 'path' in cells:
        return cells['path'] if all(cells['path']) and '\0' not in ''.join(cells['path']) else None
    if any(any(cells.get(name, ())) for name in RATES):
        return None
    blank = [''] * len(next(iter(cells.values())))
    paths = list(map('\0'.join, zip(cells.get('video', blank), cells.get('audio', blank), blank, blank, strict=True)))
    if '\0\0\0' in paths or ''.join(paths).count('\0') != 3 * len(paths):
        return None
    return paths
