"""Cross-modal retrieval: whether a clip's audio finds its video among those of all clips, and the other way round."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from itertools import combinations, permutations
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log

from mmav.errors import MmavError
from mmav.evaluation.accuracy import checked_topk
from mmav.evaluation.kept_features import FeatureMetric
from mmav.registry import METRICS
from mmav.structures import PROJECTED

RECALLS = (1, 5, 10)
_ENTRIES = 2**24  # similarities in memory at a time


def retrieval_ranks(queries: np.ndarray, gallery: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """Counts, for each clip, the candidates ranked before the right one, by cosine.

    Args:
        queries: Embeddings of N clips in one modality (N, D).
        gallery: Embeddings of the same clips in the other (N, D).
        labels: Classes (N,): any candidate of the query's class is right. If not given, only the same clip is.

    Returns:
        (N,), 0 where the right one comes first. Ties and embeddings that are not finite count against the model, so
        equal embeddings never succeed by accident.

    Raises:
        MmavError: The embeddings are of different shapes, or there are no clips.

    >>> retrieval_ranks(np.eye(3), np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]]))
    array([1, 2, 0])
    """
    if queries.shape != gallery.shape or not len(queries):
        raise MmavError(f'retrieval needs embeddings of one shape, got {queries.shape} and {gallery.shape}')
    asked, known = (F.normalize(torch.as_tensor(np.asarray(x), dtype=torch.float64), dim=1) for x in (queries, gallery))
    of_class = torch.arange(len(known)) if labels is None else torch.as_tensor(labels)
    ranks = []
    step = max(1, _ENTRIES // len(known))
    for first in range(0, len(asked), step):
        cosines = asked[first : first + step] @ known.T
        right = of_class[first : first + step, None] == of_class
        best = cosines.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
        # not below, rather than above or equal: NaN counts against the model
        ranks.append((~(cosines < best) & ~right).sum(dim=1))
    return torch.cat(ranks).numpy()


def nearest(queries: np.ndarray, gallery: np.ndarray, k: int) -> np.ndarray:
    """The k nearest candidates of each query by cosine, best first: places in the gallery (Q, k)."""
    asked, known = (F.normalize(torch.as_tensor(np.asarray(x), dtype=torch.float64), dim=1) for x in (queries, gallery))
    return (asked @ known.T).topk(min(k, len(known)), dim=1).indices.numpy()


def retrieval_metrics(ranks: np.ndarray, recalls: Sequence[int] = RECALLS) -> dict[str, float]:
    """Turns ranks into ``r1``, ``r5`` ..., the share of queries with the right one among the k best, and
    ``median_rank``, counted from 1 as papers do.

    >>> retrieval_metrics(np.array([0, 1, 6]))
    {'r1': 0.3333333333333333, 'r5': 0.6666666666666666, 'r10': 1.0, 'median_rank': 2.0}
    """
    metrics = {f'r{k}': float((ranks < k).mean()) for k in recalls}
    return metrics | dict(median_rank=float(np.median(ranks)) + 1)


def chance_recalls(labels: np.ndarray, recalls: Sequence[int] = RECALLS) -> dict[str, float]:
    """What a random order of the candidates gives on average: ``r1``, ``r5`` and so on.

    Args:
        labels: What is sought (N,): classes, or a number of its own for each clip.
        recalls: The values of k.

    >>> chance_recalls(np.arange(20), [1, 5])
    {'r1': 0.05, 'r5': 0.25}
    """
    clips = len(labels)
    sizes = np.unique(labels, return_counts=True)[1].tolist()
    shares = {}
    for k in recalls:
        draws = math.comb(clips, min(k, clips))
        # of the k first one at least is among the n that are right
        hits = sum(n * (draws - math.comb(clips - n, min(k, clips))) for n in sizes)
        shares[f'r{k}'] = hits / (clips * draws)
    return shares


def shared_space(widths: Mapping[str, int]) -> tuple[list[str], str]:
    """Chooses the features to retrieve by, and says what speaks against it.

    Args:
        widths: Name of each feature that there is -> its width.

    Returns:
        Names, projected ones where there are two, else those of the modalities; and a warning, empty for projections.

    Raises:
        MmavError: There are not two modalities, or their embeddings cannot be compared.
    """
    projected = [name for name in widths if name.endswith(PROJECTED)]
    if len(projected) > 1:
        return projected, ''
    plain = [name for name in ('audio', 'video') if name in widths]
    if len(plain) < 2:
        raise MmavError(f'retrieval needs features of audio and of video, got {", ".join(widths) or "none"}')
    for one, two in combinations(plain, 2):
        if widths[one] != widths[two]:
            raise MmavError(
                f'retrieval needs a space that the modalities share: {one} has width {widths[one]}, {two} '
                f'{widths[two]}; train with a contrastive head (model.contrast), whose projections are used'
            )
    return plain, (
        'retrieval compares the class embeddings of the encoders, as there are no projections of a contrastive head '
        '(model.contrast): unless the encoders were trained together, the figures are those of chance'
    )


def directions(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Query, candidates and what to call it, of each direction.

    >>> directions(['audio_projected', 'video_projected'])[0]
    ('audio_projected', 'video_projected', 'audio_to_video')
    """
    return [
        (one, two, f'{one.removesuffix(PROJECTED)}_to_{two.removesuffix(PROJECTED)}')
        for one, two in permutations(names, 2)
    ]


