"""Whether the lead of one model over another in mAP is significant: a paired bootstrap over clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from mmav.errors import MmavError
from mmav.evaluation.class_scores import cuts_of, ranking_scores
from mmav.evaluation.error_analysis import shared_clips
from mmav.evaluation.label_sets import LabelSets

_AT_ONCE = 100  # resamples, whose weights are in memory together


def compare_map(
    one: LabelSets, two: LabelSets, *, resamples: int = 1000, seed: int = 0, show_progress: bool = False
) -> dict[str, Any]:
    """Asks whether two models differ in mAP on the clips that both dumps hold.

    The clips are drawn again with replacement, the same for both models, and the mAP of each is computed anew; a class
    that no drawn clip has is left out of that resample, of both.

    Args:
        one: The first model.
        two: The second.
        resamples: How many times.
        seed: Of the draws.
        show_progress: Whether to show a progress bar.

    Returns:
        ``clips``, ``only_in_first``, ``only_in_second``; ``mAP_first``, ``mAP_second``; ``difference``, first minus
        second, and ``interval``, where 95 % of the differences lie (percentiles); ``p_value``, two-sided: twice the
        share of resamples in which the lead is gone or turned, at least 2 / (resamples + 1); and ``resamples``.

    Raises:
        MmavError: There are fewer than 100 resamples, no class can be judged, or see
            :func:`mmav.evaluation.error_analysis.shared_clips`.
    """
    if resamples < 100:
        raise MmavError(f'{resamples} resamples are too few for an interval of 95 %: ask for at least 100')
    first, second = shared_clips(one, two)
    pair = one.of(first), two.of(second)
    judged = np.flatnonzero(pair[0].answers.judged)
    if not len(judged):
        raise MmavError(f"'{one.name}' and '{two.name}' share no class that some of the clips have, and some have not")
    full = [float(ranking_scores(sets.answers)[0][judged].mean()) for sets in pair]
    rankings = [[_Ranking(sets, index) for index in judged.tolist()] for sets in pair]
    rng = np.random.default_rng(seed)
    differences = []
    bar = tqdm(total=resamples, desc='bootstrap', unit='draw', disable=not show_progress)
    for start in range(0, resamples, _AT_ONCE):
        number = min(_AT_ONCE, resamples - start)
        weights = _draw(rng, len(first), number)
        each = [np.array([ranking.precision(weights) for ranking in of_model]) for of_model in rankings]
        differences.append(np.nanmean(each[0] - each[1], axis=0))
        bar.update(number)
    bar.close()
    drawn = np.concatenate(differences)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    turned = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return dict(
        clips=len(first),
        only_in_first=len(one.keys) - len(first),
        only_in_second=len(two.keys) - len(first),
        mAP_first=full[0],
        mAP_second=full[1],
        difference=full[0] - full[1],
        interval=[float(low), float(high)],
        p_value=min(1.0, 2 * (turned + 1) / (resamples + 1)),
        resamples=resamples,
    )


def _draw(rng: np.random.Generator, clips: int, number: int) -> np.ndarray:
    """How often each clip is drawn in each resample (clips, number)."""
    drawn = rng.integers(0, clips, (number, clips)) + clips * np.arange(number)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=clips * number)
    return np.ascontiguousarray(counts.reshape(number, clips).T.astype(np.float32))


class _Ranking:
    """The order that a model gives the clips in for a class, for average precisions of weighted clips.

    Args:
        sets: The clips.
        index: The class.
    """

    def __init__(self, sets: LabelSets, index: int) -> None:
        self.truth = np.flatnonzero(sets.labels[:, index])  # also clips that could not be read
        answers = sets.answers
        scores, truth = answers.scores[:, index], answers.truth[:, index]
        places = np.flatnonzero(~sets.broken)
        order = np.argsort(scores)[::-1]
        cuts = cuts_of(scores, truth)
        # only cuts that find a clip of the class count
        gained = np.diff(cuts.hits, prepend=0)
        kept = (gained > 0) & (cuts.scores > -np.inf)
        ends = cuts.taken[kept]
        ranked = places[order][: ends[-1] if len(ends) else 0].astype(np.int32)
        self.order = torch.from_numpy(ranked)
        self.starts = np.concatenate([[0], ends[:-1]]).astype(np.int32)
        hits = np.flatnonzero(truth[order][: len(ranked)])
        self.found = ranked[hits]
        self.first_found = np.searchsorted(hits, self.starts)

    def precision(self, weights: np.ndarray) -> np.ndarray:
        """Average precisions, with weights (clips, R): (R,), NaN where no clip of the class has a weight."""
        support = weights[self.truth].sum(axis=0, dtype=np.float64)
        if not len(self.order):
            return np.where(support > 0, 0.0, np.nan)
        # sums of the rows between two cuts, without a copy of them in their order; whole numbers, so float32 is exact
        between = F.embedding_bag(self.order, torch.from_numpy(weights), torch.from_numpy(self.starts), mode='sum')
        taken = between.numpy().cumsum(axis=0, dtype=np.float64)
        gained = np.add.reduceat(weights[self.found], self.first_found, axis=0).astype(np.float64)
        found = gained.cumsum(axis=0)
        total = (gained * found / np.maximum(taken, 1)).sum(axis=0)
        return np.divide(total, support, out=np.full_like(support, np.nan), where=support > 0)
