"""Manifests: CSV files with a header ``path,label`` or ``path,verb,noun``, optionally ``start,end``; class lists."""

from __future__ import annotations

import csv
import difflib
import io
import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mmav.errors import ManifestError, did_you_mean

OPTIONAL = ('start', 'end')


class ManifestRow(NamedTuple):
    """One clip of a manifest.

    Attributes:
        path: The media file as the manifest writes it.
        label: Index of the class; where a clip has several labels, such as a verb and a noun, label name -> index.
        start: Start of the clip in seconds of the file; None for the file's start.
        end: End of the clip in seconds of the file; None for the file's end.
        line: Line of the CSV file, the header being line 1.
    """

    path: str
    label: int | dict[str, int]
    start: float | None
    end: float | None
    line: int


class Manifest:
    """The rows of a manifest in a few flat arrays.

    A list of Python objects would be copied into every worker, page by page, as their reference counts change; flat
    arrays stay shared after a fork and pickle fast for a spawn.

    Args:
        rows: The clips.
    """

    def __init__(self, rows: Sequence[ManifestRow]) -> None:
        encoded = [row.path.encode() for row in rows]
        self._paths = b''.join(encoded)
        self._ends = np.cumsum([len(path) for path in encoded], dtype=np.int64)
        first = rows[0].label if rows else 0
        self._parts = tuple(first) if isinstance(first, dict) else None
        labels = [tuple(row.label.values()) if isinstance(row.label, dict) else row.label for row in rows]
        self._labels = np.array(labels, dtype=np.int64)
        nan = math.nan
        spans = [(nan if row.start is None else row.start, nan if row.end is None else row.end) for row in rows]
        self._spans = np.array(spans, dtype=np.float64).reshape(-1, 2)
        self._lines = np.array([row.line for row in rows], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> ManifestRow:
        begin = int(self._ends[index - 1]) if index else 0
        start, end = (None if math.isnan(second) else float(second) for second in self._spans[index])
        path = self._paths[begin : int(self._ends[index])].decode()
        values = self._labels[index].tolist()
        label = values if self._parts is None else dict(zip(self._parts, values, strict=True))
        return ManifestRow(path, label, start, end, int(self._lines[index]))


def read_classes(path: str) -> tuple[str, ...]:
    """Reads a class list: a text file, one name a line, in the order of the indices. Empty lines are passed over.

    Returns:
        The names.

    Raises:
        ManifestError: The file is missing, empty, not UTF-8 text, or names a class twice.
    """
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path, 'class list').split('\n'), start=1):
        name = line.strip()
        if name in lines:
            raise ManifestError(
                f'{path}: row {number}: class {name!r} stands already in row {lines[name]}; remove one of the two'
            )
        if name:
            lines[name] = number
    if not lines:
        raise ManifestError(f'{path}: the class list is empty; write one class name a line')
    return tuple(lines)


def read_manifest(path: str, classes: Sequence[str] | Mapping[str, Sequence[str]]) -> Manifest:
    """Reads a manifest and checks every row of it; media files are not looked at.

    Args:
        path: CSV file, UTF-8 (with or without a byte-order mark), any line ends. A cell with a comma is in quotes.
        classes: Names of the classes. A label is one of these names, else an index into them. A dict, such as
            ``dict(verb=..., noun=...)``, asks for a column of each of its keys in place of ``label``.

    Returns:
        The rows, in the order of the file.

    Raises:
        ManifestError: The file is missing or not CSV text; a column is missing; a row has an unknown label, no path, or
            a span that is not one.
    """
    reader = csv.reader(io.StringIO(read_text(path, 'manifest'), newline=''), strict=True)
    lists = classes if isinstance(classes, Mapping) else dict(label=classes)
    index_of = {column: {name: i for i, name in enumerate(names)} for column, names in lists.items()}
    rows: list[ManifestRow] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        columns = _columns(path, header, tuple(lists))
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f'{path}: row {reader.line_num}'
            if len(cells) != len(header):
                raise ManifestError(
                    f'{where}: {len(cells)} cells under a header of {len(header)}; put a cell that holds a comma '
                    'in double quotes'
                )
            named = {name: cells[k].strip() for name, k in columns.items()}
            labels = {column: _label(where, column, named[column], indices) for column, indices in index_of.items()}
            label = labels if isinstance(classes, Mapping) else labels['label']
            rows.append(_row(where, named, label, reader.line_num))
    except csv.Error as error:
        raise ManifestError(f'{path}: row {reader.line_num}: not CSV: {error}') from error
    if not rows:
        raise ManifestError(f'{path}: the manifest has a header but no clip; write one row per clip')
    return Manifest(rows)


