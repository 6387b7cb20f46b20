"""How much of the uncertainty of a figure comes from the seeds, and how much from the test clips.

Every seed is tested on the same clips: a crossed design without replication. The value of seed s and clip c is
:math:`y_{sc} = \\mu + a_s + b_c + e_{sc}`, and the mean over S seeds and N clips has the variance

.. math:: \\sigma_a^2 / S + \\sigma_b^2 / N + \\sigma_e^2 / (S N)

The three mean squares of the analysis of variance, each divided by S N, estimate :math:`\\sigma_a^2/S +
\\sigma_e^2/SN`, :math:`\\sigma_b^2/N + \\sigma_e^2/SN` and :math:`\\sigma_e^2/SN` (two-way random effects model, see
Searle, Casella & McCulloch 1992, "Variance Components").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mmav.errors import MmavError
from mmav.evaluation.comparing.measured import AnyMeasured, Measured, MeasuredBy
from mmav.evaluation.comparing.shared import SharedRuns

RESAMPLES = 400  # draws of clips for a figure that is no mean over them


@dataclass(frozen=True)
class Components:
    """A mean over seeds and clips, and mean squares as variances of that mean.

    Attributes:
        mean: Of the S seeds and N clips.
        seeds: Mean square of the seeds / (S N); 0 for one seed.
        clips: Mean square of the clips / (S N).
        residual: Mean square of what is left / (S N); 0 for one seed.
        num_seeds: S.
        num_clips: N.
        freedom: Degrees of freedom of ``clips``.
        lost_freedom: Those that ``seeds`` lacks of S - 1, as seeds have runs in common.
        extra_freedom: Those that ``seeds`` has beside S - 1, see :mod:`mmav.evaluation.comparing.pooling`.
    """

    mean: float
    seeds: float
    clips: float
    residual: float
    num_seeds: int
    num_clips: int
    freedom: int
    lost_freedom: float = 0.0
    extra_freedom: float = 0.0

    @property
    def own_freedom(self) -> float:
        """Degrees of freedom that the row's own seeds give ``seeds``; 0 for one seed."""
        return self.num_seeds - 1 - self.lost_freedom

    @property
    def seed_freedom(self) -> float:
        """Degrees of freedom of ``seeds``; 0 for one seed."""
        return self.own_freedom + self.extra_freedom

    @property
    def variance(self) -> float:
        """Estimated variance of the mean, over other seeds and other clips."""
        return max(self.seeds - self.residual, 0.0) + self.clips

    @property
    def seed_spread(self) -> float:
        """Estimated standard deviation over seeds of the figure on all clips there could be."""
        return float((max(self.seeds - self.residual, 0.0) * self.num_seeds) ** 0.5)


def components_of(measured: AnyMeasured) -> Components:
    """The components of a row's figure."""
    found = _of_seeds(measured)
    return _with_shared(found, measured.shared, found)


def _of_seeds(measured: AnyMeasured) -> Components:
    """The same as if no seeds had runs in common."""
    if isinstance(measured, Measured):
        return _of_values(measured.values)
    return _of_draws(measured.figures(), measured.resampled(RESAMPLES), measured.clips, share=measured.share)


def _with_shared(found: Components, shared: SharedRuns | None, row: Components) -> Components:
    """Components with what the variance over a row's seeds misses, as these have runs in common.

    Args:
        found: Of the row, or of a difference that it is a part of.
        shared: What its seeds average, or None.
        row: Its own components.
    """
    if shared is None or found.num_seeds == 1:
        return found
    more = shared.inflation - 1
    if more == float('inf'):  # all seeds average the same runs: one seed
        return replace(found, num_seeds=1, seeds=0.0, residual=0.0, lost_freedom=0.0)
    return replace(
        found,
        seeds=found.seeds + more * row.seeds,
        residual=found.residual + more * row.residual,
        lost_freedom=max(found.lost_freedom, found.num_seeds - 1 - shared.freedom),
    )


