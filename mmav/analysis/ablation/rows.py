"""The rows of an ablation, and which of them others need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmav.analysis.evidence.stated import Comparison
from mmav.errors import ConfigError, did_you_mean

Results = Mapping['Row', Sequence[Mapping[str, float] | None]]
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        title: Its name in the table.
        config: Path of the config, as the file of the ablation gives it; the name of a row that is not trained.
        parts: The rows whose predicted probabilities, of the same seed, this row averages, instead of a training of its
            own; by title, name or config. Named twice, its runs of this seed and of the next are averaged.
        name: Its runs' folders begin with it; the config's if not given.
        needs: Option of the config -> the row whose last checkpoint, of the same seed, is its value.
        options: What this row changes of its config, ``K=V`` as of ``--cfg-options``.
        seeds: Its seeds, where it has others than the ablation; an empty tuple where it does not.
        file: The config's file, as found; None for a row that is not trained.
    """

    title: str
    config: str
    parts: tuple[str, ...] = ()
    name: str = ''
    needs: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    file: Path | None = field(default=None, compare=False)

    @property
    def stem(self) -> str:
        """What the folders of its runs begin with."""
        return self.name or Path(self.config).stem

    def folder(self, work_dir: Path, seed: int) -> Path:
        """Where a run of this row writes."""
        return work_dir / f'{self.stem}_seed{seed}'


