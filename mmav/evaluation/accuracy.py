"""Top-k accuracy over every clip of the test set, including those that could not be read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmav.errors import MmavError
from mmav.registry import METRICS
from mmav.structures import ACTION

NO_ANSWER = -1  # in place of a predicted class


def rank_of_label(scores: np.ndarray, label: int) -> int:
    """Counts the classes ranked before the true one.

    Args:
        scores: (C,), higher is better.
        label: The true class.

    Returns:
        0 if the first guess is correct. Ties and non-finite scores count against the prediction, so a model without a
        preference is never correct by accident.

    Raises:
        MmavError: There is no such class.

    >>> rank_of_label(np.array([0.1, 0.6, 0.3]), 2)
    1
    >>> rank_of_label(np.array([0.5, 0.5]), 0)
    1
    """
    if not 0 <= label < len(scores):
        raise MmavError(
            f'a clip has the label {label}, but the model tells {len(scores)} classes apart, counted from 0'
        )
    if not np.isfinite(scores).all():
        return len(scores)
    return int((scores >= scores[label]).sum()) - 1


def ranks_of_clip(scores: Mapping[str, np.ndarray], truth: Mapping[str, int]) -> dict[str, int]:
    """How many classes are ranked before the true one, see :func:`rank_of_label`.

    Args:
        scores: Part of the label -> probabilities (C,).
        truth: Part -> the true class.

    Returns:
        Part -> rank; with several parts also ``action``, all of them together, whose score is the product of theirs
        (epic-kitchens/C1-Action-Recognition, utils/scoring.py).
    """
    # in float64, where no product of two float32 probabilities underflows
    tables = [np.asarray(scores[part], dtype=np.float64) for part in truth]
    ranks = {part: rank_of_label(table, truth[part]) for part, table in zip(truth, tables, strict=True)}
    if len(truth) > 1:
        label = np.ravel_multi_index(list(truth.values()), [len(table) for table in tables])
        ranks[ACTION] = rank_of_label(reduce(np.multiply.outer, tables).ravel(), int(label))
    return ranks


def ranks_of_clips(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of each clip how many classes are ranked before the true one, see :func:`rank_of_label`.

    Args:
        scores: (N, C).
        labels: True classes (N,).

    Returns:
        (N,).
    """
    return np.array([rank_of_label(each, int(label)) for each, label in zip(scores, labels, strict=True)], dtype=int)


def first_guess(scores: np.ndarray, label: int) -> int:
    """The most probable class; of a tie a wrong one, and NO_ANSWER where scores are not finite.

    Args:
        scores: (C,), higher is better.
        label: The true class.

    >>> first_guess(np.array([0.4, 0.4, 0.2]), 0), first_guess(np.array([0.5, 0.3, 0.2]), 0)
    (1, 0)
    """
    if not np.isfinite(scores).all():
        return NO_ANSWER
    others = np.where(np.arange(len(scores)) == label, -np.inf, scores)
    return label if scores[label] > others.max() else int(others.argmax())


def class_counts(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, ...]:
    """Counts the clips of each class.

    Args:
        predicted: (N,), NO_ANSWER where there is none.
        labels: True classes (N,).
        num_classes: C.

    Returns:
        Those that are right, all that are predicted to be of the class, and all that are (C,) each.
    """
    given = predicted != NO_ANSWER
    right, said, true = (
        np.bincount(each, minlength=num_classes) for each in (labels[predicted == labels], predicted[given], labels)
    )
    return right, said, true