def difference_of(one: AnyMeasured, two: AnyMeasured) -> Components:
    """The components of the difference of two rows, first minus second, paired over common seeds and clips.

    A row whose seeds average runs of the other, on the same seeds, varies with it, and its seeds count as they are.

    Raises:
        MmavError: See :func:`paired`.
    """
    first, second = paired(one, two)
    found = _of_pair(first, second)
    for row, other in ((first, second), (second, first)):
        if row.shared is not None and row.shared.row != other.name:
            found = _with_shared(found, row.shared, _of_seeds(row))
    return found


def _of_pair(first: AnyMeasured, second: AnyMeasured) -> Components:
    if isinstance(first, Measured) and isinstance(second, Measured):
        return _of_values(first.values - second.values)
    assert isinstance(first, MeasuredBy) and isinstance(second, MeasuredBy)
    drawn = first.resampled(RESAMPLES) - second.resampled(RESAMPLES)
    share = first.share and second.share
    return _of_draws(first.figures() - second.figures(), drawn, first.clips, share=share)


def paired(one: AnyMeasured, two: AnyMeasured) -> tuple[AnyMeasured, AnyMeasured]:
    """Two rows with the seeds that both have.

    Raises:
        MmavError: They are of different numbers of clips, have no seed in common, or are figures of different kinds.
    """
    if one.clips != two.clips:
        raise MmavError(f'{one.name} has {one.clips} clips, {two.name} {two.clips}: test both on the same clips')
    if type(one) is not type(two):
        raise MmavError(f'{one.name} and {two.name}: one is a mean over clips, the other is not; give one metric')
    common = [seed for seed in one.seeds if seed in two.seeds]
    if not common:
        raise MmavError(
            f'{one.name} has seeds {list(one.seeds)}, {two.name} {list(two.seeds)}: none in common, run the same seeds'
        )
    return one.of_seeds(common), two.of_seeds(common)


def _of_values(values: np.ndarray) -> Components:
    """Of values (S, N)."""
    seeds, clips = values.shape
    mean = float(values.mean())
    of_seeds, of_clips = values.mean(axis=1) - mean, values.mean(axis=0) - mean
    if clips == 1:
        return Components(mean, 0.0, float('inf'), 0.0, seeds, clips, 1)
    by_clip = float((of_clips**2).sum()) / (clips - 1) / clips
    if ((values == values.round()) & (abs(values) <= 1)).all():
        # where no clip differs from the others, as if the next one did
        by_clip = max(by_clip, 1 / clips**2)
    if seeds == 1:
        return Components(mean, 0.0, by_clip, 0.0, seeds, clips, clips - 1)
    by_seed = float((of_seeds**2).sum()) / (seeds - 1) / seeds
    left = values - mean - of_seeds[:, None] - of_clips[None]
    residual = float((left**2).sum()) / ((seeds - 1) * (clips - 1) * seeds * clips)
    return Components(mean, by_seed, by_clip, residual, seeds, clips, clips - 1)


def _of_draws(figures: np.ndarray, drawn: np.ndarray, clips: int, *, share: bool) -> Components:
    """Of the figures of seeds (S,), and those on drawn clips (R, S).

    For a mean over clips these are, but for the finite number of draws, the mean squares of the values.
    """
    seeds, mean = len(figures), float(figures.mean())
    each = drawn.mean(axis=1)
    freedom = max(min(clips, len(drawn)) - 1, 1)
    by_clip = float(each.var(ddof=1))
    if share:
        by_clip = max(by_clip, 1 / clips**2)  # as of values
    if seeds == 1:
        return Components(mean, 0.0, by_clip, 0.0, seeds, clips, freedom)
    by_seed = float(figures.var(ddof=1)) / seeds
    residual = float((drawn - each[:, None]).var(axis=0, ddof=1).sum()) / ((seeds - 1) * seeds)
    return Components(mean, by_seed, by_clip, residual, seeds, clips, freedom)
