#!/usr/bin/env python
"""Runs all rows of the paper's Tables 2 to 5 on a dataset and writes the tables beside the paper's figures.

Data and memory are checked first. A run that ended is not repeated and one that was interrupted goes on, so the command
can be given again at any time. Writes tables.md, tables.csv and tables.json into the work dir.
"""

import argparse
import math
import shlex
import subprocess
import sys
from pathlib import Path

from mmav.analysis.ablation.results import require_folders
from mmav.analysis.ablation.settings import parsed
from mmav.analysis.paper.cost import RowCost, batch_of, costs_of, report
from mmav.analysis.paper.data import check_data
from mmav.analysis.paper.figures import DATASETS, find_dataset
from mmav.analysis.paper.reproduction import PAGE, Choices, Reproduction
from mmav.analysis.paper.tables import unfilled
from mmav.config.reading import key_value
from mmav.engine.cli import run_tool
from mmav.engine.memory.plan import GIB
from mmav.errors import ConfigError, MmavError
from mmav.preparation.miniature import make_miniature

TOOL = 'tools/reproduce_paper.sh'
EXAMPLE = f"""examples:
  {TOOL} all --miniature                        # the whole way on made clips, on a CPU, in minutes
  {TOOL} vggsound --dry-run --gpus 8            # what it takes; runs nothing
  {TOOL} vggsound --gpus 8 --data-root /disk/vggsound
  {TOOL} kinetics_sounds --seeds 0 1 2 --slurm '--partition=gpu --time=2-0' --jobs 10
  {TOOL} epic_kitchens --only AVBottle '+AVC+IMC'
  {TOOL} vggsound --collect --results /disk_1/paper_vggsound /disk_2/paper_vggsound
The script only starts tools/analysis_tools/reproduce_paper.py."""
ALL, PAPER_GPUS, PAPER_MEMORY = 'all', 8, 40.0


def main() -> None:
    args = arguments()
    check(args)
    keys = list(DATASETS) if args.dataset == ALL else [find_dataset(args.dataset).key]
    gpus, memory = hardware(args)
    works = [Reproduction(DATASETS[key], choices(args, key, gpus)) for key in keys]
    empty, failures = 0, []
    for work in works:
        clips = None
        if args.collect:
            if not work.rows_file.is_file():
                work.write_rows()
        else:
            clips = prepare(work, args)
            tell(work, clips, args, gpus, memory)
        if args.dry_run:
            continue
        try:
            if not args.collect:
                work.run()
        except MmavError as error:
            failures.append(error)  # the tables of what has ended are written all the same
        empty += show(work, clips)
    if failures:
        raise failures[0]
    if empty:
        print(f'{empty} figures of the tables are not yet run')


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('dataset', metavar='DATASET', help=f'{", ".join(DATASETS)} or {ALL}')
    parser.add_argument(
        '--data-root',
        metavar='DIR',
        help='folder of the manifests; default: data/DATASET; for all, the folder of these',
    )
    parser.add_argument(
        '--work-dir', metavar='DIR', help='default: work_dirs/paper_DATASET; for all, the folder of these'
    )
    parser.add_argument('--seeds', type=int, nargs='+', metavar='N', help='default: 0, one run a row as in the paper')
    parser.add_argument('--only', nargs='+', default=[], metavar='ROW', help='only these rows, and what they average')
    parser.add_argument('--jobs', type=int, default=1, metavar='N', help='runs at a time (default: 1)')
    parser.add_argument('--gpus', type=int, metavar='N', help='of a run; default: those of this machine')
    parser.add_argument('--gpu-memory', type=float, metavar='GIB', help='of each; default: that of this machine, or 40')
    parser.add_argument(
        '--slurm', metavar='OPTIONS', help="a Slurm job for each training and test, with these options of sbatch, or ''"
    )
    parser.add_argument(
        '--miniature', action='store_true',
        help='make the models small enough for a CPU; without --data-root also make and prepare a miniature dataset',
    )  # fmt: skip
    parser.add_argument('--dry-run', action='store_true', help='check, count and print the commands; run nothing')
    parser.add_argument('--collect', action='store_true', help='run nothing: write the tables of what has ended')
    parser.add_argument('--results', nargs='+', default=[], type=Path, metavar='DIR', help='work dirs to read, too')
    parser.add_argument(
        '--tflops', type=float, default=100.0, help='10^12 operations a second that a GPU is assumed to sustain (100)'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], type=key_value, metavar='K=V', help='for all rows, as in tools/train.py'
    )
    return parser.parse_args()