def class_means(right: np.ndarray, said: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Means over classes, see :func:`class_counts`.

    Returns:
        The mean recall of the classes that have clips (scikit-learn's ``balanced_accuracy_score``), and the mean F1 of
        those that have clips or are predicted (its ``f1_score`` with ``average='macro'``).
    """
    found = said + true
    return (
        float((right / np.maximum(true, 1))[true > 0].mean()),
        float((2 * right / np.maximum(found, 1))[found > 0].mean()),
    )


def one_label(sample: Mapping[str, Any], part: str, who: str) -> int:
    """The true class of a sample that has one.

    Args:
        sample: With ``gt_label``, or that of the part.
        part: 'label' where there is one, else such as 'verb'.
        who: What needs it.

    Raises:
        MmavError: The clip has a set of classes, or no label.
    """
    if f'gt_{part}' in sample:
        return int(sample[f'gt_{part}'])
    path = sample.get('path')
    if sample.get('multi_label'):
        raise MmavError(f'{who} is for clips with one {part} each, {path} has a set of them: use MultiLabelMetric')
    raise MmavError(f'{who} needs a {part} of each clip, {path} has none: leave the metric out, or label the clips')


def log_broken(clips: Iterable[tuple[Any, str | None]]) -> int:
    """Logs every clip that could not be read, from pairs of path and reason, or None if it could be read.

    Returns:
        The number of such clips.
    """
    broken = [(path, reason) for path, reason in clips if reason is not None]
    for path, reason in broken:
        print_log(f'counted as wrong, cannot be read: {path}: {reason}', 'current', level=logging.WARNING)
    return len(broken)


def checked_topk(topk: int | Sequence[int]) -> tuple[int, ...]:
    """Returns the values of k as a tuple.

    Raises:
        ValueError: One is not positive, or there are none.
    """
    values = (topk,) if isinstance(topk, int) else tuple(topk)
    if not values or min(values) < 1:
        raise ValueError(f'topk must be positive numbers, got {topk!r}')
    return values


@METRICS.register_module()
class Accuracy(BaseMetric):
    """The share of clips whose true class is among the k most probable.

    Results: ``top1``, ``top5`` ... in [0, 1], and ``broken``, the number of clips that could not be read. Those count
    as wrong and are logged by name. Where asked for, ``mean_class``, the mean of the accuracies of the classes that
    have clips (scikit-learn's ``balanced_accuracy_score``), and ``macro_f1``, the mean F1 of the classes that have
    clips or are predicted (scikit-learn's ``f1_score`` with ``average='macro'``).

    Args:
        topk: The values of k.
        mean_class: Whether to add ``mean_class``.
        macro_f1: Whether to add ``macro_f1``.
        collect_device: How processes exchange results, see MMEngine's ``BaseMetric``. 'gpu' means collective calls,
            which also work for CPU processes; 'cpu' means files in the current folder.
        prefix: Put before the names of the results.

    Raises:
        ValueError: A k is not positive.
    """

    parts: ClassVar = ('label',)  # what it measures
    multi_label: ClassVar = False

    def __init__(
        self,
        topk: int | Sequence[int] = (1, 5),
        *,
        mean_class: bool = False,
        macro_f1: bool = False,
        collect_device: str = 'gpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix='accuracy')  # MMEngine warns where there is no prefix
        self.prefix = prefix
        self.topk = checked_topk(topk)
        self.mean_class, self.macro_f1 = mean_class, macro_f1

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Takes a batch of predictions: dicts with ``pred_score`` (C,), ``gt_label`` (), ``path`` and ``broken``."""
        for sample in data_samples:
            label = one_label(sample, 'label', type(self).__name__)
            scores = sample['pred_score'].detach().float().cpu().numpy()
            guess = (rank_of_label(scores, label), first_guess(scores, label), label, len(scores))
            self.results.append((guess, sample.get('path'), sample.get('broken')))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Turns the ranks of all clips into accuracies."""
        broken = log_broken((path, reason) for _, path, reason in results)
        ranks = np.array([rank for (rank, *_), _, reason in results if reason is None])
        metrics: dict[str, float] = {f'top{k}': float((ranks < k).sum() / len(results)) for k in self.topk}
        if self.mean_class or self.macro_f1:
            predicted = np.array([NO_ANSWER if reason is not None else guess for (_, guess, *_), _, reason in results])
            labels = np.array([label for (_, _, label, _), _, _ in results])
            classes = results[0][0][-1]
            means = zip(('mean_class', 'macro_f1'), class_means(*class_counts(predicted, labels, classes)), strict=True)
            metrics.update({name: value for name, value in means if getattr(self, name)})
        metrics['broken'] = broken
        return metrics
