"""Classification by nearest neighbours: which classes an encoder tells apart before anything is trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from mmav.errors import MmavError
from mmav.evaluation.accuracy import checked_topk, ranks_of_clips
from mmav.evaluation.kept_features import LAST, FeatureMetric, result_name
from mmav.registry import METRICS

NEIGHBOURS, TEMPERATURE = 20, 0.07
_ENTRIES = 2**24  # similarities in memory at a time


def knn_scores(
    bank: np.ndarray,
    labels: np.ndarray,
    queries: np.ndarray | None = None,
    *,
    num_classes: int,
    k: int = NEIGHBOURS,
    temperature: float | None = TEMPERATURE,
    groups: Sequence[Any] | None = None,
) -> np.ndarray:
    """Lets the k nearest clips vote for their class, each with the weight exp(cosine / temperature).

    The rule of Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", Sec. 3.4,
    and of facebookresearch/dino, ``eval_knn.py``, with their defaults of k (one of four in DINO) and temperature.

    Args:
        bank: Features of the clips that vote (N, D).
        labels: Their classes (N,).
        queries: Features of the clips to classify (Q, D); if not given, each clip of the bank, by the others.
        num_classes: C.
        k: Neighbours that vote.
        temperature: Of the votes; None lets all votes count the same.
        groups: Without ``queries``: of each clip what it was cut from (N,), such as its file; clips of one group do not
            vote for each other.

    Returns:
        Share of the votes of each class (Q, C), float64.

    Raises:
        MmavError: k or the temperature is not positive, or there are fewer than k clips to vote.

    >>> knn_scores(np.eye(3), np.array([0, 1, 1]), np.array([[0, 1, 1]]), num_classes=2, k=2)
    array([[0., 1.]])
    """
    if temperature is not None and not temperature > 0:
        raise MmavError(f'temperature {temperature:g} must be above 0')
    group = np.arange(len(bank)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    voters = len(bank) - (np.bincount(group).max() if queries is None and len(bank) else 0)
    if not 1 <= k <= voters:
        raise MmavError(f'k={k} does not fit: {voters} clips can vote; give a number from 1 to that')
    known = _unit(bank)
    asked = known if queries is None else _unit(queries)
    of_class = F.one_hot(torch.as_tensor(labels), num_classes).double()  # (N, C)
    of_group = torch.as_tensor(group)
    scores = []
    step = max(1, _ENTRIES // len(known))
    for first in range(0, len(asked), step):
        cosines = asked[first : first + step] @ known.T
        if queries is None:
            cosines[of_group[first : first + step, None] == of_group] = -torch.inf
        best, places = cosines.topk(k, dim=1)
        # less the best: the same shares, and no number overflows
        votes = (best - best[:, :1]) / temperature if temperature is not None else torch.zeros_like(best)
        shares = votes.double().softmax(dim=1)
        scores.append((shares[..., None] * of_class[places]).sum(dim=1))
    return torch.cat(scores).numpy()


def _unit(features: np.ndarray) -> torch.Tensor:
    return F.normalize(torch.as_tensor(features, dtype=torch.float32), dim=1)


@METRICS.register_module()
class KNN(FeatureMetric):
    """Accuracy of classifying each clip by the features of its nearest among the others, see :func:`knn_scores`.

    No training clips are needed, so it can watch an encoder from validation to validation; with them, as papers report
    it, measure with ``tools/analysis_tools/evaluate_features.py``. Clips of one file do not vote for each other.

    Results: ``knn_top1``, ``knn_top5``; of a named feature such as ``audio_knn_top1``.

    Args:
        k: Neighbours that vote.
        temperature: Of the votes; None lets all votes count the same.
        features: As in :class:`~mmav.evaluation.kept_features.FeatureMetric`.
        part: As there.
        topk: The values of k in the names of the results.
        collect_device: As in :class:`mmav.evaluation.Accuracy`.
        prefix: Put before the names of the results.

    Raises:
        ValueError: ``k``, the temperature or a value of ``topk`` is not positive.
    """

    def __init__(
        self,
        k: int = NEIGHBOURS,
        temperature: float | None = TEMPERATURE,
        *,
        features: Sequence[str] = (LAST,),
        part: str = 'label',
        topk: int | Sequence[int] = (1, 5),
        collect_device: str = 'gpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(features, part, collect_device=collect_device, prefix=prefix)
        if k < 1 or (temperature is not None and not temperature > 0):
            raise ValueError(f'k and temperature must be above 0, got {k} and {temperature}')
        self.k, self.temperature, self.topk = k, temperature, checked_topk(topk)

    def measure(self, features: Mapping[str, np.ndarray], labels: np.ndarray, paths: Sequence[str]) -> dict[str, float]:
        """Classifies each clip by the others."""
        options: dict[str, Any] = dict(num_classes=int(labels.max()) + 1, k=self.k, temperature=self.temperature)
        results: dict[str, float] = {}
        for name, values in features.items():
            ranks = ranks_of_clips(knn_scores(values, labels, groups=paths, **options), labels)
            results |= {result_name(name, f'knn_top{k}'): float((ranks < k).mean()) for k in self.topk}
        return results
