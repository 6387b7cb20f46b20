"""Rows from dumps of tools/test.py, one a seed, and parts of the test clips from a table."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmav.analysis.ablation.measuring import measured_of
from mmav.analysis.evidence.stated import EvidenceRow
from mmav.errors import MmavError, did_you_mean
from mmav.evaluation.class_order import load_alike
from mmav.evaluation.predictions import by_clip, refuse_twice

_SEED = re.compile(r'seed[_-]?(\d+)')
Key = tuple[int, str]


def read_rows(dumps: Mapping[str, Sequence[str]], metric: str) -> tuple[list[EvidenceRow], list[Key]]:
    """Reads the dumps of rows.

    A seed is the number behind ``seed`` in a path, where each path of a row has one of its own; otherwise the place of
    a file among those of its row.

    Args:
        dumps: Name of a row -> files, one a seed.
        metric: Key of the figure, see :func:`mmav.analysis.ablation.measuring.measured_of`.

    Returns:
        The rows, and what identifies each clip, see :func:`mmav.evaluation.predictions.clip_key`, in their order.

    Raises:
        MmavError: A file is missing or wrong, is given twice, or is of other clips, labels or classes than the first.
    """
    paths = [path for files in dumps.values() for path in files]
    refuse_twice(paths)
    tables = {path: by_clip(rows, path) for path, (rows, _) in zip(paths, load_alike(paths), strict=True)}
    order = sorted(tables[paths[0]])
    for path, table in tables.items():
        if table.keys() != set(order):
            odd = min(table.keys() ^ set(order))
            raise MmavError(f"'{paths[0]}' and '{path}' are of different clips: only one has {odd[1]} in row {odd[0]}")
        other = next((key for key in order if table[key]['label'] != tables[paths[0]][key]['label']), None)
        if other:
            raise MmavError(f"'{paths[0]}' and '{path}' differ in the label of {other[1]}")
    seeded = all(len({*map(seed_of, files)} - {None}) == len(files) for files in dumps.values())
    rows = []
    for name, files in dumps.items():
        seeds = [seed_of(path) or 0 for path in files] if seeded else list(range(len(files)))
        clips = [[tables[path][key] for key in order] for path in files]
        rows.append(EvidenceRow(name, measured_of(name, clips, seeds, metric)))
    return rows, order


def seed_of(path: str) -> int | None:
    """The seed that a path names.

    >>> seed_of('work_dirs/mmt_seed3/predictions.pkl'), seed_of('a.pkl')
    (3, None)
    """
    found = _SEED.findall(str(path))
    return int(found[-1]) if found else None


def read_splits(text: str, clips: Sequence[Key]) -> dict[str, np.ndarray]:
    """The parts of the test clips that a column of a table makes.

    Args:
        text: ``FILE:COLUMN`` of a CSV file with the columns ``path`` and COLUMN; clips are matched by file name.
        clips: Of the rows, in their order.

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
