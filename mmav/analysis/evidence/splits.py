"""Parts of the test clips, from a column of a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmav.errors import MmavError, did_you_mean


def read_splits(text: str, clips: Sequence[tuple[int, str]]) -> dict[str, np.ndarray]:
    """The parts of the test clips that a column of a table makes.

    Args:
        text: ``FILE:COLUMN`` of a CSV file with the columns ``path`` and COLUMN; clips are matched by file name.
        clips: Of the rows, in their order, see :func:`mmav.evaluation.predictions.clip_key`.

    Returns:
        Value of the column -> places of its clips, in the order of the values.

    Raises:
        MmavError: There is no such file or column, it does not tell clips apart, or it lacks one.
    """
    file, _, column = text.rpartition(':')
    if not file:
        raise MmavError(f'--split-by {text}: give FILE:COLUMN')
    try:
        with open(file, newline='', encoding='utf-8') as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MmavError(f"--split-by {text}: cannot read '{file}': {error}") from error
    known = list(rows[0]) if rows else []
    for name in ('path', column):
        if name not in known:
            raise MmavError(f"--split-by {text}: '{file}' has no column {name!r}{did_you_mean(name, known)}")
    values = {Path(row['path']).name: row[column] for row in rows}
    if len(values) != len(rows):
        raise MmavError(f"--split-by {text}: two clips of '{file}' have one file name, by which clips are matched")
    missing = next((name for _, name in clips if name not in values), None)
    if missing is not None:
        raise MmavError(f"--split-by {text}: '{file}' has no row of {missing}")
    of_clips = np.array([values[name] for _, name in clips])
    return {str(value): np.flatnonzero(of_clips == value) for value in sorted(set(of_clips.tolist()))}
