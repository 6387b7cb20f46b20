"""What the runs of an ablation reached, gathered from one folder of runs or from those of several machines."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmav.analysis.ablation.outcomes import Outcome, Outcomes
from mmav.analysis.ablation.plan import Run
from mmav.analysis.ablation.rows import Ablation, Row
from mmav.errors import MmavError, one_line
from mmav.evaluation.class_order import load_alike
from mmav.evaluation.predictions import accuracy_of, average_predictions
from mmav.outputs import write_json

RESULT = 'result.json'
PREDICTIONS = 'predictions.pkl'
# why the last attempt failed
FAILED = 'failed.txt'
NOT_RUN = 'not yet run'


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        figures: Metric -> value, of the test; empty if it was killed.
        digest: Of its settings, see :class:`~mmav.analysis.ablation.settings.Settings`.
        killed: Why it was ended early; None if it was not.
        cpu_seconds: Processor time of the process that ended it, with its children.
        wall_seconds: Time from its start to its end.
        epochs: How many it trained; None if it trains by iterations.
        resumed: Whether an earlier process did a part of it, whose time is not counted.
        config: The config's file.
        options: What it changed of the config.
        seed: Its seed.
    """

    figures: Mapping[str, float]
    digest: str
    killed: str | None = None
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    epochs: int | None = None
    resumed: bool = False
    config: str = ''
    options: tuple[str, ...] = field(default=())
    seed: int = 0

    def write(self, folder: Path) -> None:
        """Writes :data:`RESULT`, which says that the run has ended."""
        write_json(folder / RESULT, asdict(self))


def read_result(file: Path) -> Result | None:
    """Reads the result of a run; None if it has not ended.

    Raises:
        MmavError: The file is broken, or of something else.
    """
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
        figures = content['figures'].items()
        # JSON has no numbers that are not finite
        content['figures'] = {str(name): float('nan') if value is None else float(value) for name, value in figures}
        return Result(**{**content, 'options': tuple(content.get('options', ()))})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise MmavError(f"'{file}' is not the result of a run: remove the file, and the run is tested again") from error


def require_folders(folders: Sequence[Path]) -> None:
    """Refuses folders of results that are not there, which would look like runs that have not ended.

    Raises:
        MmavError: There is none of such a name.
    """
    for folder in folders:
        if not folder.is_dir():
            raise MmavError(f"--results: there is no folder '{folder}'")


