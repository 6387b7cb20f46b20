"""What one class's scores are worth, for every class of clips that may have several: AP, AUC, F1 and thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmav.errors import MmavError


@dataclass(frozen=True)
class Answers:
    """The scores of N clips and what they should have been.

    Attributes:
        scores: (N, C), higher is more likely. In the rows of clips whose scores are not finite every score is wrong:
            minus infinity for the classes that the clip has, infinity for the others.
        truth: Which classes each clip has (N, C), bool.
        lost: Of each class how many clips that have it could not be read (C,). They are not among the N.
        broken: How many clips could not be read.
    """

    scores: np.ndarray
    truth: np.ndarray
    lost: np.ndarray
    broken: int = 0

    @property
    def support(self) -> np.ndarray:
        """The clips of each class (C,), with those that could not be read."""
        return self.truth.sum(axis=0) + self.lost

    @property
    def judged(self) -> np.ndarray:
        """The classes that scores can be right or wrong about (C,): some clips have them, and some have not."""
        return (self.support > 0) & (self.support < len(self.truth) + self.broken)


def multi_hot(labels: Sequence[Sequence[int]], num_classes: int) -> np.ndarray:
    """Sets of class indices as rows (N, C), bool.

    Raises:
        MmavError: There is no such class.

    >>> multi_hot([(0, 2), ()], 3).astype(int).tolist()
    [[1, 0, 1], [0, 0, 0]]
    """
    table = np.zeros((len(labels), num_classes), dtype=bool)
    rows = np.repeat(np.arange(len(labels)), [len(each) for each in labels])
    columns = np.array([index for each in labels for index in each], dtype=int)
    if len(columns) and not 0 <= columns.min() <= columns.max() < num_classes:
        wrong = columns[(columns < 0) | (columns >= num_classes)][0]
        raise MmavError(
            f'a clip has the label {wrong}, but the model tells {num_classes} classes apart, counted from 0'
        )
    table[rows, columns] = True
    return table


def answers_of(scores: np.ndarray, truth: np.ndarray, broken: np.ndarray | None = None) -> Answers:
    """Sorts out clips that have no answer.

    A clip that could not be read is not found by any of its classes, and is neither a false alarm nor a right rejection
    of the others. A clip whose scores are not all finite is wrong in every class.

    Args:
        scores: (N, C).
        truth: (N, C), bool.
        broken: Which clips could not be read (N,).

    Raises:
        MmavError: There are no clips, or not a score for each clip and class.
    """
    if scores.shape != truth.shape or not len(scores):
        raise MmavError(f'scores of {scores.shape} do not belong to labels of {truth.shape}: give those of the clips')
    broken = np.zeros(len(scores), dtype=bool) if broken is None else broken
    lost = truth[broken].sum(axis=0)
    if broken.any():
        scores, truth = scores[~broken], truth[~broken]
    wrong = ~np.isfinite(scores).all(axis=1)
    if wrong.any():
        scores = scores.copy()
        scores[wrong] = np.where(truth[wrong], -np.inf, np.inf)
    return Answers(scores, truth, lost, int(broken.sum()))


@dataclass(frozen=True)
class Cuts:
    """A class's clips, cut at each of its distinct scores, the highest first.

    Attributes:
        scores: The distinct scores (K,).
        hits: Clips of the class that score at least that (K,).
        taken: All clips that do (K,).
    """

    scores: np.ndarray
    hits: np.ndarray
    taken: np.ndarray


def cuts_of(scores: np.ndarray, truth: np.ndarray) -> Cuts:
    """Cuts the N clips of one class; equal scores are one cut, as in scikit-learn.

    Args:
        scores: (N,).
        truth: (N,), bool.
    """
    order = np.argsort(scores)[::-1]
    ranked = scores[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1) if len(ranked) else np.arange(0)
    return Cuts(ranked[ends], np.cumsum(truth[order])[ends], ends + 1)


def _by_class(answers: Answers, wanted: np.ndarray) -> Iterator[tuple[int, Cuts, int]]:
    """Index, cuts and support of each wanted class."""
    support = answers.support
    for index in np.flatnonzero(wanted):
        # side by side, which sorting reads faster
        scores = np.ascontiguousarray(answers.scores[:, index])
        yield int(index), cuts_of(scores, answers.truth[:, index]), int(support[index])


def ranking_scores(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    r"""Average precision and area under the ROC curve of each class.

    .. math:: \mathrm{AP} = \sum_n (R_n - R_{n-1}) P_n

    over the class's distinct scores, without interpolation, and the share of pairs of a clip that has the class and one
    that has not in which the first scores higher, ties counted half: scikit-learn's ``average_precision_score`` and
    ``roc_auc_score``, which ``calculate_stats`` of YuanGongND/ast, src/utilities/stats.py, calls for each class.

    Returns:
        (C,) each, NaN of classes that no clip has, or every clip. An area is 0 where no pair could be read.
    """
    precision, area = np.full((2, answers.truth.shape[1]), np.nan)
    others = len(answers.truth) - answers.truth.sum(axis=0)
    for index, cuts, support in _by_class(answers, answers.judged):
        rejected = int(others[index])
        found = cuts.scores > -np.inf
        gained = np.diff(cuts.hits, prepend=0)
        precision[index] = (gained * cuts.hits / cuts.taken)[found].sum() / support
        alarms = cuts.taken - cuts.hits
        won = (np.diff(alarms, prepend=0) * (cuts.hits - gained / 2)).sum()
        area[index] = won / (support * rejected) if rejected else 0.0
    return precision, area


def counts_at(answers: Answers, thresholds: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts what scores a threshold at least.

    Args:
        answers: The clips.
        thresholds: One, or one a class (C,).

    Returns:
        Of each class the clips that are right, and all that it is predicted for (C,) each.
    """
    predicted = answers.scores >= thresholds
    return (predicted & answers.truth).sum(axis=0), predicted.sum(axis=0)