def read_text(path: str, what: str) -> str:
    """Reads a text file; ``what`` says in errors what it was to be.

    Raises:
        ManifestError: It is missing, cannot be read, or is not UTF-8 text.
    """
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            return file.read()
    except FileNotFoundError:
        folder, name = os.path.split(path)
        lost = f' (there is no folder {folder})' if folder and not os.path.isdir(folder) else ''
        raise ManifestError(f'no {what} at {path}{lost}; give the folder that holds {name} with --data-root') from None
    except UnicodeDecodeError as error:
        raise ManifestError(f'{path}: the {what} is not UTF-8 text ({error.reason}); save it as UTF-8') from error
    except OSError as error:
        raise ManifestError(f'{path}: the {what} cannot be read: {error.strerror}') from error


def _columns(path: str, header: Sequence[str], labels: tuple[str, ...]) -> dict[str, int]:
    needed = ('path', *labels)
    columns = needed + OPTIONAL
    if not any(header):
        raise ManifestError(f'{path}: the manifest is empty; its first row must be {",".join(needed)}')
    for name in header:
        if name in columns and header.count(name) > 1:
            raise ManifestError(f'{path}: row 1: column {name!r} stands twice')
    for name in needed:
        if name not in header:
            near = difflib.get_close_matches(name, [column for column in header if column not in columns], n=1)
            hint = f'rename column {near[0]!r}' if near else f'the first row must name the columns: {",".join(needed)}'
            if labels == ('label',) and {'verb', 'noun'} <= set(header):
                hint = "give the dataset classes=dict(verb='verbs.txt', noun='nouns.txt') for verbs and nouns"
            found = ', '.join(repr(column) for column in header)
            raise ManifestError(f'{path}: row 1: no column {name!r}, only {found}; {hint}')
    return {name: header.index(name) for name in columns if name in header}


def _row(where: str, cells: dict[str, str], label: int | dict[str, int], line: int) -> ManifestRow:
    if not cells['path']:
        raise ManifestError(f'{where}: the path is empty')
    start = _seconds(where, 'start', cells.get('start', ''))
    end = _seconds(where, 'end', cells.get('end', ''))
    if end is not None and end <= (start or 0.0):
        raise ManifestError(f'{where}: end {end:g} s is not after start {start or 0.0:g} s')
    return ManifestRow(cells['path'], label, start, end, line)


def _seconds(where: str, column: str, cell: str) -> float | None:
    if not cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ManifestError(f'{where}: {column} {cell!r} is not a time in seconds; leave it empty for the whole file')
    return value


def _label(where: str, column: str, cell: str, index_of: dict[str, int]) -> int:
    if cell in index_of:
        return index_of[cell]
    if not cell:
        raise ManifestError(f'{where}: the {column} is empty; write a class name or index')
    if cell.isdecimal():
        if int(cell) < len(index_of):
            return int(cell)
        raise ManifestError(
            f'{where}: {column} {cell} is out of range: the class list has {len(index_of)} classes, 0 to '
            f'{len(index_of) - 1}'
        )
    hint = did_you_mean(cell, index_of) or '; add it to the class list or mend the row'
    raise ManifestError(f'{where}: {column} {cell!r} is not in the class list{hint}')
