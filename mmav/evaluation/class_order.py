"""Brings dumps of predictions into the same order of classes, as models may be tested with different lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmav.class_names import by_part, reordered, tell_difference
from mmav.errors import MmavError
from mmav.evaluation.predictions import load_predictions

Dump = tuple[list[dict], Any]


def load_alike(paths: Sequence[str | Path], read: Callable[[str | Path], Dump] = load_predictions) -> list[Dump]:
    """Reads dumps that will be joined, see :func:`mmav.evaluation.predictions.load_predictions`.

    Args:
        paths: The files.
        read: What reads one; :func:`mmav.evaluation.feature_files.load_features` also takes folders of features.

    Returns:
        Rows and class names of each, in the order of the first that names its classes.

    Raises:
        MmavError: A file is missing or wrong, or its classes have other names.
    """
    dumps = [read(path) for path in paths]
    first = next((k for k, (_, classes) in enumerate(dumps) if classes), 0)
    wanted = by_part(dumps[first][1])
    alike = []
    for path, (rows, classes) in zip(paths, dumps, strict=True):
        names = by_part(classes)
        if names is not None and wanted is not None and names != wanted and not reordered(names, wanted):
            told = tell_difference(wanted, names, (f"'{paths[first]}'", f"'{path}'"))
            raise MmavError(f"'{paths[first]}' and '{path}' are of different classes: {told}")
        alike.append(in_order(rows, classes, dumps[first][1], name=path))
    return alike


def in_order(rows: list[dict], classes: Any, like: Any, *, name: str | Path) -> Dump:
    """Reorders the classes of rows, and logs it; rows with other classes are unchanged.

    Args:
        rows: As :func:`mmav.evaluation.predictions.load_predictions` gives them.
        classes: Names of their classes, or None.
        like: The names in the wanted order, or None.
        name: What to call them.
    """
    old, new = by_part(classes), by_part(like)
    if old is None or new is None or old == new or not reordered(old, new):
        return rows, classes
    print_log(f"'{name}' has the classes in another order: its scores and labels are put in order")
    # part -> where the scores come from, and where the labels go
    sources = {part: np.array([old[part].index(name) for name in new[part]]) for part in new}
    targets = {part: source.argsort() for part, source in sources.items()}
    return [{**row, **_arranged(row, sources, targets)} for row in rows], like


def _arranged(row: dict, sources: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]) -> dict[str, Any]:
    labels = {
        part: tuple(sorted(targets[part][list(of_part)].tolist()))  # a set of classes
        if isinstance(of_part, tuple)
        else int(targets[part][of_part])
        for part, of_part in row['label'].items()
    }
    arranged: dict[str, Any] = dict(label=labels)
    if 'scores' in row:  # features have none
        arranged['scores'] = {part: np.asarray(values)[sources[part]] for part, values in row['scores'].items()}
    return arranged
