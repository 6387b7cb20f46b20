"""The rows of a manifest as they are written: its header, and the cells of each clip."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mmav.datasets.columns import SPAN, find_columns
from mmav.datasets.media.pair_path import PairPath
from mmav.errors import ManifestError
from mmav.files import read_text


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


def clip_of(where: str, named: Mapping[str, str]) -> str:
    """The path of a clip, or its files, from the named cells of its row, see :meth:`Table.clip`."""
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
