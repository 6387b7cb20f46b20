"""Features of training and test clips that an encoder is judged by: read, matched, and free of common clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmav.errors import MmavError
from mmav.evaluation.class_order import load_alike
from mmav.evaluation.embeddings import FeatureSets, choose_features, feature_names, join_features
from mmav.evaluation.feature_files import check_one_encoder, load_features, project_features
from mmav.evaluation.kept_features import LAST
from mmav.evaluation.predictions import Classes, require_labels

_SAME = 1e-4  # relative difference below which features are of the same clip


@dataclass(frozen=True)
class Split:
    """Features of the clips of one list.

    Attributes:
        features: Name -> (N, D) float64, of the same clips.
        labels: Part of the label -> classes (N,).
        clips: Rows of the clips (N), see :func:`mmav.evaluation.feature_files.load_features`.
        left_out: Reason -> number of clips that are not among them.
    """

    features: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    clips: list[dict]
    left_out: dict[str, int]


def read_splits(
    train: str | Path,
    test: str | Path,
    *,
    features: Sequence[str] | None = None,
    projections: str | Path | None = None,
) -> tuple[Split, Split, Classes | None]:
    """Reads features of training and of test clips.

    Args:
        train: A folder of extracted features, or a dump with features.
        test: Likewise.
        features: Names of features; all that both have, if not given.
        projections: Checkpoint whose contrastive projections are added, see
            :func:`mmav.evaluation.feature_files.project_features`.

    Returns:
        Both, with the same features, and the class names.

    Raises:
        MmavError: The two are of different classes, encoders or features, or have a clip in common.
    """
    paths = str(train), str(test)
    if Path(train).resolve() == Path(test).resolve():
        raise MmavError(f"'{train}' is given for training and for testing: test on clips that no probe has seen")
    check_one_encoder(paths)
    (of_train, classes), (of_test, others) = load_alike(paths, load_features)
    tables = {paths[0]: of_train, paths[1]: of_test}
    if projections:
        tables = {path: project_features(rows, projections) for path, rows in tables.items()}
    wanted = _common_features(tables, features)
    one, two = (_split(path, rows, wanted) for path, rows in tables.items())
    if one.labels.keys() != two.labels.keys():
        raise MmavError(f"the labels of '{train}' are {', '.join(one.labels)}, of '{test}' {', '.join(two.labels)}")
    for name in wanted:
        widths = one.features[name].shape[1], two.features[name].shape[1]
        if widths[0] != widths[1]:
            raise MmavError(
                f"{name} has width {widths[0]} in '{train}' and {widths[1]} in '{test}': extract both with one encoder"
            )
    same, _ = clips_in_both(one, two)
    if same:
        raise MmavError(
            f"{len(same)} clips of '{test}' are in '{train}', too, such as {same[0]}: test on clips that no probe has "
            'seen'
        )
    return one, two, classes or others


def _common_features(tables: Mapping[str, Sequence[dict]], wanted: Sequence[str] | None) -> list[str]:
    """The features to judge: those asked for, or all that each table has by name."""
    held = {path: feature_names(rows) for path, rows in tables.items()}
    if wanted:
        for path, rows in tables.items():
            choose_features({path: rows}, wanted)  # for its checks
        return list(dict.fromkeys(wanted))
    common = [name for name in next(iter(held.values())) if all(name in names for names in held.values())]
    if not common:
        told = ', '.join(f"'{path}' has {' and '.join(names) or 'none'}" for path, names in held.items())
        raise MmavError(f'no feature is in both: {told}')
    return [name for name in common if name != LAST] or common


def _split(path: str, rows: Sequence[dict], names: Sequence[str]) -> Split:
    require_labels(rows, path, one=True)
    parts = list(rows[0]['label'])
    panels = [(path, name) for name in names]
    sets: FeatureSets = join_features({path: (rows, None)}, panels, part=parts[0] if len(parts) > 1 else None)
    if len(sets.clips) < 2:
        raise MmavError(
            f"'{path}' has {len(sets.clips)} clips with {', '.join(names)}: an encoder cannot be judged by it"
        )
    for name, values in zip(names, sets.features, strict=True):
        if not np.ptp(values, axis=0).any():
            raise MmavError(f"the features {name!r} are equal in all clips of '{path}': is the model trained?")
    labels = {part: np.array([clip['label'][part] for clip in sets.clips]) for part in parts}
    return Split(dict(zip(names, sets.features, strict=True)), labels, sets.clips, sets.left_out)


def clips_in_both(train: Split, test: Split) -> tuple[list[str], int]:
    """Finds test clips that were trained on.

    Returns:
        Files of the test clips of which a training clip has the name, an overlapping span and the same features; and
        the number of other test clips whose features equal those of a training clip, as a copy's would.
    """
    by_path: dict[str, list[int]] = {}
    for place, clip in enumerate(train.clips):
        by_path.setdefault(clip['path'], []).append(place)
    copies = {_content(train, place) for place in range(len(train.clips))}
    same, equal = [], 0
    for place, clip in enumerate(test.clips):
        rivals = [other for other in by_path.get(clip['path'], []) if _overlap(train.clips[other], clip)]
        # the names of files may agree by chance, in two folders
        if any(_alike(train, other, test, place) for other in rivals):
            same.append(clip['path'])
        elif _content(test, place) in copies:
            equal += 1
    return same, equal


def _overlap(one: dict, two: dict) -> bool:
    (begin, end), (start, stop) = (
        (row['start'] or 0.0, np.inf if row['end'] is None else row['end']) for row in (one, two)
    )
    return begin < stop and start < end


def _alike(one: Split, place: int, two: Split, other: int) -> bool:
    pairs = [(one.features[name][place], two.features[name][other]) for name in one.features]
    return all(np.linalg.norm(x - y) <= _SAME * np.linalg.norm(x) for x, y in pairs)


def _content(split: Split, place: int) -> bytes:
    return b''.join(values[place].tobytes() for values in split.features.values())
