"""A bootstrap over clips and seeds, which are both drawn again with replacement: given beside the intervals, and not in
their place, as with three to ten seeds it covers too little (``benchmarks/interval_coverage.py``).
"""

from __future__ import annotations

import numpy as np

from mmav.evaluation.comparing.components import RESAMPLES, paired
from mmav.evaluation.comparing.measured import AnyMeasured, Measured, MeasuredBy


def bootstrap_interval(
    one: AnyMeasured, two: AnyMeasured | None = None, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentiles of a row's figure, or of the difference of two, over draws of seeds and of clips.

    Clips and seeds are drawn apart, as their values are crossed (the pigeonhole bootstrap of Owen 2007, "The Pigeonhole
    Bootstrap"); two rows are drawn alike. One seed is not drawn.

    Args:
        one: The row.
        two: The row that is subtracted.
        confidence: Share of the draws that the interval holds.
        resamples: How many draws; of clips for a figure that is no mean over them, fewer.
        seed: Of the draws.

    Raises:
        MmavError: See :func:`mmav.evaluation.comparing.components.paired`.
    """
    first, second = (one, None) if two is None else paired(one, two)
    rng = np.random.default_rng(seed)
    if isinstance(first, MeasuredBy):
        drawn = first.resampled(RESAMPLES)
        if isinstance(second, MeasuredBy):
            drawn = drawn - second.resampled(RESAMPLES)
        drawn = drawn[rng.integers(0, len(drawn), resamples)]
    else:
        values = first.values - second.values if isinstance(second, Measured) else first.values
        drawn = _clips_drawn(values, resamples, rng)
    seeds = drawn.shape[1]
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    low, high = np.quantile((drawn * weights).sum(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _clips_drawn(values: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """The mean of each seed over drawn clips (resamples, S), from values (S, N)."""
    # clips with the same values of all seeds are one kind, and a draw is a multinomial number of each kind
    kinds, counts = np.unique(values.T, axis=0, return_counts=True)
    clips = int(counts.sum())
    return rng.multinomial(clips, counts / clips, resamples) @ kinds / clips
