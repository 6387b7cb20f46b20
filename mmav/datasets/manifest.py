"""Manifests: CSV files with a header ``path,label`` or ``path,verb,noun``, optionally ``start,end``.

``video,audio`` in place of ``path`` name files of their own, see :mod:`mmav.datasets.media.pair_reader`. Where clips
have any number of labels, a cell holds them separated by ``|``.
"""

from __future__ import annotations

import copy
import csv
import math
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmav.datasets.columns import SPAN, find_columns
from mmav.datasets.label_cells import LabelReader
from mmav.datasets.label_columns import LabelColumn
from mmav.datasets.media.pair_path import PairPath
from mmav.errors import ManifestError
from mmav.files import read_text
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
    table, rows = _scan(path, tuple(lists) if labelled else None)

    def parsed() -> Iterator[ManifestRow]:
        for line, cells in rows:
            where, named = f'{path}: row {line}', table.named(cells)
            label = {column: reader.cell(where, named[column]) for column, reader in readers.items()}
            yield ManifestRow(_clip(where, named), label, *_span(where, named), line)

    manifest = Manifest(parsed())
    for column, reader in readers.items():
        reader.tell_empty(path, column, len(manifest))
    return manifest


class Table(NamedTuple):
    """The unparsed rows of a manifest.

    Attributes:
        path: The manifest.
        header: Names of its columns, stripped.
        columns: Name of each column that is read -> its position.
        rows: Line and cells of each row.
    """

    path: str
    header: list[str]
    columns: dict[str, int]
    rows: list[tuple[int, list[str]]]

    def named(self, cells: Sequence[str]) -> dict[str, str]:
        """The cells of a row that are read."""
        return {name: cells[place].strip() for name, place in self.columns.items()}

    def clip(self, line: int, cells: Sequence[str]) -> str:
        """The path of a row's clip, or its files.

        Raises:
            ManifestError: It has neither video nor audio, or a rate is not a number above 0.
        """
        return _clip(f'{self.path}: row {line}', self.named(cells))

    def span(self, line: int, cells: Sequence[str]) -> tuple[float | None, float | None]:
        """Start and end of a row's clip in seconds of the file, None for the file's own.

        Raises:
            ManifestError: They are not times, or not in order.
        """
        return _span(f'{self.path}: row {line}', self.named(cells))


def read_table(path: str, labels: Sequence[str] | None = None, *, others: Sequence[str] = ()) -> Table:
    """Reads a manifest without parsing its rows; skips empty ones.

    Args:
        path: The manifest.
        labels: Its columns of labels; None to ignore labels.
        others: Columns that the caller reads itself.

    Raises:
        ManifestError: The file is missing, not CSV text, or has no clip; a column is missing or misnamed, see
            :func:`mmav.datasets.columns.find_columns`; a row has no path, or too few or too many cells.
    """
    table, rows = _scan(path, labels, others)
    return table._replace(rows=list(rows))


def _scan(
    path: str, labels: Sequence[str] | None, others: Sequence[str] = ()
) -> tuple[Table, Iterator[tuple[int, list[str]]]]:
    """A manifest without its rows, and what reads them one by one."""
    reader = csv.reader(_lines(read_text(path, 'manifest')), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise _not_csv(path, reader.line_num, error) from error
    columns = find_columns(path, header, labels, others=others)

    def rows() -> Iterator[tuple[int, list[str]]]:
        empty = True
        try:
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                where = f'{path}: row {reader.line_num}'
                if len(cells) != len(header):
                    raise ManifestError(
                        f'{where}: {len(cells)} cells under a header of {len(header)}; put a cell that holds a comma '
                        'in double quotes'
                    )
                if 'path' in columns and not cells[columns['path']].strip():
                    raise ManifestError(f'{where}: the path is empty')
                empty = False
                yield reader.line_num, cells
        except csv.Error as error:
            raise _not_csv(path, reader.line_num, error) from error
        if empty:
            raise ManifestError(f'{path}: the manifest has a header but no clip; write one row per clip')

    return Table(path, header, columns, []), rows()


def _lines(text: str) -> Iterator[str]:
    """The lines of a text with their ends, as they are; ``io.StringIO`` takes four bytes a character."""
    return (match[0] for match in re.finditer(r'[^\r\n]*(?:\r\n?|\n)|[^\r\n]+', text))


def _not_csv(path: str, line: int, error: csv.Error) -> ManifestError:
    return ManifestError(f'{path}: row {line}: not CSV: {error}')


def _clip(where: str, named: Mapping[str, str]) -> str:
    if 'path' in named:
        return named['path']
    video, audio = (named.get(name, '') for name in ('video', 'audio'))
    if not video and not audio:
        raise ManifestError(f'{where}: video and audio are both empty; name a file for one of them')
    fps, sample_rate = (_rate(where, name, named.get(name, '')) for name in ('fps', 'sample_rate'))
    return PairPath(video, audio, fps=fps, sample_rate=sample_rate)


def _span(where: str, named: Mapping[str, str]) -> tuple[float | None, float | None]:
    start, end = (_seconds(where, column, named.get(column, '')) for column in SPAN)
    if end is not None and end <= (start or 0.0):
        raise ManifestError(f'{where}: end {end:g} s is not after start {start or 0.0:g} s')
    return start, end


def _number(cell: str) -> float:
    """The number in a cell, NaN for anything else."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _seconds(where: str, column: str, cell: str) -> float | None:
    if not cell:
        return None
    value = _number(cell)
    if not (math.isfinite(value) and value >= 0):
        raise ManifestError(f'{where}: {column} {cell!r} is not a time in seconds; leave it empty for the whole file')
    return value


def _rate(where: str, column: str, cell: str) -> float | None:
    if not cell:
        return None
    value = _number(cell)
    if not 0 < value < math.inf:
        raise ManifestError(f'{where}: {column} {cell!r} is not a number above 0; leave it empty for media files')
    return value
