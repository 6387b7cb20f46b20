"""Results for users: from probabilities to labels of windows and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from mmav.class_names import Names

# part of the label -> probabilities (C,)
Scores = dict[str, np.ndarray]
# how the windows of a clip become one: their mean, or the highest of each class
MERGES = ('mean', 'max')


def top_labels(scores: np.ndarray, classes: Sequence[str] | None, topk: int | None) -> list[dict[str, Any]]:
    """The most probable labels, first the best.

    Args:
        scores: Probabilities (C,).
        classes: Names; None for numbers in their place.
        topk: How many; None for all.

    >>> top_labels(np.array([0.25, 0.75]), ('cat', 'dog'), 1)
    [{'label': 'dog', 'index': 1, 'score': 0.75}]
    """
    order = np.argsort(-scores, kind='stable')[:topk]
    return [dict(label=str(k) if classes is None else classes[k], index=int(k), score=float(scores[k])) for k in order]


def predictions_of(
    scores: Scores, classes: Names | None, topk: int | None, thresholds: Mapping[str, np.ndarray] | None = None
) -> dict[str, Any]:
    """The most probable labels as ``predictions``; of several parts those of all together, and beside them each part's.

    The score of several parts is the product of theirs (epic-kitchens/C1-Action-Recognition, utils/scoring.py).

    Args:
        scores: Probabilities.
        classes: Names, if they are known.
        topk: How many; None for all.
        thresholds: Part -> (C,), of a model that gives a clip several labels: those whose probability reaches theirs
            are ``labels``, however many they are.
    """
    names = classes or {}
    parts = {part: top_labels(values, names.get(part), topk) for part, values in scores.items()}
    if thresholds is not None:
        ((part, values),) = scores.items()
        every = top_labels(values, names.get(part), None)
        reached = [each for each in every if values[each['index']] >= thresholds[part][each['index']]]
        return dict(predictions=parts[part], labels=reached)
    if len(parts) == 1:
        return dict(predictions=next(iter(parts.values())))
    joint = reduce(np.multiply.outer, scores.values())
    order = np.argsort(-joint, axis=None, kind='stable')[:topk]
    predictions = []
    for index in np.stack(np.unravel_index(order, joint.shape), axis=1).tolist():
        words = [str(k) if part not in names else names[part][k] for part, k in zip(scores, index, strict=True)]
        predictions.append(dict(label=' '.join(words), index=index, score=float(joint[tuple(index)])))
    return dict(predictions=predictions, **parts)


def merged_scores(scores: Sequence[Scores], merge: str = 'mean') -> Scores:
    """One probability a class from those of the windows, see :data:`MERGES`."""
    combine = np.max if merge == 'max' else np.mean
    return {part: combine([each[part] for each in scores], axis=0) for part in scores[0]}


def parts_of(result: Mapping[str, Any]) -> list[str]:
    """The parts of the label that stand in a clip's result beside ``predictions``, where there are several."""
    return [key for key in result if key not in (*new_result('', ()), 'labels', 'video')]


def new_result(path: str, drop: Sequence[str]) -> dict[str, Any]:
    """An empty result of a clip, see :class:`mmav.apis.AVInferencer`."""
    return dict(
        path=path,
        duration=None,
        present=[],
        missing=[],
        withheld=list(drop),
        predictions=[],
        windows=[],
        skipped=[],
        error=None,
    )


def note_window(result: dict[str, Any], item: Mapping[str, Any], predictions: Mapping[str, Any]) -> None:
    """Adds a window to a clip's result.

    Args:
        result: The clip's.
        item: Output of the pipeline, for its sample's ``start`` and ``end`` and its ``masks``.
        predictions: See :func:`predictions_of`.
    """
    sample = item['data_samples']
    result['windows'].append(dict(start=sample.start, end=sample.end, **predictions))
    for modality, present in item['masks'].items():
        if bool(present) and modality not in result['present']:
            result['present'].append(modality)


def finish_result(
    result: dict[str, Any],
    scores: Sequence[Scores],
    modalities: Sequence[str],
    predict: Callable[[Scores], Mapping[str, Any]],
    *,
    merge: str = 'mean',
) -> None:
    """Adds what the windows say together, or the reason why none could be read, and the modalities that are missing.

    Args:
        result: The clip's.
        scores: Of each window.
        modalities: What the model reads.
        predict: Scores to labels, such as :func:`predictions_of`.
        merge: One of :data:`MERGES`.
    """
    if scores:
        result.update(predict(merged_scores(scores, merge)))
        known = {*result['present'], *result['withheld']}
        result['missing'] = [modality for modality in modalities if modality not in known]
    elif result['error'] is None:
        result['error'] = result['skipped'][0]['reason']
