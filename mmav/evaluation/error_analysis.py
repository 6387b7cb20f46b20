"""Analyses a model's errors: confused classes, clips that one modality decides, calibration, and significance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmav.errors import MmavError
from mmav.evaluation.accuracy import NO_ANSWER, class_counts, class_means
from mmav.evaluation.actions import action_names
from mmav.evaluation.class_order import in_order
from mmav.evaluation.intervals import difference_interval
from mmav.evaluation.label_sets import LabelSets
from mmav.evaluation.predictions import clip_key, load_predictions, part_of, require_labels
from mmav.structures import ACTION

_DENSE = 1000  # with more classes, as actions have, the matrix holds only those that occur


@dataclass(frozen=True)
class Outcomes:
    """The outcome for each of the N clips of a dump.

    Attributes:
        name: What to call the dump in messages.
        keys: Of each clip, see :func:`mmav.evaluation.predictions.clip_key`.
        labels: True classes (N,).
        paths: Of each clip.
        predicted: Predicted classes (N,), NO_ANSWER of clips that are broken or whose scores are not finite. Of a tie
            it is a wrong one, as in :func:`mmav.evaluation.accuracy.rank_of_label`.
        confidence: Probability of the first guess (N,), NaN where there is no answer.
        broken: Which clips could not be read (N,).
        classes: Names of the classes.
        sizes: Number of classes, of actions those of each part.
        named: Whether the names come from the dump, instead of numbers.
        lists: Part -> its names in the dump, or None.
    """

    name: str
    keys: list[tuple[int, str]]
    paths: list[str]
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    broken: np.ndarray
    classes: list[str]
    sizes: tuple[int, ...]
    named: bool
    lists: Any = None

    @property
    def right(self) -> np.ndarray:
        """Which clips are right at the first guess (N,)."""
        return self.predicted == self.labels

    def class_name(self, index: int) -> str:
        """Name of a class, also of NO_ANSWER."""
        return '(no answer)' if index == NO_ANSWER else self.classes[index]


def read_outcomes(path: str | Path, part: str | None = None, *, like: Any = None) -> Outcomes:
    """Reads a dump of tools/test.py.

    Args:
        path: File of predictions.
        part: Which part of the label, where it has several, or ``action``, all together: it is right if all are, and
            its probability is the product of theirs.
        like: ``lists`` of the outcomes that they are compared with, whose order of classes they get.

    Raises:
        MmavError: The file is missing or wrong, its clips have other labels, or its scores are not probabilities.
    """
    rows, classes = in_order(*load_predictions(path), like, name=path)
    require_labels(rows, path, one=True)
    part = part_of(rows, part, path, together=True)
    keys = [clip_key(row) for row in rows]
    if len(set(keys)) != len(keys):
        raise MmavError(f"'{path}' has a clip twice: {Counter(keys).most_common(1)[0][0][1]}")
    parts = list(rows[0]['label']) if part == ACTION else [part]
    answers = [_answers(path, rows, classes, each) for each in parts]
    labels, guesses, confidence, sizes, lists = zip(*answers, strict=True)
    unanswered = np.any([guess == NO_ANSWER for guess in guesses], axis=0)
    predicted = np.ravel_multi_index([np.where(unanswered, 0, guess) for guess in guesses], sizes)
    return Outcomes(
        str(path),
        keys,
        paths=[row['path'] for row in rows],
        labels=np.ravel_multi_index(labels, sizes),
        predicted=np.where(unanswered, NO_ANSWER, predicted),
        confidence=np.prod(confidence, axis=0),
        broken=np.array([row['broken'] is not None for row in rows]),
        classes=action_names(lists),
        sizes=tuple(sizes),
        named=classes is not None,
        lists=classes,
    )


def _answers(path: str | Path, rows: Sequence[dict], classes: Any, part: str) -> tuple[Any, ...]:
    """Labels, first guesses and their probabilities (N,), the number of classes and their names."""
    labels = np.array([row['label'][part] for row in rows])
    each = [row['scores'][part] for row in rows]
    size, names = len(each[0]), classes[part] if classes else None
    if any(len(scores) != size for scores in each) or (names is not None and len(names) != size):
        raise MmavError(f"'{path}' has clips or names of different numbers of classes")
    if labels.min() < 0 or labels.max() >= size:
        raise MmavError(f"'{path}' has a label that is none of its {size} classes: {labels.min()} to {labels.max()}")
    table = np.array(each, dtype=np.float64)
    silent = np.array([row['broken'] is not None for row in rows]) | ~np.isfinite(table).all(axis=1)
    table[silent] = 0
    if table.min() < -1e-3 or table.max() > 1 + 1e-3:
        raise MmavError(f"'{path}' holds scores from {table.min():.3g} to {table.max():.3g}: not probabilities")
    confidence = np.where(silent, np.nan, table.max(axis=1))
    clips = np.arange(len(rows))
    own = table[clips, labels]
    table[clips, labels] = -np.inf
    rival = table.argmax(axis=1)
    predicted = np.where(table[clips, rival] >= own, rival, labels)
    return labels, np.where(silent, NO_ANSWER, predicted), confidence, size, list(names or map(str, range(size)))


def confusion(outcomes: Outcomes) -> tuple[np.ndarray, list[str]]:
    """Counts how often each class is taken for each.

    Returns:
        Counts (C, C + 1), true by predicted class, the last column for clips without an answer; and the C names. Of
        more than 1,000 classes only those that occur, as true or as predicted ones.
    """
    which = np.arange(len(outcomes.classes))
    if len(which) > _DENSE:
        which = np.setdiff1d(np.union1d(outcomes.labels, outcomes.predicted), [NO_ANSWER])
    counts = np.zeros((len(which), len(which) + 1), dtype=np.int64)
    columns = np.where(
        outcomes.predicted == NO_ANSWER, len(which), np.searchsorted(which, outcomes.predicted.clip(min=0))
    )
    np.add.at(counts, (np.searchsorted(which, outcomes.labels), columns), 1)
    return counts, [outcomes.classes[i] for i in which]


def class_accuracies(outcomes: Outcomes) -> list[dict[str, Any]]:
    """Accuracy of each class that has clips, worst first.

    Returns:
        Of each ``class``, ``clips``, ``right``, ``top1``, which is its recall; ``precision``, the share of right ones
        among the clips that are taken for it, 0 of none; and ``f1``, the harmonic mean of the two.
    """
    right, said, true = (
        each.tolist() for each in class_counts(outcomes.predicted, outcomes.labels, len(outcomes.classes))
    )
    order = sorted(np.flatnonzero(true).tolist(), key=lambda i: (right[i] / true[i], -true[i], i))
    return [
        {
            'class': outcomes.classes[i],
            'clips': true[i],
            'right': right[i],
            'top1': right[i] / true[i],
            'precision': right[i] / max(said[i], 1),
            'f1': 2 * right[i] / (said[i] + true[i]),
        }
        for i in order
    ]


def macro_f1(outcomes: Outcomes) -> float:
    """The mean F1 of the classes, see :func:`mmav.evaluation.accuracy.class_means`."""
    return class_means(*class_counts(outcomes.predicted, outcomes.labels, len(outcomes.classes)))[1]


def worst_pairs(outcomes: Outcomes) -> list[dict[str, Any]]:
    """Wrong pairs, most frequent first: ``true``, ``predicted``, ``count``, ``share`` of the true class's clips."""
    clips = Counter(outcomes.labels.tolist())
    wrong = zip(outcomes.labels[~outcomes.right].tolist(), outcomes.predicted[~outcomes.right].tolist(), strict=True)
    pairs = sorted(Counter(wrong).items(), key=lambda item: (-item[1], -item[1] / clips[item[0][0]], item[0]))
    return [
        dict(
            true=outcomes.class_name(true), predicted=outcomes.class_name(guess), count=count, share=count / clips[true]
        )
        for (true, guess), count in pairs
    ]


