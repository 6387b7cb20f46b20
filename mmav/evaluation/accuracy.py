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
    as wrong and are logged by name.

    Args:
        topk: The values of k.
        collect_device: How processes exchange results, see MMEngine's ``BaseMetric``. 'gpu' means collective calls,
            which also work for CPU processes; 'cpu' means files in the current folder.
        prefix: Put before the names of the results.

    Raises:
        ValueError: A k is not positive.
    """

    parts: ClassVar = ('label',)  # what it measures

    def __init__(
        self, topk: int | Sequence[int] = (1, 5), *, collect_device: str = 'gpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix='accuracy')  # MMEngine warns where there is no prefix
        self.prefix = prefix
        self.topk = checked_topk(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Takes a batch of predictions: dicts with ``pred_score`` (C,), ``gt_label`` (), ``path`` and ``broken``."""
        for sample in data_samples:
            scores = sample['pred_score'].detach().float().cpu().numpy()
            rank = rank_of_label(scores, int(sample['gt_label']))
            self.results.append((rank, sample.get('path'), sample.get('broken')))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Turns the ranks of all clips into accuracies."""
        broken = log_broken((path, reason) for _, path, reason in results)
        ranks = np.array([rank for rank, _, reason in results if reason is None])
        metrics: dict[str, float] = {f'top{k}': float((ranks < k).sum() / len(results)) for k in self.topk}
        metrics['broken'] = broken
        return metrics
