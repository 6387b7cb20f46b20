"""Judges encoders by features of training and test clips: linear probe, k-NN, cross-modal retrieval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmav.evaluation.accuracy import ranks_of_clip
from mmav.evaluation.feature_splits import Split
from mmav.evaluation.intervals import accuracy_interval
from mmav.evaluation.knn import NEIGHBOURS, TEMPERATURE, knn_scores
from mmav.evaluation.linear_probe import STRENGTHS, linear_probe
from mmav.evaluation.predictions import Classes
from mmav.evaluation.retrieval import RECALLS, chance_recalls, direction_ranks, retrieval_metrics, shared_space
from mmav.structures import PROJECTED

MEASURES = ('linear', 'knn', 'retrieval')
TITLES = dict(linear='linear probe', knn='k-NN', retrieval='retrieval')
JOINED = 'audio + video'
_SENSES = ('audio', 'video')
_TOPK = (1, 5)


def judged_features(names: Sequence[str], measures: Sequence[str]) -> list[str]:
    """The features that get a linear probe and k-NN: all but projections, and audio and video together.

    >>> judged_features(['audio', 'video', 'audio_projected'], ['knn'])
    ['audio', 'video', 'audio + video']
    """
    if not {'linear', 'knn'} & set(measures):
        return []
    plain = [name for name in names if not name.endswith(PROJECTED)] or list(names)
    return [*plain, *([JOINED] if set(_SENSES) <= set(plain) else [])]


def num_steps(names: Sequence[str], measures: Sequence[str], parts: int = 1) -> int:
    """How often :func:`judge` reports progress, with the regularisation to be chosen."""
    fits = (len(STRENGTHS) + 1) * ('linear' in measures) + ('knn' in measures)
    return fits * parts * len(judged_features(names, measures)) + ('retrieval' in measures)


def judge(
    train: Split,
    test: Split,
    *,
    classes: Classes | None = None,
    measures: Sequence[str] = MEASURES,
    k: int = NEIGHBOURS,
    temperature: float | None = TEMPERATURE,
    seed: int = 0,
    done: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """Measures features.

    Audio and video together are concatenated for the probe, and for k-NN too, each scaled to unit length, so that the
    cosine is the mean of theirs.

    Args:
        train: Features of the training clips.
        test: Features of the test clips.
        classes: Part of the label -> names of the classes.
        measures: Some of :data:`MEASURES`. Retrieval uses the test clips alone.
        k: Neighbours of k-NN.
        temperature: Of its votes, see :func:`~mmav.evaluation.knn.knn_scores`.
        seed: Of the clips on which the probe's regularisation is chosen.
        done: Called after each step, see :func:`num_steps`.

    Returns:
        A dict for each figure. Of ``linear`` and ``knn`` one for each feature and part of the label, and ``action``,
        all parts together: ``measure``, ``features``, ``width``, ``part``, ``clips``, ``top1``, ``top1_interval``
        (95 %, Wilson), ``top5`` where there are more than 5 classes, and ``majority``, the accuracy of guessing the
        commonest training class; of ``linear`` also ``c``, ``held_out`` and ``converged``, see
        :class:`~mmav.evaluation.linear_probe.Probe`. Of ``retrieval`` one for each direction and kind: ``measure``,
        ``features``, ``direction``, ``right`` (``clip`` or ``class``), ``clips``, ``r1``, ``r1_interval``, and so on,
        ``median_rank``, and ``chance``, ``r1`` and so on of candidates in random order.

    Raises:
        MmavError: A measure does not fit the clips.
    """
    sizes = {part: _number(part, train, test, classes) for part in train.labels}
    rows: list[dict[str, Any]] = []
    for name in judged_features(list(train.features), measures):
        for measure in (each for each in ('linear', 'knn') if each in measures):
            one, two = _values(train, name, unit=measure == 'knn'), _values(test, name, unit=measure == 'knn')
            scores, found = {}, {}
            for part, labels in train.labels.items():
                if measure == 'linear':
                    files = [clip['path'] for clip in train.clips]
                    options: dict[str, Any] = dict(num_classes=sizes[part], groups=files, seed=seed, done=done)
                    probe = linear_probe(one, labels, two, **options)
                    scores[part] = probe.scores
                    found[part] = dict(c=probe.c, held_out=probe.held_out, converged=probe.converged)
                else:
                    options = dict(num_classes=sizes[part], k=k, temperature=temperature)
                    scores[part] = knn_scores(one, labels, two, **options)
                    done()
            head = dict(measure=measure, features=name, width=one.shape[1])
            rows += [
                {**head, **figures, **found.get(figures['part'], {})} for figures in _accuracies(scores, train, test)
            ]
    if 'retrieval' in measures:
        rows += retrieve(test)
        done()
    return rows


def retrieve(test: Split) -> list[dict[str, Any]]:
    """The figures of retrieval, see :func:`judge`.

    Raises:
        MmavError: The features cannot be compared, see :func:`~mmav.evaluation.retrieval.shared_space`.
    """
    names, _ = shared_space({name: values.shape[1] for name, values in test.features.items()})
    labels = np.unique(np.stack(list(test.labels.values())), axis=1, return_inverse=True)[1].ravel()
    clips = len(labels)
    rows = []
    for direction, ranks in direction_ranks({name: test.features[name] for name in names}, labels).items():
        right = 'class' if direction.endswith('_class') else 'clip'
        figures: dict[str, Any] = retrieval_metrics(ranks)
        for recall in RECALLS:
            figures[f'r{recall}_interval'] = list(accuracy_interval(int((ranks < recall).sum()), clips))
        head = dict(measure='retrieval', features=names, direction=direction.removesuffix('_class'), right=right)
        chance = chance_recalls(np.arange(clips) if right == 'clip' else labels)
        rows.append({**head, 'clips': clips, **figures, 'chance': chance})
    return rows


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The figures as text, a line for each."""
    lines = []
    for measure in ('linear', 'knn'):
        chosen = [row for row in rows if row['measure'] == measure]
        several = len({row['part'] for row in chosen}) > 1
        for row in chosen:
            name = f'{row["features"]}, {row["part"]}' if several else row['features']
            told = f'{TITLES[measure]:14}{name:24}top-1 {_share(row, "top1")}'
            told += f'  top-5 {row["top5"]:.4f}' if 'top5' in row else ''
            told += f'  commonest class {row["majority"]:.4f}'
            lines.append(told + (f'  C = {row["c"]:g}' if measure == 'linear' else ''))
    for row in (row for row in rows if row['measure'] == 'retrieval'):
        name = f'{row["direction"].replace("_to_", " to ")}, {row["right"]}'
        shares = '  '.join(f'R@{k} {_share(row, f"r{k}")}' for k in RECALLS)
        by_chance = ', '.join(f'{row["chance"][f"r{k}"]:.3f}' for k in RECALLS)
        lines.append(
            f'{TITLES["retrieval"]:14}{name:24}{shares}  median rank {row["median_rank"]:g}  chance {by_chance}'
        )
    return '\n'.join(lines)


def remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of the figures should know: fits that did not end, regularisation that nothing decided."""
    told = []
    for row in (row for row in rows if row['measure'] == 'linear' and 'c' in row):
        name = f'the linear probe of {row["features"]}'
        if not row['converged']:
            told.append(f'{name} did not converge')
        if not row['held_out']:
            told.append(f'{name} has C = 1, which was not chosen: no class has a second file')
    return told


def _share(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f'{name}_interval']
    return f'{row[name]:.4f} [{low:.3f}, {high:.3f}]'


def _values(split: Split, name: str, *, unit: bool) -> np.ndarray:
    if name != JOINED:
        return split.features[name]
    parts = [split.features[sense] for sense in _SENSES]
    if unit:
        parts = [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in parts]
    return np.concatenate(parts, axis=1)


def _number(part: str, train: Split, test: Split, classes: Classes | None) -> int:
    if classes:
        return len(classes[part])
    return int(max(train.labels[part].max(), test.labels[part].max())) + 1


def _accuracies(scores: Mapping[str, np.ndarray], train: Split, test: Split) -> list[dict[str, Any]]:
    """Of each part of the label, and of all together."""
    clips = len(test.clips)
    ranks = [
        ranks_of_clip({part: scores[part][i] for part in scores}, {part: int(test.labels[part][i]) for part in scores})
        for i in range(clips)
    ]
    rows = []
    for task in ranks[0]:
        of_task = np.array([rank[task] for rank in ranks])
        size = int(np.prod([scores[part].shape[1] for part in ([task] if task in scores else scores)]))
        figures: dict[str, Any] = {f'top{k}': float((of_task < k).mean()) for k in _TOPK if k == 1 or k < size}
        interval = list(accuracy_interval(int((of_task < 1).sum()), clips))
        rows.append(
            dict(part=task, clips=clips, **figures, top1_interval=interval, majority=_majority(task, train, test))
        )
    return rows


def _majority(task: str, train: Split, test: Split) -> float:
    """Share of the test clips that are of the commonest training class."""
    of_train, of_test = (
        np.stack([split.labels[task]] if task in split.labels else list(split.labels.values()))
        for split in (train, test)
    )
    kinds, counts = np.unique(of_train, axis=1, return_counts=True)
    return float((of_test == kinds[:, [counts.argmax()]]).all(axis=0).mean())