def calibration(confidence: np.ndarray, right: np.ndarray, num_bins: int = 15) -> dict[str, Any]:
    r"""Expected calibration error, Guo et al. 2017, "On Calibration of Modern Neural Networks", Eq. 3:

    .. math:: \mathrm{ECE} = \sum_{m=1}^{M} \frac{|B_m|}{n} \left|\mathrm{acc}(B_m) - \mathrm{conf}(B_m)\right|

    with :math:`B_m` the clips whose confidence is in ((m - 1) / M, m / M].

    Args:
        confidence: Probability of the first guess (N,).
        right: Whether it is right (N,).
        num_bins: M.

    Returns:
        ``ece``; ``accuracy``, ``confidence``, the means over all clips; ``clips``; and ``bins``, of each ``low``,
        ``high``, ``clips``, ``accuracy``, ``confidence``. Means of no clips are None.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    places = (np.searchsorted(edges, confidence, side='left') - 1).clip(0, num_bins - 1)
    bins: list[dict[str, Any]] = []
    ece = 0.0
    for place in range(num_bins):
        inside = places == place
        count = int(inside.sum())
        means = dict(accuracy=_mean(right[inside]), confidence=_mean(confidence[inside]))
        bins.append(dict(low=float(edges[place]), high=float(edges[place + 1]), clips=count, **means))
        if count:
            ece += count / len(right) * abs(float(right[inside].mean()) - float(confidence[inside].mean()))
    return dict(
        ece=ece if len(right) else None,
        accuracy=_mean(right),
        confidence=_mean(confidence),
        clips=len(right),
        bins=bins,
    )


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def shared_clips(one: Outcomes | LabelSets, two: Outcomes | LabelSets) -> tuple[np.ndarray, np.ndarray]:
    """Finds the clips that two dumps share.

    Returns:
        Their places in the first and in the second dump, in the first one's order.

    Raises:
        MmavError: They are of different classes or labels, or share no clip.
    """
    if one.sizes != two.sizes or (one.named and two.named and one.classes != two.classes):
        raise MmavError(f"'{one.name}' and '{two.name}' are of different classes")
    places = {key: place for place, key in enumerate(two.keys)}
    pairs = [(place, places[key]) for place, key in enumerate(one.keys) if key in places]
    if not pairs:
        raise MmavError(f"'{one.name}' and '{two.name}' have no clip in common")
    first, second = np.array(pairs).T
    odd = np.flatnonzero((one.labels[first] != two.labels[second]).reshape(len(first), -1).any(axis=1))
    if len(odd):
        raise MmavError(f"'{one.name}' and '{two.name}' differ in the label of {one.keys[first[odd[0]]][1]}")
    return first, second


def modality_cases(audio: Outcomes, video: Outcomes, model: Outcomes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Sorts clips by which modality alone gets them right.

    Returns:
        Counts ``both``, ``audio_only``, ``video_only``, ``neither``, the clips that are not in both dumps, and
        ``model``, case -> top-1 of the model on those of its clips; and one row for each clip that one of the two gets
        right and the other wrong.
    """
    first, second = shared_clips(audio, video)
    shared_clips(audio, model)  # for its checks
    heard, seen = audio.right[first], video.right[second]
    cases = dict(both=heard & seen, audio_only=heard & ~seen, video_only=~heard & seen, neither=~heard & ~seen)
    fused = dict(zip(model.keys, model.right.tolist(), strict=True))
    rows = []
    for place in np.flatnonzero(heard != seen):
        key, path = audio.keys[first[place]], audio.paths[first[place]]
        guesses = {
            'audio': audio.class_name(audio.predicted[first[place]]),
            'video': video.class_name(video.predicted[second[place]]),
        }
        case = 'audio_only' if heard[place] else 'video_only'
        label = audio.class_name(audio.labels[first[place]])
        rows.append(dict(case=case, sample_idx=key[0], path=path, true=label, **guesses, model_right=fused.get(key)))
    counts: dict[str, Any] = {case: int(inside.sum()) for case, inside in cases.items()}
    keys = {case: [audio.keys[first[place]] for place in np.flatnonzero(inside)] for case, inside in cases.items()}
    of_model = {case: _mean(np.array([fused[key] for key in each if key in fused])) for case, each in keys.items()}
    lost = dict(only_in_audio=len(audio.keys) - len(first), only_in_video=len(video.keys) - len(first))
    return dict(clips=len(first), **counts, **lost, model=of_model), rows