@dataclass(frozen=True)
class Ablation:
    """Rows of experiments, and what was stated of them before they ran.

    Attributes:
        dataset: What they are tested on, for titles.
        rows: The rows, in the order of the table.
        metric: Key of the figure of the test by which rows are compared.
        seeds: The seeds of each row that has none of its own.
        comparisons: Which row is expected to be better than which; given by title, name or config, kept by title.
        baseline: The row that all others are compared with, too, likewise; None if there is none.
        lines: Name -> figure that is known otherwise, such as an oracle's.
        options: What all rows change of their configs, ``K=V``.
        epochs: Epochs of each run, in place of the configs' own.
        batch_size: Clips a step, likewise.
        margin: Rows that differ by less count as the same, 0.01 is one point; None asks for no sameness.
        source: The file that says so.

    Raises:
        ConfigError: Two rows have one title or one folder, a row names one that is not there, or one that lacks some
            of its seeds, or rows need each other in a circle.
    """

    dataset: str
    rows: tuple[Row, ...]
    metric: str = 'top1'
    seeds: tuple[int, ...] = SEEDS
    comparisons: tuple[Comparison, ...] = ()
    baseline: str | None = None
    lines: Mapping[str, float] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    epochs: int | None = None
    batch_size: int | None = None
    margin: float | None = None
    source: str = ''

    def __post_init__(self) -> None:
        if not self.rows:
            raise ConfigError(f'{self._what}: there is no row')
        if not self.seeds:
            raise ConfigError(f'{self._what}: there is no seed')
        for title, seeds in (('', self.seeds), *((f'row {row.title!r}: ', row.seeds) for row in self.rows)):
            for seed in seeds:
                if seeds.count(seed) > 1:
                    raise ConfigError(f'{self._what}: {title}seed {seed} is given twice')
                if not 0 <= seed < 2**32:
                    raise ConfigError(f'{self._what}: {title}seed {seed}: give a whole number from 0')
        if self.epochs is not None and self.epochs < 1:
            raise ConfigError(f'{self._what}: {self.epochs} epochs: give 1 or more')
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigError(f'{self._what}: batches of {self.batch_size} clips: give 1 or more')
        for row in self.rows:
            if row.name and row.name != Path(row.name).name:
                raise ConfigError(f'{self._what}: row {row.title!r}, Name: {row.name!r} is no name of a folder')
        self._require_unique([row.title for row in self.rows], 'are named', 'give each a Row: of its own')
        self._require_unique(
            [row.stem for row in self.rows], 'would write to the same folders', 'give them different names, Name: ...'
        )
        for row in self.rows:
            list(self.behind(row))
            for other in (*self.parts_of(row), *self.needs_of(row).values()):
                lacking = [str(seed) for seed in self.seeds_of(row) if seed not in self.seeds_of(other)]
                if lacking:
                    raise ConfigError(
                        f'{self._what}: row {row.title!r} needs {other.title!r} with the same seeds, and that has no '
                        f'seed {", ".join(lacking)}: give both the same Seeds'
                    )
        object.__setattr__(self, 'comparisons', tuple(map(self._titled, self.comparisons)))
        if self.baseline is not None:
            object.__setattr__(self, 'baseline', self._find(self.baseline, 'Baseline').title)

    @property
    def trained(self) -> tuple[Row, ...]:
        """The rows that have runs of their own."""
        return tuple(row for row in self.rows if not row.parts)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds of any row, the ablation's own first."""
        return tuple(dict.fromkeys((*self.seeds, *(seed for row in self.rows for seed in row.seeds))))

    def seeds_of(self, row: Row) -> tuple[int, ...]:
        """The seeds that a row is run with."""
        return row.seeds or self.seeds

    def with_seeds(self, seeds: Sequence[int]) -> Ablation:
        """The same rows, all of them with these seeds."""
        return replace(self, seeds=tuple(seeds), rows=tuple(replace(row, seeds=()) for row in self.rows))

    def parts_of(self, row: Row) -> tuple[Row, ...]:
        """The rows that a row averages."""
        return tuple(self._find(part, f'row {row.title!r}, Parts') for part in row.parts)

    def needs_of(self, row: Row) -> dict[str, Row]:
        """Option of a row's config -> the row whose checkpoint it needs."""
        return {option: self._find(text, f'row {row.title!r}, Needs') for option, text in row.needs}

    def behind(self, row: Row, *, path: tuple[Row, ...] = ()) -> Iterator[Row]:
        """All rows without which a row cannot be had, those that have to run first before those that need them.

        Raises:
            ConfigError: They need each other in a circle, or a checkpoint is asked of a row that is not trained.
        """
        if row in path:
            circle = ' -> '.join(repr(each.title) for each in (*path[path.index(row) :], row))
            raise ConfigError(f'{self._what}: rows need each other in a circle: {circle}')
        for option, needed in self.needs_of(row).items():
            if needed.parts:
                raise ConfigError(
                    f'{self._what}: row {row.title!r}, Needs: {option} takes a checkpoint, and {needed.title!r} is an '
                    'average, which has none'
                )
        for other in (*self.parts_of(row), *self.needs_of(row).values()):
            yield from self.behind(other, path=(*path, row))
            yield other

    @property
    def _what(self) -> str:
        return self.source or self.dataset

    def _titled(self, comparison: Comparison) -> Comparison:
        better = self._find(comparison.better, 'Comparisons, Better').title
        than = self._find(comparison.than, 'Comparisons, Than').title
        if better == than:
            raise ConfigError(f'{self._what}: Comparisons: {comparison.better!r} is compared with itself')
        return replace(comparison, better=better, than=than)

    def _find(self, text: str, where: str) -> Row:
        for key in ('title', 'stem', 'config'):  # a title is never taken for the name of another row
            found = [row for row in self.rows if getattr(row, key) == text]
            if len(found) > 1:
                titles = ' and '.join(repr(row.title) for row in found)
                raise ConfigError(f'{self._what}: {where}: {text!r} is the config of {titles}: give the title of one')
            if found:
                return found[0]
        hint = did_you_mean(text, [row.title for row in self.rows])
        raise ConfigError(f'{self._what}: {where}: there is no row {text!r}{hint}')

    def _require_unique(self, names: Sequence[str], what: str, remedy: str) -> None:
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f'{self._what}: two rows {what} {name!r}: {remedy}')
