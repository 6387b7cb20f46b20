#!/usr/bin/env python
"""Trains and tests every row of an ablation over several seeds and says which of them differ. A run that ended is not
repeated and one that was interrupted goes on, so the command can be given again at any time.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmav.analysis.ablation.cost import Costs, clips_tested, duration, smallest_seen
from mmav.analysis.ablation.files import SUFFIXES, ablation_of, chosen, read_ablation
from mmav.analysis.ablation.killing import KillRule
from mmav.analysis.ablation.measuring import check_metric, outcomes_of, state
from mmav.analysis.ablation.outcomes import read_outcomes, write_outcomes
from mmav.analysis.ablation.picture import draw
from mmav.analysis.ablation.plan import machine_of
from mmav.analysis.ablation.report import markdown_block, section, store
from mmav.analysis.ablation.results import Gathered, require_folders
from mmav.analysis.ablation.rows import Ablation
from mmav.analysis.ablation.work import Choices, Work
from mmav.analysis.evidence.judging import Evidence
from mmav.analysis.evidence.report import FILES, PICTURE, report_markdown, report_text, write_report
from mmav.analysis.evidence.splits import read_splits
from mmav.analysis.pages import fill_block, read_block
from mmav.config.reading import key_value
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, MmavError, one_line
from mmav.files import atomic_write
from mmav.outputs import check_folder, check_output

ROOT = Path(__file__).resolve().parents[2]
PICTURE_FILE = 'ablation.png'
TOOL = 'tools/analysis_tools/run_ablation.py'
FOLDER = ROOT / 'configs' / 'mmt'
METAFILE = FOLDER / 'metafile.yml'
AVSYNTH = 'data/avsynth'
EXAMPLE = f"""examples:
  python {TOOL} my_a.py my_b.py --seeds 0 1 2 --jobs 2  # configs of your own, two runs at a time
  python {TOOL} my_ablation.yml --dry-run               # docs/ablation.md says what such a file holds
  python {TOOL} my_ablation.yml --part 1/2              # on one machine; --part 2/2 on another
  python {TOOL} my_ablation.yml --results DIR_1 DIR_2   # the report on both
  python {TOOL} configs/mmt/paper_vggsound.yml --gpus 8
  python {TOOL} --jobs 2                                # AVSynth: fills in configs/mmt/README.md"""


def main() -> None:
    args = arguments()
    own = not args.rows
    if own and not (ROOT / 'setup.cfg').is_file():
        raise MmavError(
            'give the file of an ablation, or configs: the ablation on AVSynth fills in a page of a checkout'
        )
    ablation = read(args)
    check_metric(ablation.metric)
    if args.split_by:
        read_splits(args.split_by, [])
    rows = chosen(ablation, args.only)
    if args.results:
        check_results(args)
    page = str(FOLDER / 'README.md') if own and args.page is None else args.page
    check_files(args.work_dir, page)
    if args.keep:
        check_output(args.keep)
    work = Work(ablation, rows, choices(args, own=own))
    if args.dry_run:
        dry_run(work)
        return
    lost = []
    if not args.results:
        work.check_folder()
        if own:
            make_avsynth(work.choices.data_root or AVSYNTH)
        lost = work.do()
    gathered = Gathered(ablation, args.results or [args.work_dir], work.digests, work.choices.known)
    for note in gathered.notes:
        print(note)
    evidence = Evidence(state(gathered, ablation.metric, split_by=args.split_by))
    print(report_text(evidence))
    names = write_report(evidence, args.work_dir)
    print(f'written: {", ".join(names)} in {args.work_dir}')
    if args.keep:
        write_outcomes(outcomes_of(gathered, ablation.metric), args.keep)
        print(f'written: {args.keep}')
    if own and page:
        write_own_page(gathered, page, keep=args.page is None)
    elif page:
        fill_block(page, 'ablation', TOOL, report_markdown(evidence, PICTURE_FILE))
        atomic_write(Path(page).parent / PICTURE_FILE, (args.work_dir / PICTURE).read_bytes())
        print(f'written: {page}')
    if lost:
        runs = ', '.join(ended.run.name for ended in lost)
        raise MmavError(f'{len(lost)} runs have failed, the command can be given again: {runs}: {lost[0].why}')


