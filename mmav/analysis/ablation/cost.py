"""What runs will cost and what they will be able to show, said before they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from mmengine.registry import init_default_scope

from mmav.analysis.ablation.plan import Run
from mmav.analysis.ablation.results import Gathered
from mmav.analysis.ablation.rows import Row
from mmav.analysis.evidence.stated import Stated
from mmav.evaluation.comparing import (
    Components,
    Prior,
    difference_interval,
    expected_components,
    prior_of,
    resized,
    smallest_difference,
)
from mmav.evaluation.comparing.pooling import LEAST_ROWS, LEAST_SEEDS, extra_freedom
from mmav.registry import DATASETS

# of two rows, as long as none has run: clips of which one alone is right, and the spread of a row over seeds
DISAGREEMENT, SEED_SPREAD = 0.3, 0.015


class Costs:
    """Seconds that runs take, by row, from those that have ended, and processor time also from outcomes that are known.

    Args:
        todo: The runs that have not.
        gathered: What has ended.
        key: ``wall_seconds`` or ``cpu_seconds``.
    """

    def __init__(self, todo: Sequence[Run], gathered: Gathered, key: str = 'wall_seconds') -> None:
        self._todo, self._key, self._spent = list(todo), key, 0.0
        self._seconds: dict[Row, list[float]] = {}
        for run, (result, _) in gathered.found.items():
            self._add(run.row, result)
        for run, outcome in gathered.outcomes.items() if key == 'cpu_seconds' else ():
            if outcome.cpu_seconds is not None and run not in gathered.found:
                self._seconds.setdefault(run.row, []).append(outcome.cpu_seconds)

    def note(self, run: Run, result: Any) -> None:
        """Takes a run that has ended; ``result`` is None if it failed."""
        self._todo.remove(run)
        if result is not None:
            self._spent += getattr(result, self._key)
            self._add(run.row, result)

    def of(self, row: Row) -> float | None:
        """Seconds of a run of a row: the mean of those that ended; None if none has."""
        return fmean(self._seconds[row]) if row in self._seconds else None

    def left(self) -> float | None:
        """Seconds of all that have not ended, those of rows of which none has taken as the mean of the others."""
        if not self._seconds:
            return None
        mean = fmean(fmean(values) for values in self._seconds.values())
        return sum(mean if (known := self.of(run.row)) is None else known for run in self._todo)

    def time_left(self, elapsed: float) -> str:
        """How long the others will take, at the pace of those that have run since the begin."""
        left = self.left()
        if not left or not self._spent:
            return ''
        return f'about {duration(left * elapsed / self._spent)} left'

    def _add(self, row: Row, result: Any) -> None:
        if not result.killed and not result.resumed:
            self._seconds.setdefault(row, []).append(getattr(result, self._key))


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(42), duration(400), duration(8000)
    ('42 s', '7 min', '2.2 h')
    """
    if seconds < 120:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 7200 else f'{seconds / 3600:.1f} h'


def clips_tested(cfg: Mapping[str, Any]) -> int:
    """Number of test clips of a config; its list is read.

    Raises:
        MmavError: It cannot be read.
    """
    init_default_scope('mmav')
    dataset = DATASETS.build(cfg['test_dataloader']['dataset'])
    return len(dataset)


def smallest_seen(stated: Stated, *, clips: int, seeds: int) -> str:
    """The smallest difference of two rows that a run of this size sees, and what that is taken from.

    Args:
        stated: Rows and comparisons; rows that have run over two seeds tell how rows spread and disagree.
        clips: Number of test clips.
        seeds: Number of seeds.
    """
    number = max(len(stated.comparisons), 1)
    rows, prior = len(stated.rows), prior_of(row.measured for row in stated.rows)
    pilots = _pilots(stated, prior)
    if pilots and not (seeds > 1 and pilots[0].num_seeds == 1):
        shared = 0.0
        if rows >= LEAST_ROWS and seeds >= LEAST_SEEDS:  # then all rows tell of the spread together
            shared = extra_freedom(seeds, prior.freedom) if prior else extra_freedom(seeds)
        sizes = [replace(resized(pilot, clips=clips, seeds=seeds), extra_freedom=shared) for pilot in pilots]
        found = median(smallest_difference(each, comparisons=number) for each in sizes)
        source = f'from {len(pilots)} pairs of rows that have run'
    else:
        expected = expected_components(
            clips=clips,
            seeds=seeds,
            disagreement=DISAGREEMENT,
            seed_spread=SEED_SPREAD if seeds > 1 else 0.0,
            rows=rows,
        )
        found = smallest_difference(expected, comparisons=number)
        source = (
            f'taking it that two rows disagree on {100 * DISAGREEMENT:.0f} % of the clips and that a row spreads by '
            f'{100 * SEED_SPREAD:.1f} points over seeds'
        )
    each = f'each of {number} comparisons' if number > 1 else 'a comparison'
    size = f'{seeds} seed{"s" * (seeds > 1)} and {clips:,} test clips'
    if found >= 1:
        return f'{size} can see no difference at all ({source})'
    return f'{size} see {100 * found:.1f} points or more in 80 % of cases, in {each} ({source})'


def _pilots(stated: Stated, prior: Prior | None) -> list[Components]:
    """Components of the differences of rows that have run: of the stated comparisons, else of neighbours."""
    measured = {row.title: row.measured for row in stated.rows if row.measured is not None}
    pairs = [(each.better, each.than) for each in stated.comparisons]
    titles = list(measured)
    found = []
    for one, two in pairs or pairwise(titles):
        if one in measured and two in measured:
            seeds = sorted({*measured[one].seeds} & {*measured[two].seeds})
            if len(seeds) > 1:
                alike = [measured[title].of_seeds(seeds) for title in (one, two)]
                found.append(difference_interval(*alike, prior=prior).components)
    return found
