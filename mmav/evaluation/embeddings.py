"""Features of the same clips from several models, or from parts of one: joined, sampled and projected to 2-D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmav.errors import MmavError, did_you_mean
from mmav.evaluation.kept_features import LAST
from mmav.evaluation.predictions import Classes, by_clip, no_features, one_label_each, part_of
from mmav.structures import PROJECTED

METHODS = ('tsne', 'pca')
WIDEST = 50  # features for t-SNE, as its authors and scikit-learn advise; wider ones go through PCA
_FEWEST = 5  # clips for a plot
_NOT_ONE = 'with several labels, or none'
_SENSES = ('audio', 'video')


@dataclass(frozen=True)
class FeatureSets:
    """Features of the same clips, one set per panel.

    Attributes:
        names: What to call the sets.
        sources: Of each set its file and its feature's name.
        features: Of each set (clips, D), D its own.
        labels: Classes (clips,).
        classes: Name of each class.
        left_out: Reason -> number of clips that are in no set for it.
        clips: The rows of the clips in the first file.
    """

    names: list[str]
    sources: list[tuple[str, str]]
    features: list[np.ndarray]
    labels: np.ndarray
    classes: list[str]
    left_out: dict[str, int]
    clips: list[dict]


def feature_names(rows: Sequence[dict]) -> list[str]:
    """The features in a dump: ``audio``, ``video``, others, and last ``feature``, which is what the head reads."""
    named = dict.fromkeys(name for row in rows for name in row.get('features', {}))
    first = [name for name in _SENSES if name in named]
    last = [LAST] if any(LAST in row for row in rows) else []
    return [*first, *(name for name in named if name not in _SENSES), *last]


def choose_features(dumps: Mapping[str, Sequence[dict]], wanted: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Decides on the panels.

    Args:
        dumps: File -> rows, see :func:`mmav.evaluation.predictions.load_predictions`.
        wanted: Names of features. Of one file all of them, of several files one for all or one each. If not given: of
            one file all that have a name, without projections of them, of several files what the last layer reads.

    Returns:
        File and feature of each panel.

    Raises:
        MmavError: A file has no features or not the wanted one, or their number does not fit.
    """
    known = {path: feature_names(rows) for path, rows in dumps.items()}
    for path, names in known.items():
        if not names:
            raise no_features(path)
    if len(dumps) == 1:
        ((path, names),) = known.items()
        panels = [(path, name) for name in wanted or _named(names) or [LAST]]
    elif wanted is None:
        panels = [(path, _last(names)) for path, names in known.items()]
    elif len(wanted) in (1, len(dumps)):
        each = list(wanted) * (len(dumps) if len(wanted) == 1 else 1)
        panels = list(zip(dumps, each, strict=True))
    else:
        raise MmavError(f'{len(dumps)} files take one feature for all, or one each: got {", ".join(wanted)}')
    for path, name in panels:
        if name not in known[path]:
            raise MmavError(
                f"'{path}' has no feature {name!r}, only {', '.join(known[path])}{did_you_mean(name, known[path])}"
            )
    return panels


def _last(names: Sequence[str]) -> str:
    """What the last layer reads, by a name if it has one: a clip that lacks it then has no such feature."""
    named = _named(names)
    return 'fused' if 'fused' in named else named[0] if len(named) == 1 else names[-1]


def _named(names: Sequence[str]) -> list[str]:
    return [name for name in names if name != LAST and not name.endswith(PROJECTED)]


def join_features(
    dumps: Mapping[str, tuple[Sequence[dict], Classes | None]],
    panels: Sequence[tuple[str, str]],
    *,
    part: str | None = None,
    names: Sequence[str] | None = None,
) -> FeatureSets:
    """Takes the clips that have every feature of the panels, in the order of the manifest.

    Args:
        dumps: File -> rows and class names, see :func:`mmav.evaluation.predictions.load_predictions`.
        panels: File and feature of each, see :func:`choose_features`.
        part: Which part of the label, where it has several.
        names: What to call the panels; the features of one file, or the names of several files, if not given.

    Clips with sets of labels are taken where the set is of one class.

    Raises:
        MmavError: The files differ in a clip's label or hold a clip twice, a feature has not the same width in all
            clips, or the number of names does not fit.
    """
    if names is not None and len(names) != len(panels):
        raise MmavError(f'need {len(panels)} names, one for each panel, got {len(names)}: {", ".join(names)}')
    tables = {path: by_clip(rows, f"'{path}'") for path, (rows, _) in dumps.items()}
    parts = {path: part_of(rows, part, path) for path, (rows, _) in dumps.items()}
    truths = {path: {key: row['label'][parts[path]] for key, row in table.items()} for path, table in tables.items()}
    first = next(iter(dumps))
    single = dict(zip(tables[first], one_label_each(dumps[first][0], parts[first]), strict=True))
    kept = []
    left_out = dict.fromkeys(('not in every file', 'could not be read', _NOT_ONE, 'without a feature', 'not finite'), 0)
    for key in sorted(set().union(*tables.values())):
        rows = {path: table[key] for path, table in tables.items() if key in table}
        if len({truths[path][key] for path in rows}) > 1:
            raise MmavError(f'the files differ in the label of {key[1]}, row {key[0]}: are they of the same manifest?')
        why = _flaw(rows, panels, len(dumps))
        if why is None and single[key] is None:
            why = _NOT_ONE
        if why:
            left_out[why] += 1
        else:
            kept.append(key)
    features = [_stack([_feature(tables[path][key], name) for key in kept], path, name) for path, name in panels]
    classes = next((classes[parts[path]] for path, (_, classes) in dumps.items() if classes), None)
    truth = np.array([single[key] for key in kept], dtype=int)
    return FeatureSets(
        list(names or _panel_names(panels)),
        list(panels),
        features,
        truth,
        list(classes or map(str, range(max(truth, default=-1) + 1))),
        {why: number for why, number in left_out.items() if number},
        [tables[first][key] for key in kept],
    )


