"""One dataset of the paper: from its prepared lists to the tables, by the command that runs ablations."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from mmav.analysis.ablation.files import read_ablation
from mmav.analysis.ablation.measuring import state
from mmav.analysis.ablation.results import PREDICTIONS, Gathered
from mmav.analysis.ablation.rows import Ablation, Row
from mmav.analysis.ablation.work import Choices as RunChoices
from mmav.analysis.ablation.work import Work
from mmav.analysis.evidence.judging import Evidence
from mmav.analysis.evidence.report import FILES, report_markdown, write_report
from mmav.analysis.paper.cost import batch_of
from mmav.analysis.paper.figures import PaperDataset, Reported, reported
from mmav.analysis.paper.shrinking import shrink, write_small_config
from mmav.analysis.paper.tables import Numbers, PaperTable, markdown, paper_tables, records
from mmav.config.reading import load_config
from mmav.errors import ConfigError, MmavError, did_you_mean
from mmav.files import atomic_write
from mmav.outputs import check_folder, write_json, write_output
from mmav.shipped import shipped_root
from mmav.tables import write_csv

PAGE, FIGURES, DATA = 'tables.md', 'tables.csv', 'tables.json'
ROWS_FILE, SMALL = 'rows.yml', 'small_configs'
BATCH, MEMORY = 'train_dataloader.batch_size', 'activation_checkpointing.budget'
SMALL_NOTE = 'Made small (--miniature): no figure of these models says anything about the paper.'


@dataclass(frozen=True)
class Choices:
    """How the rows of a dataset are run, as the command line says.

    Attributes:
        data_root: Folder of the manifests.
        work_dir: Where runs and tables are written.
        seeds: Seeds of each row; None for those of the ablation file.
        rows: Titles of the rows to run; empty for all.
        miniature: Whether the models are made small, see :mod:`mmav.analysis.paper.shrinking`.
        gpus: Processes of a run, one a GPU; None to run on this machine's CPU.
        slurm: Options of sbatch for a job that trains or tests a row; None to start processes here.
        jobs: Runs at a time.
        results: Work dirs of other machines, which are read, too.
        options: ``K=V`` for all rows, as of ``--cfg-options``.
    """

    data_root: str
    work_dir: Path
    seeds: tuple[int, ...] | None = None
    rows: tuple[str, ...] = ()
    miniature: bool = False
    gpus: int | None = None
    slurm: str | None = None
    jobs: int = 1
    results: tuple[Path, ...] = ()
    options: tuple[str, ...] = ()


@dataclass
class Reproduction:
    """The rows of the paper's tables on one dataset.

    Args:
        dataset: The dataset.
        choices: How they are run.

    Raises:
        MmavError: There is no such row, or the work dir cannot be written to.
    """

    dataset: PaperDataset
    choices: Choices
    ablation: Ablation = field(init=False)

    def __post_init__(self) -> None:
        ablation = read_ablation(self.dataset.rows_file)
        self.ablation = ablation.with_seeds(self.choices.seeds) if self.choices.seeds else ablation
        titles = [row.title for row in ablation.rows]
        for title in self.choices.rows:
            if title not in titles:
                raise ConfigError(
                    f'no row {title!r}{did_you_mean(title, titles)}: choose {", ".join(map(repr, titles))}'
                )
        check_folder(self.choices.work_dir, [PAGE, FIGURES, DATA, *FILES], remedy='give another one with --work-dir')

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows that are asked for, with those that they average."""
        wanted = set(self.choices.rows) or {row.title for row in self.ablation.rows}
        found = [row for row in self.ablation.rows if row.title in wanted]
        needed = {other for row in found for other in self.ablation.behind(row)}
        return tuple(row for row in self.ablation.rows if row in needed or row in found)

    @property
    def rows_file(self) -> Path:
        """The ablation file of what was run: in the work dir, else in the first folder of results that has one."""
        places = [folder / ROWS_FILE for folder in (self.choices.work_dir, *self.choices.results)]
        return next((place for place in places if place.is_file()), places[0])

    @property
    def options(self) -> list[str]:
        """What all runs change of their configs, ``K=V``: on GPUs the paper's batch, and a plan of their memory."""
        if not self.choices.gpus or self.choices.miniature:
            return list(self.choices.options)
        given = [option.partition('=')[0] for option in self.choices.options]
        own = [f'{BATCH}={batch_of(self.choices.gpus)}'] if BATCH not in given else []
        own += [f'{MEMORY}=auto'] if not any(name.startswith(MEMORY.split('.')[0]) for name in given) else []
        return [*own, *self.choices.options]

    def write_rows(self) -> Path:
        """Writes the ablation file of the rows that are asked for, and small configs if they are to be; returns it."""
        wanted = self.rows
        content = yaml.safe_load(self.dataset.rows_file.read_text(encoding='utf-8'))
        titles = [row.title for row in wanted]
        content |= dict(Seeds=list(self.ablation.seeds), Options=self.options)
        content['Rows'] = [entry for entry in content['Rows'] if entry['Row'] in titles]
        content['Comparisons'] = [
            each for each in content['Comparisons'] if each['Better'] in titles and each['Than'] in titles
        ]
        files = {row.title: row.file.resolve() for row in wanted if row.file is not None}
        for entry in content['Rows']:
            if 'Config' in entry:
                entry['Config'] = str(self._config(files[entry['Row']]))
        path = self.choices.work_dir / ROWS_FILE
        write_output(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10**6))
        return path

    def _config(self, source: Path) -> Path:
        if not self.choices.miniature:
            return source
        folder = self.choices.work_dir / SMALL
        return write_small_config(shrink(load_config(str(source))), source, folder).resolve()

    @property
    def launcher(self) -> str | None:
        """What starts the tools; None where runs are processes of this program, on a CPU."""
        gpus = self.choices.gpus
        if self.choices.slurm is not None:
            # a job of its own for each training and each test; --wait ends with the job, and has its status
            node = f'--gpus-per-node={gpus} --ntasks-per-node={gpus}'
            script = f'{shlex.quote(str(shipped_root()))}/tools/slurm_STAGE.sh'
            return f'sbatch --wait {node} {self.choices.slurm} {script} CONFIG'
        return f'{shlex.quote(str(shipped_root()))}/tools/dist_STAGE.sh CONFIG {gpus}' if gpus else None

    def work(self) -> Work:
        """The runs, in the terms of ablations; writes the file of the rows.

        Raises:
            MmavError: A config or an option is wrong, or the work dir holds runs of other options.
        """
        choices = self.choices
        file = choices.work_dir / ROWS_FILE
        before = file.read_bytes() if file.is_file() else None
        self.write_rows()
        try:
            ablation = read_ablation(file)
            how = RunChoices(choices.work_dir, data_root=choices.data_root, jobs=choices.jobs, launcher=self.launcher)
            work = Work(ablation, ablation.rows, how)
            work.check_folder()
        except MmavError:
            if before is not None:  # which says what the runs of the folder are
                atomic_write(file, before)
            raise
        return work

    def commands(self, work: Work) -> list[str]:
        """What trains and tests each run that has not ended, as one would type it."""
        launcher = self.launcher or f'{sys.executable} tools/STAGE.py CONFIG'
        lines = []
        for run in work.todo():
            folder, settings = run.row.folder(self.choices.work_dir, run.seed), work.settings[run.row]
            data = f'--data-root {shlex.quote(self.choices.data_root)}'
            options = shlex.join(['--cfg-options', *settings.options, f'randomness.seed={run.seed}'])
            start, config = launcher.replace('STAGE', 'train'), str(settings.config)
            lines.append(f'{start.replace("CONFIG", config)} {data} --work-dir {folder} --resume {options}')
            start, config = launcher.replace('STAGE', 'test'), f'{config} {folder}/epoch_{settings.epochs}.pth'
            lines.append(f'{start.replace("CONFIG", config)} {data} --dump {folder}/{PREDICTIONS} {options}')
        return lines

    def run(self) -> None:
        """Does what is not done; what has ended stays, and the same command goes on.

        Raises:
            MmavError: A run failed.
        """
        lost = self.work().do()
        if lost:
            names = ', '.join(ended.run.name for ended in lost)
            raise MmavError(
                f'{self.dataset.name}: {len(lost)} runs have failed, the same command goes on with them: {names}: '
                f'{lost[0].why}'
            )

    def collect(self, clips: dict[str, int] | None) -> list[PaperTable]:
        """Writes the tables of all that has ended, and which differences stand, into the work dir.

        Args:
            clips: Manifest -> rows; None if the data were not looked at.
        """
        choices = self.choices
        seeds = choices.seeds or read_ablation(self.rows_file).seeds
        gathered = Gathered(self.ablation.with_seeds(seeds), [choices.work_dir, *choices.results])
        evidence = Evidence(state(gathered, self.ablation.metric))
        write_report(evidence, choices.work_dir)
        results = {row.title: runs for row, runs in gathered.figures().items()}
        tables = paper_tables(self.dataset, [self._reported(row) for row in self.ablation.rows], results)
        notes = (SMALL_NOTE,) if choices.miniature else ()
        numbers = Numbers(self.dataset, (clips or {}).get('train.csv'), evidence.clips, seeds, notes)
        write_output(choices.work_dir / PAGE, markdown(tables, numbers, report=report_markdown(evidence)))
        listed = records(tables, numbers)
        write_csv(choices.work_dir / FIGURES, [list(listed[0]), *(list(each.values()) for each in listed)])
        write_json(choices.work_dir / DATA, listed)
        return tables

    def _reported(self, row: Row) -> tuple[str, str, Reported]:
        if row.parts:
            averaged = ' and '.join(part.title for part in self.ablation.parts_of(row))
            return row.title, f'{averaged}, averaged', reported('', self.dataset)
        return row.title, f'`{row.config}`', reported(row.config, self.dataset)
