"""Scores of models that tell any number of classes of a clip: mAP, AUC, d', hit@1 and F1."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmav.class_names import shown
from mmav.errors import MmavError
from mmav.evaluation.accuracy import log_broken
from mmav.evaluation.class_scores import Answers, answers_of, counts_at, f1_of, multi_hot, ranking_scores
from mmav.evaluation.thresholds import read_thresholds
from mmav.registry import METRICS
from mmav.structures import as_parts, score_key


def d_prime(auc: float) -> float:
    r"""How far apart, in standard deviations, two normal distributions of equal width are that have this AUC:
    :math:`d' = \sqrt{2}\,\Phi^{-1}(\mathrm{AUC})` (Hershey et al. 2017, "CNN Architectures for Large-Scale Audio
    Classification"; ``d_prime`` of YuanGongND/ast, src/utilities/stats.py). Infinite for an AUC of 1.

    >>> d_prime(0.5), round(d_prime(0.97), 3)
    (0.0, 2.66)
    """
    if not 0 < auc < 1:
        return {0.0: -math.inf, 1.0: math.inf}.get(auc, math.nan)
    return math.sqrt(2.0) * NormalDist().inv_cdf(auc)


def hits_of(answers: Answers) -> np.ndarray:
    """Whether each clip has the class that it is given the highest score for (N,).

    Of equal scores all have to be right, so a model without a preference is not right by accident
    (``calculate_hit_at_one`` of google/youtube-8m, eval_util.py, takes the first).
    """
    best = answers.scores.max(axis=1, keepdims=True)
    return ((answers.scores < best) | answers.truth).all(axis=1) & np.isfinite(best[:, 0])


def multi_label_scores(answers: Answers, threshold: float | np.ndarray = 0.5) -> dict[str, float]:
    """All scores, see :class:`MultiLabelMetric`.

    Args:
        answers: The clips.
        threshold: For F1: a class is predicted for a clip if its score is not lower; one, or one a class (C,).
    """
    precision, area = ranking_scores(answers)
    hits, taken = counts_at(answers, threshold)
    support, judged = answers.support, answers.judged
    auc = _mean(area[judged])
    return dict(
        mAP=_mean(precision[judged]),
        AUC=auc,
        d_prime=d_prime(auc),
        hit1=float(hits_of(answers).sum() / (len(answers.truth) + answers.broken)),
        macro_f1=_mean(f1_of(hits, taken, support)[judged]),
        micro_f1=float(f1_of(hits.sum(), taken.sum(), support.sum())),
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float('nan')


def left_out(answers: Answers, names: Sequence[str] | None = None) -> str:
    """Says which classes the means over classes leave out, and why; empty if none.

    Args:
        answers: The clips.
        names: Of the classes; their numbers if not given.
    """
    names = names or [str(index) for index in range(len(answers.support))]
    reasons = {
        'no clip has': answers.support == 0,
        'every clip has': answers.support == len(answers.truth) + answers.broken,
    }
    told = []
    for reason, which in reasons.items():
        if which.any():
            some = shown([names[index] for index in np.flatnonzero(which).tolist()])
            told.append(f'{int(which.sum())} that {reason} ({some})')
    if not told:
        return ''
    rest = int(answers.judged.sum())
    return f'mAP, AUC and macro F1 are means of {rest} of {len(names)} classes: left out are {" and ".join(told)}'


@METRICS.register_module()
class MultiLabelMetric(BaseMetric):
    """Scores of clips with any number of classes each, from independent probabilities.

    Results: ``mAP``, the mean of the classes' average precision, ``AUC``, that of their areas under the ROC curve, and
    ``d_prime`` of it, see :func:`d_prime`, as ``calculate_stats`` of YuanGongND/ast, src/utilities/stats.py, and its
    ``validate`` give them; ``hit1``, the share of clips that have their most probable class; ``macro_f1``, the mean of
    the classes' F1 at the threshold, and ``micro_f1``, F1 over all pairs of a clip and a class, as scikit-learn's
    ``f1_score``; and ``broken``, the number of clips that could not be read.

    Classes that no clip of the list has, or that every clip has, cannot be judged and are left out of the three means;
    the first evaluation logs them. Broken clips are logged by name. They are never found by a class that they have,
    count as a miss in ``hit1``, and are neither a false alarm nor a right rejection of other classes: no score is
    higher than without them. A clip whose scores are not finite is wrong in every class. Equal scores are one step of
    AP and half a right pair of AUC, as in scikit-learn; in ``hit1`` they count against the prediction.

    Args:
        threshold: For F1, a class is predicted for a clip if its probability is not lower: a number, or a JSON file
            that ``mmav thresholds`` wrote.
        part: Which part of the label: 'label' where clips have one, else such as 'verb'.
        collect_device: As in :class:`mmav.evaluation.Accuracy`.
        prefix: Put before the names of the results.

    Raises:
        MmavError: The threshold is no number from 0 to 1, or the file cannot be read.
    """

    multi_label: ClassVar = True  # what it measures

    def __init__(
        self,
        threshold: float | str = 0.5,
        *,
        part: str = 'label',
        collect_device: str = 'gpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix='multi_label')  # MMEngine warns where there is no prefix
        self.prefix = prefix
        self.part, self.parts = part, (part,)
        self.threshold = read_thresholds(threshold)
        self._told = False

    def check_classes(self, classes: Sequence[str]) -> None:
        """Checks before the first batch that thresholds by name are those of these classes.

        Raises:
            MmavError: They are not.
        """
        self.threshold.of(classes)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Takes a batch: dicts with ``pred_score`` (C,), multi-hot ``gt_score`` (C,), ``path`` and ``broken``."""
        key = score_key(self.part)
        for sample in data_samples:
            if f'gt_{key}' not in sample:
                raise MmavError(
                    f'MultiLabelMetric needs clips with sets of labels, {sample.get("path")} has none: give the '
                    'dataset multi_label=True, or use Accuracy where each clip has one label'
                )
            scores = sample[f'pred_{key}'].detach().float().cpu().numpy()
            labels = sample[f'gt_{key}'].nonzero().flatten().cpu().numpy().astype(np.int32)
            self.results.append((scores, labels, sample.get('path'), sample.get('broken')))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores all clips."""
        broken = log_broken((path, reason) for _, _, path, reason in results)
        scores = np.array([scores for scores, *_ in results])
        truth = multi_hot([labels for _, labels, *_ in results], scores.shape[1])
        answers = answers_of(scores, truth, np.array([reason is not None for *_, reason in results]))
        names = as_parts((self.dataset_meta or {}).get('classes')).get(self.part)
        self._tell(answers, scores, truth, names)
        return {**multi_label_scores(answers, self.threshold.of(names)), 'broken': broken}

    def _tell(self, answers: Answers, scores: np.ndarray, truth: np.ndarray, names: Sequence[str] | None) -> None:
        wrong = int((~np.isfinite(scores).all(axis=1)).sum())
        if wrong:
            print_log(
                f'counted as wrong in every class: {wrong} clips whose scores are not finite',
                'current',
                logging.WARNING,
            )
        if self._told:
            return
        self._told = True
        without = int((~truth.any(axis=1)).sum())
        told = [left_out(answers, names)]
        told.append(f'hit1 counts {without} clips without a label as missed' if without else '')
        for message in filter(None, told):
            print_log(message, 'current', level=logging.WARNING)
