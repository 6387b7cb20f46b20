"""Rows of cells as a table for a terminal, a page or a CSV file, and how their cells say sizes and times."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mmav.outputs import write_output

UNITS = dict(GB=10**9, GiB=2**30, MB=10**6, MiB=2**20)


def text_table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table for a terminal.

    Args:
        rows: Cells; the first row is the header.
        left: How many columns, from the left, are aligned to the left; the others are aligned to the right.
    """
    widths = _widths(rows)
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append('  '.join(cells).rstrip())
    return '\n'.join(lines)


def markdown_table(rows: Sequence[Sequence[str]], *, padded: bool = False) -> str:
    """A table in Markdown.

    Args:
        rows: Cells; the first row is the header.
        padded: Whether to align the columns, for readers of the source.

    >>> print(markdown_table([('config', 'seconds'), ('mmt', '3.1')]))
    | config | seconds |
    |---|---|
    | mmt | 3.1 |
    """
    widths = _widths(rows) if padded else [0] * len(rows[0])
    cells = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    header, *lines = (f'| {" | ".join(row)} |' for row in cells)
    rule = '|'.join('-' * (width + 2) if padded else '---' for width in widths)
    return '\n'.join([header, f'|{rule}|', *lines])


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def csv_bytes(rows: Iterable[Sequence[object]]) -> bytes:
    """Rows, the first being the header, as the content of a CSV file in UTF-8."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    # a file name that is not text, which file systems allow, is written in escapes
    return text.getvalue().encode('utf-8', 'backslashreplace')


def write_csv(path: str | os.PathLike[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes :func:`csv_bytes` into a file, whole or not at all."""
    write_output(path, csv_bytes(rows))


def size(number: float | None, unit: str, digits: int = 0) -> str:
    """Bytes in one of :data:`UNITS`; ``-`` for None.

    >>> size(3 * 2**29, 'GiB', 2), size(None, 'GB')
    ('1.50 GiB', '-')
    """
    return '-' if number is None else f'{number / UNITS[unit]:.{digits}f} {unit}'


def bytes_in(text: Any) -> int | None:
    """The bytes that a number with one of :data:`UNITS` says; None for anything else, and for no bytes.

    >>> bytes_in('36GB'), bytes_in('1.5 GiB'), bytes_in('36')
    (36000000000, 1610612736, None)
    """
    found = re.fullmatch(r'(\d+(?:\.\d*)?) ?(\w+)', text) if isinstance(text, str) else None
    if found is None or found[2] not in UNITS:
        return None
    return round(float(found[1]) * UNITS[found[2]]) or None


def milliseconds(seconds: float, digits: int = 1) -> str:
    """Seconds in milliseconds: three figures, but ``digits`` after the point at most.

    >>> milliseconds(0.25), milliseconds(0.00149), milliseconds(0.00149, 3)
    ('250', '1.5', '1.49')
    """
    behind = sum(seconds < least for least in (0.1, 1e-2, 1e-3))
    return f'{seconds * 1e3:.{min(behind, digits)}f}'
