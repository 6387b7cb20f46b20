"""Rows of cells as a table for a terminal or as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence


def text_table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table for a terminal.

    Args:
        rows: Cells; the first row is the header.
        left: So many columns, from the left, begin at the left; the others end at the right.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append('  '.join(cells).rstrip())
    return '\n'.join(lines)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Args:
        rows: Cells; the first row is the header.

    >>> print(markdown_table([('config', 'seconds'), ('mmt', '3.1')]))
    | config | seconds |
    |---|---|
    | mmt | 3.1 |
    """
    header, *lines = (f'| {" | ".join(row)} |' for row in rows)
    return '\n'.join([header, '|' + '---|' * len(rows[0]), *lines])


def csv_bytes(rows: Iterable[Sequence[object]]) -> bytes:
    """Rows, the first being the header, as the content of a CSV file in UTF-8."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    # a name that is not text, as file systems allow, cannot stand in the file as it is
    return text.getvalue().encode('utf-8', 'backslashreplace')