def _flaw(rows: Mapping[str, dict], panels: Sequence[tuple[str, str]], files: int) -> str | None:
    """Why a clip cannot be in every panel, None if it can."""
    if len(rows) < files:
        return 'not in every file'
    if any(row['broken'] is not None for row in rows.values()):
        return 'could not be read'
    features = [_feature(rows[path], name) for path, name in panels]
    if any(feature is None for feature in features):
        return 'without a feature'
    return None if all(np.isfinite(feature).all() for feature in features) else 'not finite'


def _feature(row: dict, name: str) -> Any:
    return row.get(LAST) if name == LAST else row.get('features', {}).get(name)


def _stack(features: Sequence[np.ndarray], path: str, name: str) -> np.ndarray:
    widths = sorted({feature.shape for feature in features})
    if len(widths) > 1:
        raise MmavError(f"'{path}': the feature {name!r} has several shapes, {widths[0]} and {widths[1]}")
    return np.array(features, dtype=np.float64)


def _panel_names(panels: Sequence[tuple[str, str]]) -> list[str]:
    if len({path for path, _ in panels}) == 1:
        return [name for _, name in panels]
    stems = [Path(path).stem for path, _ in panels]
    return stems if len(set(stems)) == len(stems) else [path for path, _ in panels]


def pick_clips(labels: np.ndarray, num_classes: int, num_clips: int, *, seed: int = 0) -> np.ndarray:
    """Picks random classes, and of their clips random ones.

    Args:
        labels: Classes (clips,).
        num_classes: How many classes; all if there are no more.
        num_clips: How many clips; all of these classes if there are no more.
        seed: Decides which.

    Returns:
        Places in ``labels``, ascending.

    Raises:
        MmavError: A number is not positive, or there are fewer clips than a picture can be made of.
    """
    for name, value in (('classes', num_classes), ('samples', num_clips)):
        if value < 1:
            raise MmavError(f'the number of {name} must be positive, got {value}')
    rng = np.random.default_rng(seed)
    present = np.unique(labels)
    chosen = rng.choice(present, min(num_classes, len(present)), replace=False) if len(present) else present
    places = np.flatnonzero(np.isin(labels, chosen))
    places = np.sort(rng.choice(places, min(num_clips, len(places)), replace=False)) if len(places) else places
    if len(places) < _FEWEST:
        raise MmavError(f'too few clips to draw: {len(places)} of {len(chosen)} classes, need at least {_FEWEST}')
    return places


def default_perplexity(clips: int) -> float:
    """The usual 30, less for fewer than 91 clips: it is about the number of neighbours that a clip heeds.

    >>> default_perplexity(2000), default_perplexity(25)
    (30.0, 8.0)
    """
    return min(30.0, (clips - 1) / 3)


def embed(
    features: np.ndarray, method: str = 'tsne', *, perplexity: float | None = None, seed: int = 0, name: str = ''
) -> np.ndarray:
    """Projects features to 2-D.

    Args:
        features: (clips, D).
        method: ``tsne``: t-SNE from the two principal components on, by scikit-learn, of features wider than 50 after
            PCA to 50. ``pca``: the two principal components.
        perplexity: Of t-SNE; see :func:`default_perplexity` if not given.
        seed: Of t-SNE and PCA.
        name: What to call the features in messages.

    Returns:
        Points (clips, 2).

    Raises:
        MmavError: The method is unknown, the perplexity does not fit, or the features of all clips are equal.
    """
    from sklearn.decomposition import PCA  # imported here: half a second that only pictures need to wait for
    from sklearn.manifold import TSNE

    if method not in METHODS:
        raise MmavError(f'method={method!r} is unknown: choose {" or ".join(METHODS)}{did_you_mean(method, METHODS)}')
    clips, width = features.shape
    if perplexity is None:
        perplexity = default_perplexity(clips)
    if not 0 < perplexity < clips:
        raise MmavError(f'perplexity {perplexity:g} does not fit {clips} clips: it must be above 0 and below {clips}')
    if not np.ptp(features, axis=0).any():
        raise MmavError(f'the features {name!r} are equal in all {clips} clips: is the model trained?')
    if method == 'pca' or width > WIDEST:
        components = 2 if method == 'pca' else min(WIDEST, clips)
        features = PCA(min(components, width), random_state=seed).fit_transform(features)
    if method == 'pca':
        return np.pad(features, ((0, 0), (0, 2 - features.shape[1])))
    start = 'pca' if features.shape[1] > 1 else 'random'
    return TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(features)
