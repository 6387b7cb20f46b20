"""The rows of an ablation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Results = Mapping['Row', Sequence[Mapping[str, float] | None]]


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        title: Its name in the table.
        config: Path of the config, from the repository's root; the name of a row that is not trained.
        parts: The configs whose predictions this row averages, instead of a training of its own.
    """

    title: str
    config: str
    parts: tuple[str, ...] = ()

    def folder(self, work_dir: Path, seed: int) -> Path:
        """Where a run of this row writes."""
        return work_dir / f'{Path(self.config).stem}_seed{seed}'