def direction_ranks(features: Mapping[str, np.ndarray], labels: np.ndarray | None) -> dict[str, np.ndarray]:
    """Ranks of all clips, see :func:`retrieval_ranks`: ``audio_to_video``, ``audio_to_video_class`` and so on.

    Args:
        features: Name -> embeddings of the same clips (N, D), see :func:`shared_space`.
        labels: Classes (N,); None leaves out ``_class``.

    Raises:
        MmavError: There is a single clip, which cannot be mistaken.
    """
    if len(next(iter(features.values()))) < 2:
        raise MmavError('retrieval needs two clips at least')
    found = {}
    for one, two, direction in directions(list(features)):
        found[direction] = retrieval_ranks(features[one], features[two])
        if labels is not None:
            found[f'{direction}_class'] = retrieval_ranks(features[one], features[two], labels)
    return found


@METRICS.register_module()
class Retrieval(FeatureMetric):
    """Cross-modal retrieval among the evaluated clips, in each direction.

    Queries and candidates are all evaluated clips that have both modalities; right is the candidate of the same clip,
    for the results with ``class`` any of its class. The projections of the model's contrastive head are compared by
    cosine, as its losses do; without one the encoders' class embeddings, with a warning. Figures depend on the number
    of candidates N: chance is k / N.

    Results: ``audio_to_video_r1``, ``..._r5``, ``..._r10`` in [0, 1], ``audio_to_video_median_rank``,
    ``audio_to_video_class_r1`` and so on; the same of ``video_to_audio``. Clips with any number of labels have no
    class: they are found by themselves alone.

    Args:
        recalls: The values of k.
        part: Which part of the label decides the class: 'label' where clips have one, else such as 'verb'.
        collect_device: As in :class:`mmav.evaluation.Accuracy`.
        prefix: Put before the names of the results.

    Raises:
        ValueError: A value of ``recalls`` is not positive.
    """

    multi_label: ClassVar[bool | None] = None

    def __init__(
        self,
        recalls: int | Sequence[int] = RECALLS,
        part: str = 'label',
        *,
        collect_device: str = 'gpu',
        prefix: str | None = None,
    ) -> None:
        plain = ('audio', 'video')
        features = (*plain, *(name + PROJECTED for name in plain))
        super().__init__(features, part, collect_device=collect_device, prefix=prefix)
        self.recalls = checked_topk(recalls)

    def label_of(self, sample: Mapping[str, Any]) -> int | None:
        """The class of a clip; None of one with any number of them."""
        return None if sample.get('multi_label') else super().label_of(sample)

    def choose(self, seen: Sequence[str]) -> Sequence[str]:
        """The projections, if the model has them."""
        projected = [name for name in self.features if name in seen and name.endswith(PROJECTED)]
        return projected if len(projected) > 1 else ('audio', 'video')

    def measure(self, features: Mapping[str, np.ndarray], labels: np.ndarray, paths: Sequence[str]) -> dict[str, float]:
        """Ranks all clips for each of them."""
        names, warning = shared_space({name: values.shape[1] for name, values in features.items()})
        if warning:
            print_log(warning, 'current', level=logging.WARNING)
        known = None if any(label is None for label in labels) else labels
        ranks = direction_ranks({name: features[name] for name in names}, known)
        return {
            f'{direction}_{name}': value
            for direction, each in ranks.items()
            for name, value in retrieval_metrics(each, self.recalls).items()
        }
