"""The rows of a manifest as they are written: its header, and the cells of each clip."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from mmav.datasets.columns import SPAN, find_columns
from mmav.datasets.media.pair_path import PairPath
from mmav.errors import ManifestError
from mmav.files import read_text

# Rows that are parsed column by column. More would be slower: where lists live longer, the garbage collector looks
# through all the others again and again.
ROWS_AT_ONCE = 500


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
            ManifestError: It has neither video nor audio, a name with a zero byte, or a rate not above 0.
        """
        return clip_of(f'{self.path}: row {line}', self.named(cells))

    def span(self, line: int, cells: Sequence[str]) -> tuple[float | None, float | None]:
        """Start and end of a row's clip in seconds of the file, None for the file's own.

        Raises:
            ManifestError: They are not times, or not in order.
        """
        return span_of(f'{self.path}: row {line}', self.named(cells))


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
    table, rows = scan_table(path, labels, others)
    return table._replace(rows=list(rows))


def scan_table(
    path: str, labels: Sequence[str] | None, others: Sequence[str] = ()
) -> tuple[Table, Iterator[tuple[int, list[str]]]]:
    """A manifest without its rows, and what reads them one by one, see :func:`read_table`."""
    table, chunks = scan_chunks(path, labels, others)

    def rows() -> Iterator[tuple[int, list[str]]]:
        with words_errors(path):
            empty = True
            for chunk in chunks:
                for row in checked_rows(table, chunk):
                    empty = False
                    yield row
            if empty:
                raise no_clip(path)

    return table, rows()


class Chunk(NamedTuple):
    """Some rows of a manifest, as they are.

    Attributes:
        lines: Line of each row's end.
        rows: Its cells.
    """

    lines: list[int]
    rows: list[list[str]]


def scan_chunks(path: str, labels: Sequence[str] | None, others: Sequence[str] = ()) -> tuple[Table, Iterator[Chunk]]:
    """A manifest without its rows, and what reads them, many at a time and unchecked.

    The file is read as it is scanned: :func:`words_errors` around the work gives errors their words.
    """
    with words_errors(path):
        reader = csv.reader(_lines_of(path), strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
        except csv.Error as error:
            raise _not_csv(path, reader.line_num, error) from error
        columns = find_columns(path, header, labels, others=others)

    def chunks() -> Iterator[Chunk]:
        problem, more = None, True
        while more:
            lines, rows = [], []
            try:
                for cells in reader:
                    rows.append(cells)
                    lines.append(reader.line_num)
                    if len(rows) == ROWS_AT_ONCE:
                        break
                else:
                    more = False
            except csv.Error as error:
                # errors of the rows before it come first
                problem, more = error, False
            if rows:
                yield Chunk(lines, rows)
        if problem is not None:
            raise _not_csv(path, reader.line_num, problem) from problem

    return Table(path, header, columns, []), chunks()


def checked_rows(table: Table, chunk: Chunk) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row that is not empty.

    Raises:
        ManifestError: A row has no path, or too few or too many cells.
    """
    columns = table.columns
    for line, cells in zip(*chunk, strict=True):
        if not any(cell.strip() for cell in cells):
            continue
        where = f'{table.path}: row {line}'
        if len(cells) != len(table.header):
            raise ManifestError(
                f'{where}: {len(cells)} cells under a header of {len(table.header)}; put a cell that holds a comma '
                'in double quotes'
            )
        if 'path' in columns and not cells[columns['path']].strip():
            raise ManifestError(f'{where}: the path is empty')
        yield line, cells


def plain_columns(table: Table, chunk: Chunk) -> dict[str, list[str]] | None:
    """Name of each column that is read -> its cells; None if a row has too few or too many."""
    width = len(table.header)
    if any(len(row) != width for row in chunk.rows):
        return None
    cells = list(zip(*chunk.rows, strict=True))
    return {name: list(map(str.strip, cells[place])) for name, place in table.columns.items()}


def no_clip(path: str) -> ManifestError:
    """What to say of a manifest without a row."""
    return ManifestError(f'{path}: the manifest has a header but no clip; write one row per clip')


@contextmanager
def words_errors(path: str) -> Iterator[None]:
    """Says that a file cannot be read, or is not text, before anything that is wrong in its rows."""
    try:
        yield
    except (ManifestError, UnicodeDecodeError, OSError):
        if os.path.isfile(os.path.expanduser(path)):
            read_text(path, 'manifest')
        raise


def _lines_of(path: str) -> Iterator[str]:
    """The lines of a file; one that can be read only once, such as a pipe, is read whole."""
    if not os.path.isfile(os.path.expanduser(path)):
        return io.StringIO(read_text(path, 'manifest'))
    return _lines_of_file(path)


def _lines_of_file(path: str) -> Iterator[str]:
    with open(os.path.expanduser(path), encoding='utf-8-sig') as file:
        yield from file


def _not_csv(path: str, line: int, error: csv.Error) -> ManifestError:
    return ManifestError(f'{path}: row {line}: not CSV: {error}')


def clip_of(where: str, named: Mapping[str, str]) -> str:
    """The path of a clip, or its files, from the named cells of its row, see :meth:`Table.clip`."""
    for name in ('path', 'video', 'audio'):
        if '\0' in named.get(name, ''):
            raise ManifestError(f'{where}: {name} {named[name]!r} has a zero byte, as no file has; write its name')
    if 'path' in named:
        return named['path']
    video, audio = (named.get(name, '') for name in ('video', 'audio'))
    if not video and not audio:
        raise ManifestError(f'{where}: video and audio are both empty; name a file for one of them')
    fps, sample_rate = (_rate(where, name, named.get(name, '')) for name in ('fps', 'sample_rate'))
    return PairPath(video, audio, fps=fps, sample_rate=sample_rate)


def span_of(where: str, named: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Start and end of a clip from the named cells of its row, see :meth:`Table.span`."""
    start, end = (_seconds(where, column, named.get(column, '')) for column in SPAN)
    if end is not None and end <= (start or 0.0):
        raise ManifestError(f'{where}: end {end:g} s is not after start {start or 0.0:g} s')
    return start, end


def spans_of(cells: Mapping[str, Sequence[str]]) -> np.ndarray | None:
    """Start and end of many clips (N, 2), NaN for the file's own; None if there is one that :func:`span_of` refuses."""
    number = len(next(iter(cells.values())))
    spans = np.full((number, 2), np.nan)
    for place, column in enumerate(SPAN):
        texts = cells.get(column)
        if not texts or not any(texts):
            continue
        try:
            spans[:, place] = [float(text) if text else math.nan for text in texts]
        except ValueError:
            return None
        if np.isfinite(spans[:, place]).sum() != sum(map(bool, texts)):
            return None
    starts, ends = spans.T
    if (spans < 0).any() or (ends <= np.nan_to_num(starts)).any():
        return None
    return spans


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
