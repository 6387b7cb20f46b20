"""Does the runs of an ablation that are not done yet, with a progress bar, and says what became of them."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tqdm import tqdm

from mmav.analysis.ablation.caching import NONE, SharedClips
from mmav.analysis.ablation.cost import Costs, duration
from mmav.analysis.ablation.killing import KillRule, check_rules
from mmav.analysis.ablation.measuring import check_metric_of
from mmav.analysis.ablation.outcomes import Outcomes
from mmav.analysis.ablation.plan import Run, needed_by, runs_of, share_of
from mmav.analysis.ablation.results import FAILED, Gathered
from mmav.analysis.ablation.rows import Ablation, Row
from mmav.analysis.ablation.schedule import Ended, forks, prepare_forks, run_all
from mmav.analysis.ablation.settings import Settings, parsed, settings_of
from mmav.analysis.ablation.single_run import Task
from mmav.checkpoints import last_checkpoint
from mmav.config.reading import load_checked_config
from mmav.errors import ConfigError, MmavError
from mmav.files import atomic_write
from mmav.outputs import program
from mmav.threads import cpu_count

OPTIONS = 'options.txt'
# what the results belong to
TOOL = 'run_ablation.py'


@dataclass(frozen=True)
class Choices:
    """How an ablation is run, as the command line says.

    Attributes:
        work_dir: Where runs write.
        options: ``K=V`` for all rows.
        data_root: As of ``tools/train.py``.
        cache: As of ``tools/train.py``; ``none`` for none, and None for the best that the configs allow.
        jobs: Runs at a time.
        rules: When a run is ended early.
        by_test_list: Whether rules may look at the test list.
        launcher: A command that starts the tools, see :class:`~mmav.analysis.ablation.single_run.Task`.
        part: Which machine of how many; None for one that does all.
        known: Outcomes of runs that are not done again.
    """

    work_dir: Path
    options: Sequence[str] = ()
    data_root: str | None = None
    cache: str | None = None
    jobs: int = 1
    rules: Sequence[KillRule] = ()
    by_test_list: bool = False
    launcher: str | None = None
    part: tuple[int, int] | None = None
    known: Outcomes | None = None


@dataclass
class Work:
    """The runs of an ablation on this machine.

    Args:
        ablation: All rows.
        rows: Those that are run.
        choices: How.

    Raises:
        MmavError: A config or a choice is wrong, or the folder holds runs of other options.
    """

    ablation: Ablation
    rows: Sequence[Row]
    choices: Choices
    settings: dict[Row, Settings] = field(init=False)
    runs: list[Run] = field(init=False)

    def __post_init__(self) -> None:
        choices = self.choices
        check_launcher(choices)
        self.settings = {
            row: settings_of(
                row,
                self.ablation,
                options=choices.options,
                data_root=choices.data_root,
                validates=bool(choices.rules),
            )
            for row in self.rows
            if not row.parts
        }
        for row in self.settings:
            cfg = self.config(row)
            check_metric_of(cfg, self.ablation.metric, row.title)
            check_rules(choices.rules, cfg, row.title, by_test_list=choices.by_test_list)
        runs = runs_of(self.ablation, self.rows)
        self.runs = runs if choices.part is None else share_of(runs, self.ablation, *choices.part)

    @property
    def digests(self) -> dict[Row, str]:
        """Row -> digest of its settings."""
        return {row: settings.digest for row, settings in self.settings.items()}

    def gathered(self, *others: Path) -> Gathered:
        """What has ended, here and in other folders."""
        folders = [self.choices.work_dir, *others]
        return Gathered(self.ablation, folders, self.digests, self.choices.known)

    def todo(self) -> list[Run]:
        """The runs that have not ended, and of those that are known the ones that others need."""
        gathered = self.gathered()
        wanted = {run for run in self.runs if run not in gathered.outcomes}
        for row in self.rows:
            for seed in self.ablation.seeds_of(row) if row.parts else ():
                if gathered.outcome(row, seed) is None:
                    wanted.update(gathered.runs_of(row, seed))
        for run in reversed(self.runs):  # what a run needs stands before it
            if run in wanted and run not in gathered.found:
                wanted.update(needed_by(run, self.ablation))
        return [run for run in self.runs if run in wanted and run not in gathered.found]

    def check_folder(self) -> None:
        """Refuses a folder that holds runs of other options: the table would mix them.

        Raises:
            MmavError: It does.
        """
        file, text = self.choices.work_dir / OPTIONS, self._text()
        if file.is_file() and file.read_text(encoding='utf-8') != text:
            raise MmavError(
                f"'{self.choices.work_dir}' holds runs of other options ({file}): give another folder with --work-dir"
            )

    def do(self) -> list[Ended]:
        """Does what is not done, with a progress bar.

        Returns:
            The runs that have no result now.
        """
        self.check_folder()
        self.choices.work_dir.mkdir(parents=True, exist_ok=True)
        atomic_write(self.choices.work_dir / OPTIONS, self._text().encode())
        todo = self.todo()
        print(f'{len(self.runs)} runs, {len(self.runs) - len(todo)} of them done; logs are in {self.choices.work_dir}')
        if not todo:
            return []
        with _threads_as_before():
            return self._do(todo)

    def _do(self, todo: list[Run]) -> list[Ended]:
        given = self.choices.cache
        clips = SharedClips()
        caches: dict[Row, str | None] = dict.fromkeys(self.settings, None if given == NONE else given)
        if self._forks:
            prepare_forks()
            init_default_scope('mmav')
            for row in dict.fromkeys(run.row for run in todo):
                caches[row] = clips.choose(self.config(row), given)
            clips.fill(self.choices.jobs)
        needs = {run: needed_by(run, self.ablation) for run in todo}
        gathered, lost = self.gathered(), list[Ended]()
        killed = {run: result.killed for run, (result, _) in gathered.found.items() if result.killed}
        with tqdm(total=len(todo), unit='run', bar_format=_BAR) as bar, program(TOOL):
            begin, costs = time.monotonic(), Costs(todo, gathered)
            for ended in run_all(
                todo,
                lambda run: self._task(run, caches[run.row]),
                needs=needs,
                lost=killed,
                jobs=self.choices.jobs,
                waits=lambda run: bar.write(f'{run.name}: another process works on it, its result is waited for'),
            ):
                costs.note(ended.run, ended.result)
                bar.update()
                bar.set_postfix_str(costs.time_left(time.monotonic() - begin))
                bar.write(_told(ended, self.ablation.metric), file=sys.stdout)
                sys.stdout.flush()
                note = self._folder(ended.run) / FAILED
                note.unlink(missing_ok=True)
                if ended.result is None:
                    lost.append(ended)
                    note.parent.mkdir(parents=True, exist_ok=True)
                    note.write_text(f'{ended.why}\n', encoding='utf-8')
        return lost

    @property
    def _forks(self) -> bool:
        return not self.choices.launcher and forks()

    def config(self, row: Row) -> Config:
        """The config of a row, with its options."""
        settings = self.settings[row]
        return load_checked_config(str(settings.config), parsed(settings.options), self.choices.data_root)

    def _folder(self, run: Run) -> Path:
        return run.row.folder(self.choices.work_dir, run.seed)

    def _task(self, run: Run, cache: str | None) -> Task:
        choices = self.choices
        checkpoints = []
        for option, row in self.ablation.needs_of(run.row).items():
            needed = row.folder(choices.work_dir, run.seed)
            checkpoint = last_checkpoint(needed)
            if checkpoint is None or not checkpoint.is_file():
                raise MmavError(f"{run.name} needs the checkpoint of '{needed}', which has none")
            checkpoints.append(f'{option}={checkpoint.absolute()}')
        return Task(
            run.name,
            self._folder(run),
            self.settings[run.row],
            run.seed,
            checkpoints=tuple(checkpoints),
            data_root=choices.data_root,
            cache=cache,
            cores=max(cpu_count() // choices.jobs, 1),
            in_process=self._forks,
            rules=tuple(choices.rules),
            launcher=choices.launcher,
        )

    def _text(self) -> str:
        lines = [*self.ablation.options]
        lines += [f'epochs={self.ablation.epochs}'] if self.ablation.epochs else []
        lines += [f'batch_size={self.ablation.batch_size}'] if self.ablation.batch_size else []
        lines += [*self.choices.options, *(f'kill={rule}' for rule in self.choices.rules)]
        return '\n'.join(lines) + '\n'


_BAR = '{l_bar}{bar}| {n_fmt}/{total_fmt} runs, {elapsed}{postfix}'


@contextmanager
def _threads_as_before() -> Iterator[None]:
    """Ends what :func:`~mmav.analysis.ablation.schedule.prepare_forks` has set."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_launcher(choices: Choices) -> None:
    """Refuses choices that do not go together.

    Raises:
        ConfigError: They do not.
    """
    if choices.jobs < 1:
        raise ConfigError(f'--jobs {choices.jobs}: give at least 1')
    if choices.launcher is None:
        return
    try:
        words = shlex.split(choices.launcher)
    except ValueError as error:
        raise ConfigError(f"--launcher '{choices.launcher}': {error}") from error
    if words.count('CONFIG') != 1:
        raise ConfigError(
            f"--launcher '{choices.launcher}': give a command with the word CONFIG once, in place of the config, and "
            "of the config and the checkpoint in testing, such as 'tools/dist_STAGE.sh CONFIG 8'"
        )
    if choices.rules:
        raise ConfigError(f'--kill {choices.rules[0]} has no effect with --gpus or --launcher: leave it out')


def _told(ended: Ended, metric: str) -> str:
    result = ended.result
    what = f'{ended.run.row.title}, seed {ended.run.seed}'
    if result is None:
        return f'{what}: FAILED: {ended.why}'
    if result.killed:
        return f'{what}: {result.killed}; {duration(result.wall_seconds)}'
    figure = result.figures.get(metric)
    shown = f'{metric} {figure:.4f}' if figure is not None else f'no {metric}'
    return f'{what}: {shown}; {duration(result.wall_seconds)}, {result.cpu_seconds:.0f} s of processor time'
