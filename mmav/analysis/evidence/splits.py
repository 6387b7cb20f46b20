"""Parts of the test clips, from a column of a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from mmav.errors import MmavError, did_you_mean


def read_splits(text: str, paths: Sequence[str]) -> dict[str, np.ndarray]:
    """The parts of the test clips that a column of a table makes.

    A clip is the row of the table whose path is the end of the clip's, or the other way round: tables have paths from
    the folder of the data, which may have moved, and dumps whole ones.

    Args:
        text: ``FILE:COLUMN`` of a CSV file with the columns ``path`` and COLUMN.
        paths: The clips in their order, as the dumps name them; none to check the table alone.

    Returns:
        Value of the column -> places of its clips, in the order of the values.

    Raises:
        MmavError: There is no such file or column, it does not tell clips apart, or it lacks one.
    """
    file, _, column = text.rpartition(':')
    if not file:
        raise MmavError(f'--split-by {text}: give FILE:COLUMN')
    try:
        with open(file, newline='', encoding='utf-8-sig') as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MmavError(f"--split-by {text}: cannot read '{file}': {error}") from error
    known = [name for name in rows[0] if name] if rows else []
    for name in ('path', column):
        if name not in known:
            raise MmavError(f"--split-by {text}: '{file}' has no column {name!r}{did_you_mean(name, known)}")
    by_name: dict[str, dict[tuple[str, ...], set[str]]] = {}
    for number, row in enumerate(rows, start=1):
        if not row['path'] or row[column] is None:
            raise MmavError(f"--split-by {text}: '{file}': row {number} has no {'path' if not row['path'] else column}")
        parts = PurePath(row['path']).parts
        by_name.setdefault(parts[-1], {}).setdefault(parts, set()).add(row[column])
    of_clips = [_value_of(path, by_name, f"--split-by {text}: '{file}'") for path in paths]
    return {value: np.flatnonzero([value == each for each in of_clips]) for value in sorted(set(of_clips))}


def _value_of(path: str, by_name: dict[str, dict[tuple[str, ...], set[str]]], where: str) -> str:
    parts = PurePath(path).parts
    found = [values for other, values in by_name.get(parts[-1], {}).items() if _tail_of(parts, other)]
    if not found:
        raise MmavError(f'{where} has no row of {path}')
    values = set().union(*found)
    if len(values) > 1:
        raise MmavError(f'{where} has several rows of {path}, with {" and ".join(sorted(values))}: give one a clip')
    return values.pop()


def _tail_of(one: tuple[str, ...], two: tuple[str, ...]) -> bool:
    """Whether one path is the end of the other."""
    common = min(len(one), len(two))
    return one[-common:] == two[-common:]
