"""Linear probe: what a linear classifier on top of a frozen encoder reaches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmav.errors import MmavError
from mmav.evaluation.accuracy import checked_topk, ranks_of_clips
from mmav.evaluation.kept_features import LAST, FeatureMetric, result_name
from mmav.registry import METRICS

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of C, from much regularisation to little
_HELD_OUT = 0.2
_STEPS = 1000


@dataclass(frozen=True)
class Probe:
    """A probe's answers and how it was regularised.

    Attributes:
        scores: Probabilities of the test clips (Q, C).
        c: The inverse strength of regularisation, scikit-learn's ``C``.
        held_out: Training clips that it was chosen on; 0 if it was given, or if there were none to hold out.
        tried: C -> accuracy on them.
        converged: Whether the last fit came to its end.
    """

    scores: np.ndarray
    c: float
    held_out: int
    tried: dict[float, float]
    converged: bool


def linear_probe(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    *,
    num_classes: int,
    c: float | None = None,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
    done: Callable[[], object] = lambda: None,
) -> Probe:
    """Fits logistic regression to features whose dimensions have mean 0 and variance 1 in training.

    By scikit-learn. The regularisation is chosen on a fifth of the training clips, never on those of the test, and the
    probe is then fitted to all of them.

    Args:
        train: Features (N, D).
        labels: Their classes (N,).
        test: Features (Q, D).
        num_classes: C of the scores.
        c: scikit-learn's ``C``; chosen among :data:`STRENGTHS` if not given.
        groups: Of each training clip what it was cut from (N,), such as its file: what is held out holds whole groups.
        seed: Of the choice of clips to hold out.
        done: Called after each of ``len(STRENGTHS) + 1`` fits, of 1 with ``c`` given.

    Raises:
        MmavError: ``c`` is not positive, the training clips are of one class, or all have equal features.
    """
    from sklearn.preprocessing import StandardScaler  # imported here: it takes half a second

    if c is not None and not c > 0:
        raise MmavError(f'C={c:g} must be above 0')
    if len(np.unique(labels)) < 2:
        raise MmavError(f'a linear probe needs training clips of two classes, got {len(np.unique(labels))}')
    if not np.ptp(train, axis=0).any():
        raise MmavError(f'the features are equal in all {len(train)} training clips: is the model trained?')
    tried: dict[float, float] = {}
    held = np.zeros(len(train), dtype=bool)
    if c is None:
        held = _hold_out(labels, range(len(train)) if groups is None else groups, seed)
        c = 1.0
        if held.any():
            scaler = StandardScaler().fit(train[~held])
            fits = _fits(scaler.transform(train[~held]), labels[~held], STRENGTHS)
            for strength, classifier in zip(STRENGTHS, fits, strict=True):
                tried[strength] = float(classifier.score(scaler.transform(train[held]), labels[held]))
                done()
            c = max(tried, key=lambda strength: (tried[strength], -strength))
    scaler = StandardScaler().fit(train)
    (classifier,) = _fits(scaler.transform(train), labels, [c])
    done()
    scores = np.zeros((len(test), num_classes))
    scores[:, classifier.classes_] = classifier.predict_proba(scaler.transform(test))
    return Probe(scores, c, int(held.sum()), tried, bool(classifier.n_iter_.max() < _STEPS))


def _hold_out(labels: np.ndarray, groups: Sequence[Any], seed: int) -> np.ndarray:
    """Which clips are held out (N,): of each class a fifth of the groups, and never all."""
    group = np.unique(np.asarray(groups), return_inverse=True)[1]
    class_of = np.zeros(group.max() + 1, dtype=int)
    class_of[group] = labels  # a group of several classes counts for one of them
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(class_of):
        members = rng.permutation(np.flatnonzero(class_of == label))
        chosen += members[: min(max(1, round(_HELD_OUT * len(members))), len(members) - 1)].tolist()
    held = np.isin(group, chosen)
    return held if len(np.unique(labels[~held])) > 1 else np.zeros_like(held)


def _fits(features: np.ndarray, labels: np.ndarray, strengths: Sequence[float]) -> Iterator[Any]:
    """The classifier with each strength, which must rise: each fit starts from the one before."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(max_iter=_STEPS, warm_start=True)
    for strength in strengths:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', ConvergenceWarning)  # Probe.converged says it
            yield classifier.set_params(C=strength).fit(features, labels)


def cross_validated(
    features: np.ndarray, labels: np.ndarray, *, folds: int, groups: Sequence[Any], seed: int = 0, **options: Any
) -> np.ndarray:
    """Probabilities of each clip by a probe that was fitted to the clips of the other folds.

    Args:
        features: (N, D).
        labels: Classes (N,).
        folds: How many parts; each holds whole groups.
        groups: Of each clip what it was cut from (N,), such as its file.
        seed: Of the folds and of what is held out.
        **options: Of :func:`linear_probe`.

    Raises:
        MmavError: There are fewer groups than folds; or see :func:`linear_probe`.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if len(set(groups)) < folds:
        raise MmavError(f'{len(set(groups))} files cannot be parted into {folds} folds; lower folds')
    scores = np.zeros((len(features), options['num_classes']))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # a class with fewer clips than folds, which is no harm
        parts = list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(features, labels, groups))
    for train, test in parts:
        of_train = [groups[place] for place in train]
        probe = linear_probe(features[train], labels[train], features[test], groups=of_train, seed=seed, **options)
        scores[test] = probe.scores
    return scores


@METRICS.register_module()
class LinearProbe(FeatureMetric):
    """Accuracy of a linear classifier on the features of the evaluated clips, by cross-validation.

    No training clips are needed, so it can watch an encoder from validation to validation; with them, as papers report
    it, measure with ``tools/analysis_tools/evaluate_features.py``. See :func:`linear_probe`.

    Results: ``linear_top1``, ``linear_top5``; of a named feature such as ``audio_linear_top1``.

    Args:
        folds: Parts, each classified by a probe on the others.
        c: scikit-learn's ``C``; chosen on a fifth of the other parts if not given.
        features: As in :class:`~mmav.evaluation.kept_features.FeatureMetric`.
        part: As there.
        topk: The values of k in the names of the results.
        seed: Of the parts.
        collect_device: As in :class:`mmav.evaluation.Accuracy`.
        prefix: Put before the names of the results.

    Raises:
        ValueError: There are fewer than two folds, or ``c`` or a value of ``topk`` is not positive.
    """

    def __init__(
        self,
        folds: int = 5,
        c: float | None = None,
        *,
        features: Sequence[str] = (LAST,),
        part: str = 'label',
        topk: int | Sequence[int] = (1, 5),
        seed: int = 0,
        collect_device: str = 'gpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(features, part, collect_device=collect_device, prefix=prefix)
        if folds < 2 or (c is not None and not c > 0):
            raise ValueError(f'folds must be at least 2 and c above 0, got {folds} and {c}')
        self.folds, self.c, self.seed, self.topk = folds, c, seed, checked_topk(topk)

    def measure(self, features: Mapping[str, np.ndarray], labels: np.ndarray, paths: Sequence[str]) -> dict[str, float]:
        """Classifies each fold by the others."""
        options: dict[str, Any] = dict(folds=self.folds, groups=paths, seed=self.seed, c=self.c)
        results: dict[str, float] = {}
        for name, values in features.items():
            scores = cross_validated(values, labels, num_classes=int(labels.max()) + 1, **options)
            ranks = ranks_of_clips(scores, labels)
            results |= {result_name(name, f'linear_top{k}'): float((ranks < k).mean()) for k in self.topk}
        return results
