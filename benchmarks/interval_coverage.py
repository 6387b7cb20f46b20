"""How often a 95 % interval over seeds and test clips holds the truth, and how often equal rows are told to differ.

Outcomes are drawn: clips differ in how hard they are, seeds in how good their model is, and a clip is right or wrong by
chance. What would be found with all seeds and clips there are is known, and compared with the interval. Run it with
``python -m benchmarks.interval_coverage``; it takes minutes of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import norm, t
from tqdm import tqdm

from mmav.evaluation.comparing import Components, Measured, prior_of
from mmav.evaluation.comparing.bootstrap import bootstrap_interval
from mmav.evaluation.comparing.components import components_of
from mmav.evaluation.comparing.intervals import p_value, tails
from mmav.evaluation.comparing.pooling import with_prior
from mmav.evaluation.comparing.verdicts import holm
from mmav.tables import markdown_table

LEVEL = 0.05
SEEDS, CLIPS = (3, 5, 10), (300, 2000)


@dataclass(frozen=True)
class World:
    """Where outcomes come from, on the scale of log odds.

    Attributes:
        name: What is drawn.
        middle: Log odds of a clip of middling difficulty; 0.5 gives about 57 %.
        seeds: Standard deviation over seeds.
        clips: Standard deviation over clips.
        own: Of a difference: standard deviation over clips of what only one of the two rows finds hard.
        difference: Whether the difference of two rows is looked at, which have the clips in common.
    """

    name: str
    middle: float = 0.5
    seeds: float = 0.0
    clips: float = 2.0
    own: float = 0.0
    difference: bool = False

    def draw(self, rng: np.random.Generator, seeds: int, clips: int) -> np.ndarray:
        """Values (seeds, clips) of an experiment."""
        hard = rng.normal(0, self.clips, clips)
        rows = [self._row(rng, hard, seeds) for _ in range(1 + self.difference)]
        return rows[0] - rows[1] if self.difference else rows[0]

    def _row(self, rng: np.random.Generator, hard: np.ndarray, seeds: int) -> np.ndarray:
        own = rng.normal(0, self.own, len(hard)) if self.own else 0.0
        odds = self.middle + hard + own + rng.normal(0, self.seeds, (seeds, 1))
        return (rng.random(odds.shape) < expit(odds)).astype(float)

    @property
    def truth(self) -> float:
        """What all seeds and clips would give."""
        if self.difference:
            return 0.0
        spread = (self.seeds**2 + self.clips**2) ** 0.5
        nodes = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
        return float(expit(self.middle + spread * nodes).mean())


WORLDS = (
    World('row, seeds alike'),
    World('row, seeds spread little', seeds=0.1),
    World('row, seeds spread much', seeds=0.4),
    World('row of 96 %', middle=5.0, seeds=0.3),
    World('difference, seeds alike', difference=True, own=0.5),
    World('difference, seeds spread little', difference=True, own=0.5, seeds=0.1),
    World('difference, seeds spread much', difference=True, own=0.5, seeds=0.3),
)


def generalized(values: np.ndarray, found: Components, truth: float) -> bool:
    """The interval that reports give."""
    return p_value(found, difference=truth) > LEVEL


def satterthwaite(values: np.ndarray, found: Components, truth: float) -> bool:
    """A t interval with Satterthwaite's degrees of freedom."""
    seeds, clips = values.shape
    of_seeds, residual = (found.seeds, found.residual) if found.seeds > found.residual else (0.0, 0.0)
    squares = of_seeds**2 / (seeds - 1) + residual**2 / ((seeds - 1) * (clips - 1)) + found.clips**2 / (clips - 1)
    return bool(abs(found.mean - truth) <= t.ppf(1 - LEVEL / 2, found.variance**2 / squares) * found.variance**0.5)


def over_clips(values: np.ndarray, found: Components, truth: float) -> bool:
    """A t interval over clips, as if the seeds were all there are."""
    return bool(abs(found.mean - truth) <= t.ppf(1 - LEVEL / 2, found.freedom) * found.clips**0.5)


def over_seeds(values: np.ndarray, found: Components, truth: float) -> bool:
    """Mean and spread of the seeds' figures, as if the test clips were all there are."""
    return bool(abs(found.mean - truth) <= t.ppf(1 - LEVEL / 2, found.num_seeds - 1) * found.seeds**0.5)


def bootstrap(values: np.ndarray, found: Components, truth: float) -> bool:
    """Percentiles of a bootstrap over seeds and clips."""
    low, high = bootstrap_interval(Measured('row', values, tuple(range(len(values)))), resamples=300)
    return low <= truth <= high