def compare(one: Outcomes, two: Outcomes, *, resamples: int = 10_000, seed: int = 0) -> dict[str, Any]:
    """Asks whether two models differ on the clips that both dumps hold.

    Returns:
        ``clips``, ``only_in_first``, ``only_in_second``; ``top1_first``, ``top1_second``; ``first_right`` and
        ``second_right``, the clips that only that model gets right; ``p_value`` of McNemar's exact test, two-sided: of
        the clips on which the models differ each is as likely to win; ``difference`` of top-1, first minus second, and
        ``interval``, where 95 % of the differences lie when the clips are drawn again with replacement (percentiles of
        a paired bootstrap).

    Raises:
        MmavError: See :func:`shared_clips`.
    """
    from scipy.stats import binomtest  # imported here: most of a second that only this comparison needs to wait for

    first, second = shared_clips(one, two)
    mine, theirs, clips = one.right[first], two.right[second], len(first)
    won, lost = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
    return dict(
        clips=clips,
        only_in_first=len(one.keys) - clips,
        only_in_second=len(two.keys) - clips,
        top1_first=float(mine.mean()),
        top1_second=float(theirs.mean()),
        first_right=won,
        second_right=lost,
        p_value=float(binomtest(won, won + lost).pvalue) if won + lost else 1.0,
        difference=(won - lost) / clips,
        interval=list(difference_interval(won, lost, clips, resamples=resamples, seed=seed)),
    )


def csv_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[list[object]]:
    """The columns as a header, and the values of each row; floats have four digits."""
    cells = [[row[name] for name in columns] for row in rows]
    return [[*columns], *([f'{cell:.4f}' if isinstance(cell, float) else cell for cell in row] for row in cells)]
