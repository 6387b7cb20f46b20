"""Rows from dumps of tools/test.py, one a seed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mmav.analysis.ablation.measuring import measured_of, unanswered
from mmav.analysis.evidence.stated import EvidenceRow
from mmav.errors import MmavError
from mmav.evaluation.class_order import load_alike
from mmav.evaluation.predictions import by_clip, refuse_twice

_SEED = re.compile(r'seed[_-]?(\d+)')


def read_rows(dumps: Mapping[str, Sequence[str]], metric: str) -> tuple[list[EvidenceRow], list[str]]:
    """Reads the dumps of rows.

    A seed is the number behind ``seed`` in a path, where each path of a row has one of its own; otherwise the place of
    a file among those of its row.

    Args:
        dumps: Name of a row -> files, one a seed.
        metric: Key of the figure, see :func:`mmav.analysis.ablation.measuring.measured_of`.

    Returns:
        The rows, and the path of each clip as the first file names it, in their order.

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
        rows.append(EvidenceRow(name, measured_of(name, clips, seeds, metric), unanswered=unanswered(clips)))
    return rows, [tables[paths[0]][key]['path'] for key in order]


def seed_of(path: str) -> int | None:
    """The seed that a path names.

    >>> seed_of('work_dirs/mmt_seed3/predictions.pkl'), seed_of('a.pkl')
    (3, None)
    """
    found = _SEED.findall(str(path))
    return int(found[-1]) if found else None