METHODS: tuple[Callable[[np.ndarray, Components, float], bool], ...] = (
    generalized,
    satterthwaite,
    bootstrap,
    over_clips,
    over_seeds,
)


def coverage(world: World, seeds: int, clips: int, *, runs: int, seed: int = 0) -> dict[str, float]:
    """Name of a method -> share of experiments whose interval holds the truth."""
    rng, truth = np.random.default_rng(seed), world.truth
    held = np.zeros(len(METHODS))
    for _ in range(runs):
        values = world.draw(rng, seeds, clips)
        found = components_of(Measured('row', values, tuple(range(seeds))))
        held += [method(values, found, truth) for method in METHODS]
    return {method.__name__: float(share) for method, share in zip(METHODS, held / runs, strict=True)}


def false_claims(spreads: Sequence[float], seeds: int, *, runs: int, seed: int = 0) -> dict[str, float]:
    """How often a table of rows that do not differ claims that any differs from the first, all being compared with it.

    Args:
        spreads: Standard deviation over seeds of each row, in points.
        seeds: Number of seeds.
        runs: How many tables are drawn.
        seed: Of the draws.

    Returns:
        Shares of tables: ``alone``, each comparison knows its own seeds; ``together``, those of all rows.
    """
    rng = np.random.default_rng(seed)
    noise, of_clips = (0.1 / 2000) ** 0.5, (0.15 / 2000 / 2) ** 0.5  # of two thousand clips
    claims = np.zeros(2)
    for _ in range(runs):
        scale = np.sqrt(np.square(np.array(spreads) / 100) + noise**2)
        figures = rng.normal(0, 1, (len(spreads), seeds)) * scale[:, None] + rng.normal(0, of_clips, (len(spreads), 1))
        gains = figures[1:] - figures[0]
        residual = 2 * noise**2 / seeds
        found = [
            Components(
                float(each.mean()),
                float(each.var(ddof=1)) / seeds,
                2 * of_clips**2 + residual,
                residual,
                seeds,
                2000,
                1999,
            )
            for each in gains
        ]
        prior = prior_of(Measured('row', np.tile(each[:, None], 2), tuple(range(seeds))) for each in figures)
        for place, which in enumerate((None, prior)):
            parts = [with_prior(each, which, rows=2) for each in found]
            claims[place] += min(holm(_p_values(parts))) <= LEVEL
    return dict(zip(('alone', 'together'), (claims / runs).tolist(), strict=True))


def _p_values(found: Sequence[Components]) -> list[float]:
    """As of :func:`p_value`, of many at once."""
    means, *squares = np.array([(abs(each.mean), each.seeds, each.clips, each.residual) for each in found]).T
    p_values = np.empty(len(found))
    for freedom in {each.seed_freedom for each in found}:
        same = np.array([each.seed_freedom == freedom for each in found])
        seeds, clips, residual = (square[same] for square in squares)
        p_values[same] = tails(means[same], seeds, clips, residual, freedom, found[0].freedom)
    return p_values.tolist()


TABLES = {
    '17 rows that spread alike': [1.2] * 17,
    '6 rows that spread alike': [1.2] * 6,
    '17 rows that spread 0.4 to 3.6 points': np.geomspace(0.4, 3.6, 17).tolist(),
    '17 rows, one spreads 12 points': [1.2, 12.0, *[1.2] * 15],
    '17 rows, the baseline spreads thrice as much': [3.6, *[1.2] * 16],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, default=1000, help='experiments of each line (default: %(default)s)')
    args = parser.parse_args()
    lines: list[list[Any]] = [['95 % interval of a', 'seeds', 'clips', *(each.__name__ for each in METHODS)]]
    cases = [(world, seeds, clips) for world in WORLDS for seeds in SEEDS for clips in CLIPS]
    for world, seeds, clips in tqdm(cases, unit='line'):
        found = coverage(world, seeds, clips, runs=args.runs)
        lines.append([world.name, str(seeds), f'{clips:,}', *(f'{100 * share:.1f}' for share in found.values())])
    print(markdown_table(lines))
    lines = [['a table of equal rows claims a difference', 'seeds', 'alone', 'together']]
    for name, spreads in TABLES.items():
        for seeds in SEEDS:
            claimed = false_claims(spreads, seeds, runs=args.runs)
            lines.append([name, str(seeds), *(f'{100 * share:.1f}' for share in claimed.values())])
    print(f'\n{markdown_table(lines)}')


if __name__ == '__main__':
    main()
