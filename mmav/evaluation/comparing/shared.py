"""Seeds that are not independent, as they average runs that other seeds average, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SharedRuns:
    r"""What the seeds of a row average, such as two runs of another row each, of five.

    With weights :math:`w_{sr}` of R independent runs of variance :math:`\sigma^2`, and their mean over S seeds
    :math:`\bar w_r`, the mean over seeds has the variance :math:`\sigma^2 \sum_r \bar w_r^2`, while the variance over
    seeds is on average :math:`\sigma^2 \sum_{sr} (w_{sr} - \bar w_r)^2 / (S - 1)`: less than S times as much.

    Attributes:
        row: Title of the row that the runs are of.
        runs: Of each of the S seeds, the seeds of the runs that it averages.
    """

    row: str
    runs: tuple[tuple[int, ...], ...]

    def of_seeds(self, places: Sequence[int]) -> SharedRuns:
        """The same of some of the seeds, by their places."""
        return SharedRuns(self.row, tuple(self.runs[place] for place in places))

    @property
    def inflation(self) -> float:
        """By what the mean square of the seeds has to be multiplied; infinite where all seeds average the same runs.

        >>> round(SharedRuns('a', ((0, 1), (1, 2), (2, 3), (3, 4), (4, 0))).inflation, 2)
        2.67
        """
        weights = self._weights()
        seeds, middle = len(weights), weights.mean(axis=0)
        spread = float(((weights - middle) ** 2).sum()) / (seeds - 1) / seeds if seeds > 1 else 0.0
        return float((middle**2).sum()) / spread if spread > 1e-12 else float('inf')

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance over seeds, by its first two moments (Satterthwaite 1946)."""
        weights = self._weights()
        apart = weights - weights.mean(axis=0)
        square = apart @ apart.T
        return float(np.trace(square) ** 2 / (square**2).sum()) if square.any() else 0.0

    def _weights(self) -> np.ndarray:
        """Of each seed and run (S, R)."""
        known = sorted({run for runs in self.runs for run in runs})
        return np.array([[runs.count(run) / len(runs) for run in known] for runs in self.runs])
