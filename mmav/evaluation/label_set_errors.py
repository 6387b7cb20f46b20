"""Analyses the errors of a model of clips with any number of labels: classes, false alarms, calibration, modalities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmav.evaluation.class_scores import best_thresholds, counts_at, f1_of, ranking_scores
from mmav.evaluation.error_analysis import calibration, shared_clips
from mmav.evaluation.label_sets import LabelSets
from mmav.evaluation.multi_label import multi_label_scores

Threshold = float | np.ndarray
CLASS_COLUMNS = (
    'class',
    'support',
    'share',
    'AP',
    'AUC',
    'F1',
    'precision',
    'recall',
    'predicted',
    'best_threshold',
    'best_F1',
)


def class_table(sets: LabelSets, threshold: Threshold) -> list[dict[str, Any]]:
    """The scores of each class, the lowest average precision first, and last the classes that cannot be judged.

    Args:
        sets: The clips.
        threshold: For F1, precision and recall; one, or one a class (C,).

    Returns:
        Of each ``class``; ``support``, its clips, and ``share``, their share, which is the average precision of a model
        that guesses; ``AP`` and ``AUC``; ``F1``, ``precision`` and ``recall`` at the threshold, and ``predicted``, the
        number of clips that the class is predicted for; ``best_threshold`` and the ``best_F1`` that it has. What is not
        defined is None.
    """
    answers = sets.answers
    precision, area = ranking_scores(answers)
    hits, taken = counts_at(answers, threshold)
    support = answers.support
    best, best_f1 = best_thresholds(answers)
    each = dict(
        support=support,
        share=support / len(sets.keys),
        AP=precision,
        AUC=area,
        F1=np.where(support > 0, f1_of(hits, taken, support), np.nan),
        precision=np.where(taken > 0, hits / np.maximum(taken, 1), np.nan),
        recall=np.where(support > 0, hits / np.maximum(support, 1), np.nan),
        predicted=taken,
        best_threshold=best,
        best_F1=best_f1,
    )
    rows = [
        {'class': name, **{key: _plain(values[index]) for key, values in each.items()}}
        for index, name in enumerate(sets.classes)
    ]
    return sorted(rows, key=lambda row: (row['AP'] is None, row['AP'] or 0.0, -row['support']))


def _plain(value: Any) -> int | float | None:
    number = value.item()
    return None if isinstance(number, float) and np.isnan(number) else number


def predicted_in(sets: LabelSets, threshold: Threshold) -> np.ndarray:
    """Which classes are predicted for each clip (N, C), bool; none for one without an answer."""
    return (np.nan_to_num(sets.scores, nan=-1) >= threshold) & sets.answered[:, None]


def label_confusion(sets: LabelSets, threshold: Threshold) -> np.ndarray:
    """Counts what is predicted for the clips of each class.

    Returns:
        (C, C + 1), true class by predicted one: on the diagonal how many of the class's clips it is predicted for,
        elsewhere for how many of them another class is predicted that they do not have; last those without an answer.
    """
    truth, said = sets.labels.astype(np.float32), predicted_in(sets, threshold)
    counts = truth.T @ (said & ~sets.labels).astype(np.float32)
    np.fill_diagonal(counts, (said & sets.labels).sum(axis=0))
    silent = sets.labels[~sets.answered].sum(axis=0)
    return np.column_stack([counts, silent]).astype(np.int64)


def false_alarms(sets: LabelSets, threshold: Threshold) -> list[dict[str, Any]]:
    """Pairs of a class that clips have and one that is wrongly predicted for them, most excess ones first.

    Returns:
        Of each pair ``true`` and ``predicted``; ``count``, the clips with the first and without the second for which it
        is predicted; ``share`` of such clips; ``elsewhere``, the share among clips without either; ``excess``, how many
        more that is than it would be elsewhere; and ``instead``, those of them for which the first is not predicted.
        Only pairs with an excess.
    """
    answered = np.flatnonzero(sets.answered)
    sets = sets.of(answered)
    truth, said = sets.labels.astype(np.float32), predicted_in(sets, threshold)
    wrong = (said & ~sets.labels).astype(np.float32)
    without = 1 - truth
    counts = truth.T @ wrong
    clips = truth.T @ without  # with the first, without the second
    others = without.sum(axis=0) - clips  # without either
    elsewhere = (wrong.sum(axis=0) - counts) / np.maximum(others, 1)
    excess = counts - clips * elsewhere
    instead = (truth * ~said).T @ wrong
    pairs = [(true, guess) for true, guess in np.argwhere((counts > 0) & (excess > 0)).tolist() if true != guess]
    pairs.sort(key=lambda pair: (-excess[pair], -counts[pair], pair))
    return [
        dict(
            true=sets.classes[true],
            predicted=sets.classes[guess],
            count=int(counts[true, guess]),
            share=float(counts[true, guess] / clips[true, guess]),
            elsewhere=float(elsewhere[true, guess]),
            excess=float(excess[true, guess]),
            instead=int(instead[true, guess]),
        )
        for true, guess in pairs
    ]


def label_calibration(sets: LabelSets, num_bins: int = 15) -> dict[str, Any]:
    """Calibration of the independent probabilities of the clips with an answer.

    Args:
        sets: The clips.
        num_bins: How many bins.

    Returns:
        Of all pairs of a clip and a class as :func:`mmav.evaluation.error_analysis.calibration`, with the probability
        as confidence and the share of pairs that are true as accuracy; and ``ece_classes``, the mean of the classes'
        own errors (Kull et al. 2019, "Beyond temperature scaling", classwise-ECE), which the many pairs near 0 do not
        hide as much.
    """
    scores, truth = sets.scores[sets.answered].astype(np.float64).clip(0, 1), sets.labels[sets.answered]
    pooled = calibration(scores.ravel(), truth.ravel(), num_bins)
    each = [
        calibration(score, true, num_bins)['ece'] for score, true in zip(scores.T, truth.T, strict=True) if len(score)
    ]
    return {**pooled, 'ece_classes': float(np.mean(each)) if each else None}


def worst_clips(sets: LabelSets, threshold: Threshold, num: int = 100) -> list[dict[str, Any]]:
    """The clips with the largest sum of binary cross-entropies over the classes, of those with an answer.

    Returns:
        Of each ``sample_idx``, ``path``, ``loss`` in nats; ``labels``; ``missed``, those below the threshold, the least
        probable first, and ``false_alarms``, other classes not below it, the most probable first, as
        ``name probability``, separated by ``|``.
    """
    places = np.flatnonzero(sets.answered)
    scores, truth = sets.scores[places].astype(np.float64).clip(1e-7, 1 - 1e-7), sets.labels[places]
    losses = -np.log(np.where(truth, scores, 1 - scores)).sum(axis=1)
    said = predicted_in(sets, threshold)[places]
    rows = []
    for row in np.argsort(-losses, kind='stable')[:num]:
        order = np.argsort(scores[row], kind='stable')
        missed = [index for index in order if truth[row, index] and not said[row, index]]
        alarms = [index for index in order[::-1] if said[row, index] and not truth[row, index]]
        rows.append(
            dict(
                sample_idx=sets.keys[places[row]][0],
                path=sets.paths[places[row]],
                loss=float(losses[row]),
                labels='|'.join(sets.classes[index] for index in np.flatnonzero(truth[row])),
                missed=_with_scores(missed, sets.classes, scores[row]),
                false_alarms=_with_scores(alarms, sets.classes, scores[row]),
            )
        )
    return rows


def _with_scores(indices: Sequence[int], names: Sequence[str], scores: np.ndarray) -> str:
    return '|'.join(f'{names[index]} {scores[index]:.2f}' for index in indices)


def modality_scores(
    audio: LabelSets, video: LabelSets, model: LabelSets, threshold: Threshold
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Compares models of one modality with a model, on the clips that all three dumps hold.

    Args:
        audio: Of an audio-only model.
        video: Of a video-only model.
        model: Of the model.
        threshold: From which probability on a class is predicted for a clip.

    Returns:
        ``clips``; ``audio``, ``video``, ``model``: the scores of each, see
        :func:`mmav.evaluation.multi_label.multi_label_scores`; and ``labels``: how many of all the clips' labels
        ``both``, ``audio_only``, ``video_only`` and ``neither`` find, and ``found``, how many of these the model does.
        And of each class that can be judged ``class``, ``support``, ``AP_audio``, ``AP_video``, ``AP_model`` and
        ``gain``, of the model over the better one; the largest loss first.

    Raises:
        MmavError: The dumps are of different classes or labels, or share no clip.
    """
    first, second = shared_clips(audio, video)
    audio, video = audio.of(first), video.of(second)
    first, second = shared_clips(audio, model)
    alone = dict(audio=audio.of(first), video=video.of(first), model=model.of(second))
    truth = alone['model'].labels
    found = {name: predicted_in(sets, threshold) & truth for name, sets in alone.items()}
    cases = dict(
        both=found['audio'] & found['video'],
        audio_only=found['audio'] & ~found['video'],
        video_only=found['video'] & ~found['audio'],
        neither=truth & ~found['audio'] & ~found['video'],
    )
    each = {name: ranking_scores(sets.answers)[0] for name, sets in alone.items()}
    support = truth.sum(axis=0)
    rows = [
        {
            'class': name,
            'support': int(support[index]),
            **{f'AP_{key}': float(values[index]) for key, values in each.items()},
            'gain': float(each['model'][index] - max(each['audio'][index], each['video'][index])),
        }
        for index, name in enumerate(model.classes)
        if not np.isnan(each['model'][index])
    ]
    figures: dict[str, Any] = {name: multi_label_scores(sets.answers, threshold) for name, sets in alone.items()}
    figures['clips'] = len(truth)
    figures['labels'] = {name: int(inside.sum()) for name, inside in cases.items()}
    figures['labels']['found'] = {name: int((inside & found['model']).sum()) for name, inside in cases.items()}
    return figures, sorted(rows, key=lambda row: row['gain'])