def f1_of(hits: np.ndarray, taken: np.ndarray, support: np.ndarray) -> np.ndarray:
    """F1 scores, harmonic means of precision and recall; 0 where there is nothing to find and nothing is predicted.

    Args:
        hits: Clips that are right.
        taken: Clips that the class is predicted for.
        support: Clips that have it.
    """
    return 2 * hits / np.maximum(taken + support, 1)


def best_thresholds(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """The threshold of each class with the highest F1, of equal ones the highest.

    Halfway between the lowest score that it lets through and the next one: a score that another machine rounds
    otherwise stays on its side.

    Returns:
        Thresholds and their F1 (C,) each, NaN of classes that no clip has.
    """
    thresholds, best = np.full((2, answers.truth.shape[1]), np.nan)
    for index, cuts, support in _by_class(answers, answers.support > 0):
        kept = np.flatnonzero(np.isfinite(cuts.scores))
        if not len(kept):
            continue
        each = f1_of(cuts.hits, cuts.taken, np.array(support))[kept]
        place = kept[each.argmax()]
        best[index] = each.max()
        thresholds[index] = _between(cuts.scores, place)
    return thresholds, best


def _between(scores: np.ndarray, place: int) -> float:
    """Halfway from a score to the next lower one, or to 0."""
    lower = float(scores[place + 1]) if place + 1 < len(scores) else 0.0
    return (float(scores[place]) + (lower if np.isfinite(lower) else 0.0)) / 2


def best_threshold(answers: Answers, average: str = 'macro') -> tuple[float, float]:
    """The one threshold of all classes with the highest F1, exact over all scores.

    Args:
        answers: The clips.
        average: ``macro``: the mean of the F1 of the classes that are judged; ``micro``: F1 over all pairs of a clip
            and a class.

    Returns:
        The threshold, between two scores as in :func:`best_thresholds`, and its F1.

    Raises:
        MmavError: The average is unknown, no clip has a class, or no score is finite.
    """
    if average not in ('macro', 'micro'):
        raise MmavError(f'average={average!r} is unknown: choose macro or micro')
    judged = answers.judged
    if not judged.any() or not np.isfinite(answers.scores).any():
        raise MmavError('no threshold can be found: no clip has a class that others have not, and finite scores')
    if average == 'micro':
        cuts = cuts_of(answers.scores.ravel(), answers.truth.ravel())
        scores, values = cuts.scores, f1_of(cuts.hits, cuts.taken, answers.support.sum())
    else:
        steps, changes = [], []
        for _, cuts, support in _by_class(answers, judged):
            steps.append(cuts.scores)
            changes.append(np.diff(f1_of(cuts.hits, cuts.taken, np.array(support)), prepend=0.0))
        # going down through the scores of all classes, each step changes the F1 of one
        at, change = np.concatenate(steps), np.concatenate(changes)
        order = np.argsort(at)[::-1]
        at = at[order]
        ends = np.append(np.flatnonzero(at[1:] != at[:-1]), len(at) - 1)
        scores, values = at[ends], np.cumsum(change[order])[ends] / judged.sum()
    values = np.where(np.isfinite(scores), values, -1.0)
    place = int(values.argmax())
    return _between(scores, place), float(values[place])