class Gathered:
    """The results of all runs, in folders that are only read.

    Args:
        ablation: The rows.
        folders: Where runs may be.
        digests: Row -> digest of its settings now, where it is known; a run of another one is refused.
        known: Outcomes of runs that need not be in any folder.

    Raises:
        MmavError: A result is broken, or two of one run, or of one row, are of different settings.
    """

    def __init__(
        self,
        ablation: Ablation,
        folders: Sequence[Path],
        digests: Mapping[Row, str] | None = None,
        known: Outcomes | None = None,
    ) -> None:
        self.ablation, self.seeds, self.folders = ablation, ablation.all_seeds, tuple(folders)
        # each run's result and the folder that it is in
        self.found: dict[Run, tuple[Result, Path]] = {}
        # of runs that two machines did, and that came out differently
        self.notes: list[str] = []
        self.known = known
        self.outcomes = self._outcomes(known, digests or {}) if known else {}
        for row in ablation.trained:
            wanted, source = (digests or {}).get(row), None
            for seed in ablation.seeds_of(row):
                for folder in folders:
                    place = row.folder(folder, seed)
                    result = read_result(place / RESULT)
                    if result is None:
                        continue
                    if wanted is not None and result.digest != wanted:
                        other = f"'{source}'" if source else 'the config as it is now'
                        raise MmavError(
                            f"'{place}' is a run of another config or other options than {other} (row {row.title!r}): "
                            'give the folders of one ablation, or another --work-dir'
                        )
                    wanted, source = result.digest, source or place
                    first, at = self.found.setdefault(Run(row, seed), (result, place))
                    if repr(sorted(first.figures.items())) != repr(sorted(result.figures.items())):  # NaN is NaN
                        self.notes.append(f"'{place}' has other figures than '{at}', which are taken")

    def _outcomes(self, known: Outcomes, digests: Mapping[Row, str]) -> dict[Run, Outcome]:
        """What is known of the rows: each is found by its settings, or by title and config."""
        found = {}
        for row in self.ablation.rows:
            wanted = digests.get(row)
            alike = [title for (title, _), run in known.runs.items() if wanted and run.digest == wanted]
            title = alike[0] if alike and row.title not in alike else row.title
            if not alike and known.configs.get(title) != row.config:
                continue
            for seed in self.ablation.seeds_of(row):
                outcome = known.runs.get((title, seed))
                if outcome is not None and outcome.parts != self.named_parts(row, seed):
                    continue  # the average of other runs
                if outcome is not None and wanted is not None and outcome.digest != wanted:
                    raise MmavError(
                        f"'{known.source}' has runs of row {row.title!r} with another config or other options than "
                        'now: leave --known out, or write it anew with --keep'
                    )
                if outcome is not None:
                    found[Run(row, seed)] = outcome
        return found

    def outcome(self, row: Row, seed: int) -> Outcome | None:
        """What is known of a run that is in no folder; None if it is in one, or nothing is known."""
        found = self.outcomes.get(Run(row, seed))
        there = found is None or all(run in self.found for run in self.runs_of(row, seed))
        return None if there else found

    def named_parts(self, row: Row, seed: int) -> tuple[tuple[str, int], ...]:
        """Titles and seeds of the rows that a row averages; empty if it is trained."""
        return tuple((part.title, own) for part, own in self.runs_behind(row, seed))

    def runs_of(self, row: Row, seed: int) -> list[Run]:
        """The trained runs that a row with a seed is made of."""
        return [Run(part, own) for part, own in self._behind(row, seed)]

    def _behind(self, row: Row, seed: int) -> list[tuple[Row, int]]:
        """The trained runs that a row is made of; itself if it is trained."""
        if not row.parts:
            return [(row, seed)]
        return [each for part, own in self.runs_behind(row, seed) for each in self._behind(part, own)]

    def result(self, row: Row, seed: int) -> Result | None:
        """How a run ended; None if it has not. Of a row that averages others, the figures of the average."""
        if (known := self.outcome(row, seed)) is not None:
            return Result(known.figures, known.digest, cpu_seconds=known.cpu_seconds or 0.0, seed=seed)
        if not row.parts:
            found = self.found.get(Run(row, seed))
            return found[0] if found else None
        if self.why_lost(row, seed) is not None:
            return None
        return Result(accuracy_of(self.predictions(row, seed)), '', seed=seed)

    def why_lost(self, row: Row, seed: int) -> str | None:
        """Why a run has no figures; None if it has."""
        if self.outcome(row, seed) is not None:
            return None
        if row.parts:
            runs = self.runs_behind(row, seed)
            if len(set(runs)) < len(runs):
                return f'it averages runs of more seeds than {len(self.ablation.seeds_of(row))}'
            for part, own in runs:
                if (why := self.why_lost(part, own)) is not None:
                    return why if why == NOT_RUN else f'{part.title}: {why}'
            return None
        result = self.result(row, seed)
        if result is not None:
            return result.killed
        notes = [row.folder(folder, seed) / FAILED for folder in self.folders]
        failed = [note.read_text(encoding='utf-8').strip() for note in notes if note.is_file()]
        return f'failed: {textwrap.shorten(failed[0], 60, placeholder=" ...")}' if failed else NOT_RUN

    def runs_behind(self, row: Row, seed: int) -> list[tuple[Row, int]]:
        """The rows that a row averages, each with its seed: where one is named twice, its run of the next seed, too.

        Seeds follow each other in a circle, so that there are as many averages as seeds. Of fewer seeds than a row is
        named, as :meth:`why_lost` tells, some run would count twice.
        """
        seeds = self.ablation.seeds_of(row)
        found: list[tuple[Row, int]] = []
        for part in self.ablation.parts_of(row):
            times = sum(part == each for each, _ in found)
            found.append((part, seeds[(seeds.index(seed) + times) % len(seeds)]))
        return found

    def predictions(self, row: Row, seed: int) -> list[dict]:
        """The predictions of a run that has figures, see :func:`~mmav.evaluation.predictions.load_predictions`."""
        if row.parts:
            runs = self.runs_behind(row, seed)
            if all(not part.parts for part, _ in runs):
                rows = self._load(runs)
            else:
                rows = [self.predictions(part, own) for part, own in runs]
            return average_predictions(rows, names=[part.title for part, _ in runs])
        return self._load([(row, seed)])[0]

    def _load(self, runs: Sequence[tuple[Row, int]]) -> list[list[dict]]:
        places = [self.found[Run(row, seed)][1] for row, seed in runs]
        try:
            return [rows for rows, _ in load_alike([place / PREDICTIONS for place in places])]
        except MmavError as error:
            folders = ' or '.join(f"'{place / RESULT}'" for place in places)
            raise MmavError(f'{one_line(error)}; remove {folders}, and the run is tested again') from error

    def figures(self) -> dict[Row, list[dict[str, float] | None]]:
        """Row -> figures of each seed of the ablation; None for a run without."""
        table: dict[Row, list[dict[str, float] | None]] = {}
        for row in self.ablation.rows:
            results = [self.result(row, seed) if seed in self.ablation.seeds_of(row) else None for seed in self.seeds]
            table[row] = [None if result is None or result.killed else dict(result.figures) for result in results]
        return table