def check_results(args: argparse.Namespace) -> None:
    """Refuses folders that are not there, and what has no effect where nothing runs."""
    require_folders(args.results)
    for name in ('part', 'kill', 'gpus', 'launcher', 'cache', 'dry_run'):
        if getattr(args, name):
            raise ConfigError(f'--{name.replace("_", "-")} has no effect with --results, which runs nothing')


def check_files(work_dir: Path, page: str | None) -> None:
    """Refuses, before the runs, what could not be written after them."""
    if page:
        block = read_block(page, 'ablation', TOOL)
        # the picture that the page's block shows is the one that this tool has put there
        if f'({PICTURE_FILE})' not in block:
            check_output(Path(page).parent / PICTURE_FILE)
    check_folder(work_dir, FILES, remedy='give another one with --work-dir')


def write_own_page(gathered: Gathered, page: str, *, keep: bool) -> None:
    """Fills in the table of the ablation on AVSynth; with ``keep`` the metafile, too, that pages are made from."""
    ablation, results = gathered.ablation, gathered.figures()
    found = section(
        results,
        dataset=ablation.dataset,
        epochs=ablation.epochs or 0,
        batch_size=ablation.batch_size or 0,
        seeds=ablation.seeds,
    )
    if keep:
        store(METAFILE, found)
        print(f'written: {METAFILE}; make docs puts it into the configs')
    fill_block(page, 'ablation', TOOL, markdown_block(found, PICTURE_FILE))
    title = f'{ablation.dataset}, {ablation.epochs} epochs, seeds {", ".join(map(str, ablation.seeds))}'
    draw(results, Path(page).parent / PICTURE_FILE, title)
    print(f'written: {page}')


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'rows',
        nargs='*',
        metavar='FILE.yml | CONFIG ...',
        help='the file of an ablation, or configs, each a row; default: the ablation on AVSynth of configs/mmt',
    )
    parser.add_argument('--seeds', type=int, nargs='+', help="seeds of all rows; default: the file's, or 0 1 2")
    parser.add_argument('--only', metavar='TEXT', help='only rows whose title or config has this text in its name')
    parser.add_argument('--metric', help="the figure that rows are compared by; default: the file's, or top1")
    parser.add_argument(
        '--split-by', metavar='FILE:COLUMN', help='CSV file with the column path: judge each part of the clips, too'
    )
    parser.add_argument('--epochs', type=int, help="epochs of each run; default: the file's, or each config's")
    parser.add_argument('--batch-size', type=int, help='clips a step; default: likewise')
    parser.add_argument('--data-root', help='folder of the data; AVSynth is written if it is not there')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablation'))
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time; the cores are shared among them')
    parser.add_argument(
        '--cache',
        metavar='ram|none|DIR',
        help='where clips are kept that all runs read; default: in memory, if they fit',
    )
    parser.add_argument(
        '--kill',
        nargs='+',
        default=[],
        metavar='METRIC<VALUE@EPOCH',
        help="end runs early whose validation is worse, e.g. 'top1<0.1@3'; they are shown as killed",
    )
    parser.add_argument('--val-is-test', action='store_true', help='let --kill look at the test list')
    several = parser.add_argument_group('several machines or GPUs')
    several.add_argument('--part', metavar='K/N', help='do the K-th of N parts of the runs, each on one machine')
    several.add_argument(
        '--results',
        nargs='+',
        type=Path,
        metavar='DIR',
        help='run nothing: report on what is in these work dirs, such as those of several machines',
    )
    several.add_argument(
        '--known',
        metavar='FILE',
        help='outcomes that --keep has written: its runs are not done again, but compared with, clip by clip',
    )
    several.add_argument(
        '--keep', metavar='FILE', help='write which test clips each run is right about, in a small file for --known'
    )
    several.add_argument('--gpus', type=int, metavar='N', help='train and test each run with N processes, one a GPU')
    several.add_argument(
        '--launcher',
        metavar='COMMAND',
        help="the same by any command, e.g. 'tools/dist_STAGE.sh CONFIG 8': STAGE becomes train or test, CONFIG the "
        'config, and in testing the config and the checkpoint',
    )
    parser.add_argument('--dry-run', action='store_true', help='list the runs and what they cost, and run nothing')
    parser.add_argument(
        '--page', help="page to fill in, '' for none; default: for the ablation on AVSynth, configs/mmt/README.md"
    )
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], type=key_value, metavar='K=V', help='as in tools/train.py'
    )
    return parser.parse_args()


