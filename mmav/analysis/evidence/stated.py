"""What a report on rows is given: the rows with their runs, and the comparisons that were stated before the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmav.errors import ConfigError, did_you_mean
from mmav.evaluation.comparing import AnyMeasured


@dataclass(frozen=True)
class Comparison:
    """An inequality that was stated before the run.

    Attributes:
        better: Row that is expected to be better.
        than: Row that it is compared with.
        source: Who says so, such as ``paper, Table 3, VGGSound: 64.9 > 63.3``; empty if nobody does.
    """

    better: str
    than: str
    source: str = ''

    @property
    def of_paper(self) -> bool:
        """Whether it is of the paper that is reproduced: its source begins with ``paper``."""
        return self.source.lower().startswith('paper')


@dataclass(frozen=True, eq=False)
class EvidenceRow:
    """A row and its runs.

    Attributes:
        title: Its name.
        measured: The seeds that have ended; None if none has.
        seconds: Seed -> seconds of processor time that its run took, as far as known.
        lost: Seed -> why it has no figure, such as ``not yet run`` or ``killed after epoch 3: top-1 0.04``.
        unanswered: Why clips have no answer, such as ``no finite scores`` -> answers of all seeds that are so.
    """

    title: str
    measured: AnyMeasured | None = None
    seconds: Mapping[int, float] = field(default_factory=dict)
    lost: Mapping[int, str] = field(default_factory=dict)
    unanswered: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Stated:
    """All that a report is made from.

    Attributes:
        dataset: What was tested on.
        rows: The rows, in the order of the table.
        comparisons: Stated before the run.
        baseline: Row that all others are compared with, too; None if there is none.
        lines: Name -> figure that is known otherwise, such as an oracle's, drawn as a line.
        metric: Key of the figure.
        source: The ablation file, or what else the report is of.
        margin: Rows that differ by less count as the same, 0.01 is one point; None asks for no sameness.
        splits: Name -> places of test clips (M,) on which each row is judged, too, such as ``aligned``.

    Raises:
        ConfigError: Two rows have one name, or a comparison, or the baseline, names none of the rows.
    """

    dataset: str
    rows: Sequence[EvidenceRow]
    comparisons: Sequence[Comparison] = ()
    baseline: str | None = None
    lines: Mapping[str, float] = field(default_factory=dict)
    metric: str = 'top1'
    source: str = ''
    margin: float | None = None
    splits: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.margin is not None and not self.margin > 0:
            raise ConfigError(f'{self.source or self.dataset}: margin {self.margin:g}: give one above 0')
        titles = [row.title for row in self.rows]
        for title in titles:
            if titles.count(title) > 1:
                raise ConfigError(f'{self.source or self.dataset}: two rows are named {title!r}')
        named = [('Baseline', self.baseline)] if self.baseline is not None else []
        for comparison in self.comparisons:
            named += [('Better', comparison.better), ('Than', comparison.than)]
            if comparison.better == comparison.than:
                raise ConfigError(f'{self.source or self.dataset}: {comparison.better!r} is compared with itself')
        for key, title in named:
            if title not in titles:
                raise ConfigError(
                    f'{self.source or self.dataset}: {key}: {title!r} is none of the rows{did_you_mean(title, titles)}'
                )
