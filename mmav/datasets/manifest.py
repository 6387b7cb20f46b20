"""Manifests: CSV files with a header ``path,label`` or ``path,verb,noun``, optionally ``start,end``.

``video,audio`` in place of ``path`` name files of their own, see :mod:`mmav.datasets.media.pair_reader`. Where clips
have any number of labels, a cell holds them separated by ``|``.
"""

from __future__ import annotations

import copy
import math
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmav.datasets.label_cells import LabelReader
from mmav.datasets.manifest_table import clip_of, scan_table, span_of
from mmav.datasets.media.pair_path import PairPath
from mmav.structures import as_parts


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


class Manifest:
    """The rows of a manifest in a few flat arrays.

    A list of Python objects would gradually be copied into every worker as reference counts change; flat arrays stay
    shared after a fork, and pickle fast for spawned workers.

    Args:
        rows: The clips.
    """

    def __init__(self, rows: Iterable[ManifestRow]) -> None:
        # row by row, as a list of millions takes gigabytes
        paths, ends, spans, lines = bytearray(), array('q'), array('d'), array('q')
        labels: dict[str, LabelColumn] = {}
        for row in rows:
            paths += _packed(row.path).encode()
            ends.append(len(paths))
            if not lines:
                labels = {part: LabelColumn(several=isinstance(label, tuple)) for part, label in row.label.items()}
            for part, cells in labels.items():
                cells.add(row.label[part])
            spans.extend(math.nan if second is None else second for second in (row.start, row.end))
            lines.append(row.line)
        self._paths = bytes(paths)
        self._ends = np.array(ends, dtype=np.int64)
        self._parts = tuple(labels)
        self._labels = [cells.packed() for cells in labels.values()]
        self._spans = np.array(spans, dtype=np.float64).reshape(-1, 2)
        self._lines = np.array(lines, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> ManifestRow:
        begin = int(self._ends[index - 1]) if index else 0
        start, end = (None if math.isnan(second) else float(second) for second in self._spans[index])
        path = _unpacked(self._paths[begin : int(self._ends[index])].decode())
        label = {part: column[index] for part, column in zip(self._parts, self._labels, strict=True)}
        return ManifestRow(path, label, start, end, int(self._lines[index]))

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
        return np.frombuffer(self._paths, np.uint8), self._ends

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
    table, rows = scan_table(path, tuple(lists) if labelled else None)

    def parsed() -> Iterator[ManifestRow]:
        for line, cells in rows:
            where, named = f'{path}: row {line}', table.named(cells)
            label = {column: reader.cell(where, named[column]) for column, reader in readers.items()}
            yield ManifestRow(clip_of(where, named), label, *span_of(where, named), line)

    manifest = Manifest(parsed())
    for column, reader in readers.items():
        reader.tell_empty(path, column, len(manifest))
    return manifest