def read(args: argparse.Namespace) -> Ablation:
    """The ablation that the arguments name, with what they change of it."""
    files = [name for name in args.rows if name.endswith(SUFFIXES)]
    if len(args.rows) > 1 and files:
        raise ConfigError(f"'{files[0]}': give the file of one ablation alone, or configs")
    if files or not args.rows:
        ablation = read_ablation(files[0] if files else METAFILE)
    else:
        ablation = ablation_of(args.rows)
    if args.seeds:
        ablation = ablation.with_seeds(args.seeds)
    changes = dict(metric=args.metric, epochs=args.epochs)
    changes['batch_size'] = args.batch_size
    return replace(ablation, **{name: value for name, value in changes.items() if value is not None})


def choices(args: argparse.Namespace, *, own: bool) -> Choices:
    """How the arguments say that runs are done."""
    launcher = args.launcher
    if args.gpus is not None:
        if launcher:
            raise ConfigError('--gpus and --launcher: give one of them')
        if args.gpus < 1:
            raise ConfigError(f'--gpus {args.gpus}: give at least 1')
        launcher = f'{shlex.quote(str(ROOT / "tools"))}/dist_STAGE.sh CONFIG {args.gpus}'
    if args.val_is_test and not args.kill:
        raise ConfigError('--val-is-test has no effect without --kill')
    return Choices(
        args.work_dir,
        options=args.cfg_options,
        data_root=args.data_root or (AVSYNTH if own else None),
        cache=args.cache,
        jobs=args.jobs,
        rules=[KillRule.read(text) for text in args.kill],
        by_test_list=args.val_is_test,
        launcher=launcher,
        part=machine_of(args.part) if args.part else None,
        known=read_outcomes(args.known) if args.known else None,
    )


def dry_run(work: Work) -> None:
    """Says what would run, what it would cost, and what it could show."""
    ablation, gathered, todo = work.ablation, work.gathered(), work.todo()
    costs = Costs(todo, gathered, 'cpu_seconds')
    for run in work.runs:
        known = costs.of(run.row)
        cost = '' if known is None else f', {known:.0f} s of processor time'
        print(f'{run.name}: {"to run" if run in todo else "done"}{cost}')
    left = costs.left()
    told = 'no run has ended yet to tell the cost' if left is None else f'about {duration(left)} of processor time'
    print(f'{len(todo)} of {len(work.runs)} runs to do: {told}')
    if not work.settings:
        return
    try:
        clips = clips_tested(work.config(next(iter(work.settings))))
    except MmavError as error:
        print(f'what the runs can show is not known, as their test list cannot be read: {one_line(error)}')
    else:
        print(smallest_seen(state(gathered, ablation.metric), clips=clips, seeds=len(ablation.seeds)))


def make_avsynth(data_root: str) -> None:
    """Writes AVSynth if it is not there."""
    if (Path(data_root) / 'meta.json').is_file():
        return
    command: Sequence[str] = [sys.executable, str(ROOT / 'tools/data/avsynth/make_avsynth.py'), data_root]
    if subprocess.run(command).returncode:
        raise MmavError(f"AVSynth could not be written to '{data_root}', see above")


if __name__ == '__main__':
    run_tool(main)
