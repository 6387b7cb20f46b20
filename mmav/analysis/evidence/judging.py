"""Judges rows: the interval of each, its difference to the baseline, and the comparisons that were stated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mmav.analysis.evidence.stated import Comparison, EvidenceRow, Stated
from mmav.evaluation.comparing import AnyMeasured, Interval, Judged, Prior, interval_of, judge, prior_of
from mmav.evaluation.comparing.bootstrap import bootstrap_interval


@dataclass(frozen=True, eq=False)
class JudgedRow:
    """A row with its figures.

    Attributes:
        row: As it was given.
        interval: Mean over seeds and clips with its interval; None where no run has ended.
        bootstrap: Ends of the interval of a bootstrap over seeds and clips.
        figures: Seed -> figure.
        gain: What it has over the baseline; None for the baseline itself, and where none was given.
        splits: Name of a split -> the interval on its clips.
    """

    row: EvidenceRow
    interval: Interval | None = None
    bootstrap: tuple[float, float] | None = None
    figures: dict[int, float] = field(default_factory=dict)
    gain: Judged | None = None
    splits: dict[str, Interval] = field(default_factory=dict)

    @property
    def seeds(self) -> int:
        """Number of seeds that the row has or was to have."""
        return len({*self.figures, *self.row.lost})

    @property
    def seconds(self) -> float | None:
        """Mean seconds of processor time of a run, as far as known."""
        known = list(self.row.seconds.values())
        return sum(known) / len(known) if known else None


class Evidence:
    """What may be said of rows.

    The stated comparisons are one family, for which p values are corrected, and all rows against the baseline another.

    Args:
        stated: The rows and comparisons.

    Attributes:
        stated: As given.
        rows: The rows, judged.
        comparisons: Each stated comparison with what was found.
        prior: What all rows say of the spread over seeds; None of few rows or seeds.
    """

    def __init__(self, stated: Stated) -> None:
        self.stated = stated
        self.prior = prior_of(row.measured for row in stated.rows)
        measured = {row.title: row.measured for row in stated.rows}
        gains = self._gains(measured)
        self.rows = [_judged_row(row, stated, gains.get(row.title), self.prior) for row in stated.rows]
        names = [(each.better, each.than) for each in stated.comparisons]
        pairs = [(measured[one], measured[two]) for one, two in names]
        judged = judge(pairs, names, margin=stated.margin, prior=self.prior)
        self.comparisons: list[tuple[Comparison, Judged]] = list(zip(stated.comparisons, judged, strict=True))

    def _gains(self, measured: dict[str, AnyMeasured | None]) -> dict[str, Judged]:
        baseline = self.stated.baseline
        if baseline is None:
            return {}
        names = [(title, baseline) for title in measured if title != baseline]
        judged = judge(
            [(measured[one], measured[two]) for one, two in names], names, margin=self.stated.margin, prior=self.prior
        )
        return {each.better: each for each in judged}

    @property
    def clips(self) -> int | None:
        """Number of test clips; None where no row has figures."""
        return next((row.row.measured.clips for row in self.rows if row.row.measured is not None), None)

    @property
    def seeds(self) -> list[int]:
        """The seeds of any row, also those that have no figure."""
        return sorted({seed for row in self.rows for seed in (*row.figures, *row.row.lost)})

    def verdicts(self) -> Counter[str]:
        """Verdict -> how many of the stated comparisons have it."""
        return Counter(judged.verdict for _, judged in self.comparisons)

    def content(self) -> dict[str, Any]:
        """All figures, for a JSON file."""
        stated = self.stated
        return dict(
            dataset=stated.dataset,
            metric=stated.metric,
            source=stated.source,
            clips=self.clips,
            seeds=self.seeds,
            baseline=stated.baseline,
            margin=stated.margin,
            prior=asdict(self.prior) if self.prior else None,
            lines=dict(stated.lines),
            rows=[_row_content(row) for row in self.rows],
            comparisons=[
                dict(_judged_content(judged), source=comparison.source) for comparison, judged in self.comparisons
            ],
        )


def _judged_row(row: EvidenceRow, stated: Stated, gain: Judged | None, prior: Prior | None) -> JudgedRow:
    measured = row.measured
    if measured is None:
        return JudgedRow(row, gain=gain)
    figures = dict(zip(measured.seeds, measured.figures().tolist(), strict=True))
    splits = {name: interval_of(measured.of_clips(places)) for name, places in stated.splits.items()}
    return JudgedRow(row, interval_of(measured, prior=prior), bootstrap_interval(measured), figures, gain, splits)


def _row_content(row: JudgedRow) -> dict[str, Any]:
    return dict(
        row=row.row.title,
        figures={str(seed): value for seed, value in row.figures.items()},
        seconds={str(seed): value for seed, value in row.row.seconds.items()},
        lost={str(seed): why for seed, why in row.row.lost.items()},
        unanswered=dict(row.row.unanswered),
        interval=_interval_content(row.interval),
        bootstrap=_ends(row.bootstrap),
        gain=_judged_content(row.gain) if row.gain else None,
        splits={name: _interval_content(each) for name, each in row.splits.items()},
    )


def _judged_content(judged: Judged) -> dict[str, Any]:
    tests = judged.mcnemar or {}
    return dict(
        better=judged.better,
        than=judged.than,
        verdict=judged.verdict,
        seeds=list(judged.seeds),
        clips=judged.clips,
        difference=_interval_content(judged.difference),
        together=_ends(judged.together),
        bootstrap=_ends(judged.bootstrap),
        p_value=judged.p_value,
        corrected=judged.corrected,
        smallest=judged.smallest,
        margin=judged.margin,
        same_p=judged.same_p,
        mcnemar={str(seed): asdict(each) for seed, each in tests.items()},
        mcnemar_all=asdict(judged.mcnemar_all) if judged.mcnemar_all else None,
        why_not=judged.why_not,
    )


def _interval_content(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    found = interval.components
    return dict(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        over=interval.over,
        seed_spread=found.seed_spread,
        seeds=found.num_seeds,
        clips=found.num_clips,
    )


def _ends(ends: Sequence[float] | None) -> list[float] | None:
    return None if ends is None else list(ends)