def check(args: argparse.Namespace) -> None:
    """Refuses arguments that cannot be, or do not go together."""
    if args.dataset != ALL:
        find_dataset(args.dataset)
    for name, value in (('--jobs', args.jobs), ('--gpus', args.gpus)):
        if value is not None and value < 1:
            raise ConfigError(f'{name} {value}: give 1 or more')
    for name, number in (('--tflops', args.tflops), ('--gpu-memory', args.gpu_memory)):
        if number is not None and not 0 < number < math.inf:
            raise ConfigError(f'{name} {number:g}: give a number above 0')
    if args.miniature and args.slurm is not None:
        raise ConfigError('--miniature runs on this machine: leave --slurm out')
    if args.slurm is not None and not Path('tools', 'slurm_run.sh').is_file():
        raise ConfigError('--slurm: call the command in the root of the repository, which is where jobs start')
    if args.collect and args.dry_run:
        raise ConfigError('--collect runs nothing already: leave --dry-run out')
    if args.results and args.dataset == ALL:
        raise ConfigError('--results are of one dataset: name it in place of all')
    require_folders(args.results)


def hardware(args: argparse.Namespace) -> tuple[int | None, float]:
    """GPUs of a run, and the memory of each in GiB.

    Raises:
        ConfigError: There is none, and none is asked for.
    """
    import torch

    if args.miniature or args.collect:
        return args.gpus, 0.0
    found = torch.cuda.device_count()
    there = torch.cuda.get_device_properties(0).total_memory / GIB if found else PAPER_MEMORY
    gpus = args.gpus or found or (PAPER_GPUS if args.dry_run or args.slurm is not None else 0)
    if not gpus:
        raise ConfigError(
            'there is no GPU here, and a row takes days of one: try the way with --miniature, count it with '
            '--dry-run, or give --slurm or --gpus N'
        )
    batch_of(gpus)
    return gpus, round(args.gpu_memory or there, 1)


def choices(args: argparse.Namespace, key: str, gpus: int | None) -> Choices:
    """How a dataset is run."""

    def place(given: str | None, default: str, name: str) -> Path:
        return Path(given, name) if given and args.dataset == ALL else Path(given or f'{default}/{name}')

    data = place(args.data_root, 'data/miniature' if args.miniature else 'data', key)
    small = 'paper_miniature' if args.miniature else 'paper'
    return Choices(
        str(data),
        place(args.work_dir, 'work_dirs', f'{small}_{key}'),
        seeds=tuple(args.seeds) if args.seeds else None,
        rows=tuple(args.only),
        miniature=args.miniature,
        gpus=gpus,
        slurm=args.slurm,
        jobs=args.jobs,
        results=tuple(args.results),
        options=tuple(args.cfg_options),
    )


def prepare(work: Reproduction, args: argparse.Namespace) -> dict[str, int]:
    """Looks at the data; makes the miniature and prepares it as the official dataset is, if it is asked for."""
    root = work.choices.data_root
    if args.miniature and not args.data_root:
        command = shlex.split(make_miniature(work.dataset.key, root))
        if not (Path(root) / 'test.csv').is_file():
            done = subprocess.run([sys.executable, '-m', *command], capture_output=True, text=True)
            if done.returncode:
                raise MmavError(f'{shlex.join(command)} failed: {(done.stderr.splitlines() or [""])[-1]}')
    clips = check_data(work.dataset, root)
    paper = work.dataset.lists
    told = [f'{name} {rows:,}' + (f' (paper: {paper[name]:,})' if paper[name] else '') for name, rows in clips.items()]
    print(f'{work.dataset.name}: {", ".join(told)}')
    return clips


def tell(work: Reproduction, clips: dict[str, int], args: argparse.Namespace, gpus: int | None, memory: float) -> None:
    """Says what runs and what it takes; refuses rows that no GPU of this size can train."""
    if args.miniature and not args.dry_run:
        return
    runs = work.work()
    rows = [(row.title, row.file) for row in runs.settings if row.file is not None]
    counted = None if args.miniature else gpus
    costs = costs_of(rows, clips, parsed(work.options), gpus=counted, gpu_memory=memory)
    print(report(costs, seeds=len(work.ablation.seeds), gpus=counted, gpu_memory=memory, tflops=args.tflops))
    print('\n'.join(['', *work.commands(runs)]) if args.dry_run else '')
    if not args.dry_run:
        require_memory(costs, memory)


def require_memory(costs: list[RowCost], memory: float) -> None:
    large = [cost for cost in costs if not cost.fits]
    if large:
        names = ', '.join(repr(cost.title) for cost in large)
        least = max(cost.needed or 0 for cost in large) / GIB
        raise ConfigError(
            f'a step of {names} needs {least:.1f} GiB a GPU at the least, and there are {memory:g}: take more GPUs '
            'with fewer clips each (--gpus), or the other rows (--only)'
        )


def show(work: Reproduction, clips: dict[str, int] | None) -> int:
    """Writes and prints the tables; returns how many figures are missing."""
    tables = work.collect(clips)
    path = work.choices.work_dir / PAGE
    print(f'\n{path.read_text(encoding="utf-8")}\nwritten: {path}')
    return len(unfilled(tables))


if __name__ == '__main__':
    run_tool(main)
