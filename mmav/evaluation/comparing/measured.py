"""What was measured of a row: the value of each seed and test clip, or a figure that is no mean over clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmav.errors import ConfigError, MmavError
from mmav.evaluation.comparing.shared import SharedRuns


@dataclass(frozen=True, eq=False)
class Measured:
    """The values of a figure that is a mean over clips, such as top-1.

    Attributes:
        name: Of the row.
        values: Of each seed and test clip (S, N), such as 1.0 where the clip is right and 0.0 where it is wrong; the
            clips of all rows are in one order.
        seeds: The S seeds.
        shared: What its seeds average, where they have runs in common.

    Raises:
        ConfigError: The shapes do not go together, a seed is there twice, or a value is not finite.
    """

    name: str
    values: np.ndarray
    seeds: tuple[int, ...]
    shared: SharedRuns | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float64)
        object.__setattr__(self, 'values', values)
        object.__setattr__(self, 'seeds', tuple(self.seeds))
        _check_seeds(self.name, self.seeds)
        if values.ndim != 2 or values.shape[0] != len(self.seeds) or not values.shape[1]:
            raise ConfigError(f'{self.name}: values {values.shape} of {len(self.seeds)} seeds: give (seeds, clips)')
        if not np.isfinite(values).all():
            seed, clip = np.argwhere(~np.isfinite(values))[0]
            raise ConfigError(
                f'{self.name}: seed {self.seeds[seed]} has {values[seed, clip]} for clip {clip}: give a finite value '
                'for each clip, 0 for one without an answer'
            )

    @property
    def clips(self) -> int:
        """Number of test clips N."""
        return int(self.values.shape[1])

    @property
    def binary(self) -> bool:
        """Whether each clip is right or wrong."""
        return bool(((self.values == 0) | (self.values == 1)).all())

    @property
    def share(self) -> bool:
        """Whether it is a share of clips."""
        return self.binary

    def figures(self) -> np.ndarray:
        """The figure of each seed (S,)."""
        return self.values.mean(axis=1)

    def of_seeds(self, seeds: Sequence[int]) -> Measured:
        """The same of some of its seeds, in the order given."""
        places = [self.seeds.index(seed) for seed in seeds]
        return Measured(self.name, self.values[places], tuple(seeds), self.shared and self.shared.of_seeds(places))

    def of_clips(self, places: np.ndarray) -> Measured:
        """The same on some of its clips (M,)."""
        return Measured(self.name, self.values[:, places], self.seeds, self.shared)


@dataclass(frozen=True, eq=False)
class MeasuredBy:
    """A figure that is no mean over clips, such as mAP or macro F1, computed anew for each draw of clips.

    Attributes:
        name: Of the row.
        figure: Takes the place of a seed in ``seeds`` and the places of clips (M,), where a clip may be there several
            times, and returns the figure of that seed on those clips. One that is not finite has no interval, see
            :meth:`figures`.
        clips: Number of test clips N, in one order for all rows.
        seeds: The S seeds.
        share: Whether it is a share, from 0 to 1, and its interval stays there.
        shared: What its seeds average, where they have runs in common.

    Raises:
        ConfigError: A seed is there twice, or there is no clip.
    """

    name: str
    figure: Callable[[int, np.ndarray], float]
    clips: int
    seeds: tuple[int, ...]
    share: bool = False
    shared: SharedRuns | None = None
    _kept: dict[int, np.ndarray] = field(default_factory=dict, repr=False)  # resamples -> figures

    def __post_init__(self) -> None:
        object.__setattr__(self, 'seeds', tuple(self.seeds))
        _check_seeds(self.name, self.seeds)
        if self.clips < 1:
            raise ConfigError(f'{self.name}: {self.clips} clips: give at least one')

    @property
    def binary(self) -> bool:
        """Whether each clip is right or wrong; never of such a figure."""
        return False

    def figures(self, drawn: np.ndarray | None = None) -> np.ndarray:
        """The figure of each seed (S,).

        Args:
            drawn: Places of clips (M,); all of them if not given.

        Raises:
            MmavError: A figure is not finite, such as d' of classes that are told apart without a mistake.
        """
        places = np.arange(self.clips) if drawn is None else drawn
        found = np.array([self.figure(seed, places) for seed in range(len(self.seeds))], dtype=np.float64)
        if not np.isfinite(found).all():
            seed = int(np.argmin(np.isfinite(found)))
            where = 'its clips' if drawn is None else 'clips drawn from its own'
            raise MmavError(
                f'{self.name}: the figure of seed {self.seeds[seed]} on {where} is {found[seed]}: compare by another '
                'metric, or on more clips'
            )
        return found

    def resampled(self, resamples: int) -> np.ndarray:
        """The figure of each seed on clips drawn again with replacement (resamples, S).

        The draws depend on nothing but their number and that of the clips, so two rows are drawn alike; they are
        computed once.

        Raises:
            MmavError: A figure is not finite.
        """
        if resamples not in self._kept:
            rng = np.random.default_rng(0)
            draws = (rng.integers(0, self.clips, self.clips) for _ in range(resamples))
            self._kept[resamples] = np.array([self.figures(drawn) for drawn in draws])
        return self._kept[resamples]

    def of_seeds(self, seeds: Sequence[int]) -> MeasuredBy:
        """The same of some of its seeds, in the order given."""
        places, figure = [self.seeds.index(seed) for seed in seeds], self.figure
        shared = self.shared and self.shared.of_seeds(places)
        some = MeasuredBy(
            self.name, lambda seed, drawn: figure(places[seed], drawn), self.clips, tuple(seeds), self.share, shared
        )
        some._kept.update({resamples: drawn[:, places] for resamples, drawn in self._kept.items()})
        return some

    def of_clips(self, places: np.ndarray) -> MeasuredBy:
        """The same on some of its clips (M,)."""
        figure = self.figure
        return MeasuredBy(
            self.name, lambda seed, drawn: figure(seed, places[drawn]), len(places), self.seeds, self.share, self.shared
        )


AnyMeasured = Measured | MeasuredBy


def _check_seeds(name: str, seeds: Sequence[int]) -> None:
    if not seeds:
        raise ConfigError(f'{name}: no seed: give the figures of at least one run')
    if len(set(seeds)) != len(seeds):
        raise ConfigError(f'{name}: seeds {list(seeds)}: each may be there once')
