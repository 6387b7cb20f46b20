"""Which runs an ablation has, in which order, and which of them a machine does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmav.analysis.ablation.rows import Ablation, Row
from mmav.errors import ConfigError


@dataclass(frozen=True)
class Run:
    """A row with one of its seeds."""

    row: Row
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f'{self.row.stem}_seed{self.seed}'


def runs_of(ablation: Ablation, rows: Sequence[Row]) -> list[Run]:
    """All runs: seed by seed, so that early results are of all rows, and what others need before them."""
    ordered: list[Row] = []
    for row in rows:
        for each in (*ablation.behind(row), row):
            if each not in ordered and each in rows and not each.parts:
                ordered.append(each)
    return [Run(row, seed) for seed in ablation.all_seeds for row in ordered if seed in ablation.seeds_of(row)]


def needed_by(run: Run, ablation: Ablation) -> list[Run]:
    """The runs whose checkpoints a run needs."""
    return [Run(row, run.seed) for row in ablation.needs_of(run.row).values()]


def share_of(runs: Sequence[Run], ablation: Ablation, part: int, parts: int) -> list[Run]:
    """The runs of one machine of several; each run is one machine's, and each machine has all that its runs need.

    Args:
        runs: All runs.
        ablation: What they need.
        part: Which machine, from 1.
        parts: How many machines.
    """
    groups: list[list[Run]] = []
    for run in runs:
        met = [group for group in groups if any(other in group for other in needed_by(run, ablation))]
        groups = [group for group in groups if group not in met]
        groups.append([each for group in met for each in group] + [run])
    # the largest first, each to the machine that has the fewest; of equal ones the order decides
    shares: list[list[Run]] = [[] for _ in range(parts)]
    for group in sorted(groups, key=lambda group: (-len(group), runs.index(group[0]))):
        min(shares, key=len).extend(group)
    return [run for run in runs if run in shares[part - 1]]


def machine_of(text: str) -> tuple[int, int]:
    """Reads ``--part 1/2``.

    Raises:
        ConfigError: It is not of this form, or out of range.

    >>> machine_of('2/3')
    (2, 3)
    """
    found = re.fullmatch(r'(\d+)/(\d+)', text)
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= part <= parts:
        raise ConfigError(f'--part {text}: give 1/2 on the first machine of two and 2/2 on the second')
    return part, parts
